"""The explanation of each error code for people: its cause, and what to do about it.

Three vocabularies: codes that a job fails with (`ErrorCode`), codes of violations (`ViolationCode`), and codes of
commands and requests that were refused (`REFUSALS`). What follows from a code (retries, blame) is in `casparian_shim.errors`;
this module only explains. `docs/reference/error-codes.md` is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from casparian_protocol.contract.formats import ViolationCode
from casparian_protocol.errors import NEVER_THE_PARSERS, RETRYABLE_ONCE, ErrorCode
from casparian_shim.errors import TRANSIENT

Fault = Literal["parser", "parser or input", "input", "machine", "setup", "Casparian"]


@dataclass(frozen=True, slots=True)
class Explained:
    """A code of a failed job: what happened, what usually caused it, what to do."""

    meaning: str
    fault: Fault
    remedy: str


EXPLAINED: dict[ErrorCode, Explained] = {
    ErrorCode.SCHEMA_MISMATCH: Explained(
        "The parser sent columns or an output that its contract does not have, or changed columns within one file.",
        "parser",
        "Compare with `casparian contract show PARSER`. Correct the parser, or register a version with another contract.",
    ),
    ErrorCode.FILE_NOT_FOUND: Explained(
        "The input file is gone, or the parser opened a file that does not exist.",
        "input",
        "`casparian scan PATH` records what is there now. A parser reads files of its bundle with `ctx.resource(name)`.",
    ),
    ErrorCode.PERMISSION_ERROR: Explained(
        "The parser opened a file that its sandbox or its user's rights refuse, or asked for a process or the network.",
        "parser or input",
        "A parser may read its input and bundle, and write `ctx.scratch`; `casparian run --sandbox PARSER FILE` shows the line. "
        "If it is the input itself, let Casparian's user read it, then run `casparian job retry ID`.",
    ),
    ErrorCode.ENCODING_ERROR: Explained(
        "Bytes of the input are not text in the encoding that the parser names. The message names the line and the byte.",
        "parser or input",
        "`casparian preview FILE` shows the encoding it detects. Pass it to the reader: `read_csv(path, encoding=…)`.",
    ),
    ErrorCode.INVALID_DATA: Explained(
        "A value could not be converted: the parser raised ValueError or ArithmeticError, or a reader met a malformed "
        "record.",
        "parser or input",
        "Reject single records with `ctx.reject(…)` instead of raising; `casparian job show ID` names the line.",
    ),
    ErrorCode.UNKNOWN_ERROR: Explained(
        "The parser raised an exception of its own, or the guest process ended without saying why.",
        "parser",
        "`casparian job show ID` has the traceback, `casparian job logs ID` the parser's last output.",
    ),
    ErrorCode.PARSER_ERROR: Explained(
        "The parser's code has a mistake, or expects something that the input lacks: KeyError, TypeError, SyntaxError "
        "and the like.",
        "parser",
        "`casparian job show ID` names file and line. Try the corrected parser with `casparian run PARSER FILE`.",
    ),
    ErrorCode.DEPENDENCY_MISSING: Explained(
        "The parser imports a module that production does not have.",
        "parser",
        "Use Python's library and pyarrow, or put the module's source into the parser's directory.",
    ),
    ErrorCode.UNACCOUNTED: Explained(
        "Records or bytes of the input became neither a row, nor a rejected row, nor a declared skip.",
        "parser or input",
        "Pass each record's `__cf_row_id` on, and call `ctx.skip(…)` or `ctx.reject(…)` for records that become no row.",
    ),
    ErrorCode.QUARANTINE_EXCEEDED: Explained(
        "An output has more quarantined rows than its quarantine policy allows. Nothing was published.",
        "parser or input",
        "First look at the rows: `casparian quarantine show --uncommitted --job ID`. If the parser or its contract is wrong, "
        "register a corrected version: `casparian parser register PATH`. If the file really is that bad, raise `max_pct` in "
        "the contract, or `quarantine.max_pct` in the file that `casparian config path` names; a running daemon applies it after "
        "`casparian config reload`. Last, run the file again: `casparian job rerun ID` (`casparian job retry ID` would keep "
        "the old version and policy).",
    ),
    ErrorCode.CONTRACT_MISSING: Explained(
        "The home's blob store does not have the contract that the job needs.",
        "setup",
        "Register the same parser again: `casparian parser register PATH` restores what is missing.",
    ),
    ErrorCode.SANDBOX_UNAVAILABLE: Explained(
        "Guests cannot be confined as `sandbox.minimum` demands, or one was not confined as planned.",
        "setup",
        "`casparian doctor` shows the level that guests get. Lower `sandbox.minimum`, or use another machine.",
    ),
    ErrorCode.UNTRUSTED_ARTIFACT: Explained(
        "The parser's bundle is missing, or differs from the one that was registered.",
        "setup",
        "Register the same parser again: `casparian parser register PATH` restores what is missing.",
    ),
    ErrorCode.PROTOCOL_ERROR: Explained(
        "The guest process broke the protocol, or ended before its end of stream.",
        "parser",
        "`casparian job logs ID` has the parser's last output. Look for `os._exit`, native code, or writes to descriptors.",
    ),
    ErrorCode.LIMIT_EXCEEDED: Explained(
        "The job exceeded a limit on rows, bytes, columns, a single value or its scratch directory. The message names the limit.",
        "parser",
        "Yield smaller pieces, or raise the limit: `casparian config show` lists `limits.…`.",
    ),
    ErrorCode.OUTPUT_NAME: Explained(
        "The parser gave an output a name that no table can have.",
        "parser",
        "Use small letters, digits and underscores, a letter first, at most 63 characters.",
    ),
    ErrorCode.MEMORY_ERROR: Explained(
        "The guest ran out of memory.",
        "parser",
        "Yield rows or batches while reading, instead of one large table. The limit is `limits.address_space_bytes`.",
    ),
    ErrorCode.OOM_RISK: Explained(
        "Too little memory was left, or the guest was killed by SIGKILL, as the kernel does when memory is exhausted.",
        "parser",
        "Yield rows or batches while reading, or run fewer jobs at once: `daemon.max_concurrent_workers`.",
    ),
    ErrorCode.TIMEOUT: Explained(
        "The guest used up its wall-clock or processor time.",
        "parser",
        "Look for an endless loop, or raise `limits.wall_seconds` or `limits.cpu_seconds`.",
    ),
    ErrorCode.START_TIMEOUT: Explained(
        "The guest process did not start in time.",
        "machine",
        "Check the machine's load; `casparian doctor` measures its disk, memory and limits.",
    ),
    ErrorCode.INPUT_CHANGED: Explained(
        "The file changed while it was read, or is no longer the one that was scanned.",
        "input",
        "Wait until its writer has finished. `casparian scan PATH` queues the new content as a job of its own.",
    ),
    ErrorCode.WORKER_LOST: Explained(
        "Workers running this job died or fell silent too often (`retry.max_worker_losses`).",
        "machine",
        "`casparian story ID` shows which workers. Try the file alone: `casparian run PARSER FILE`.",
    ),
    ErrorCode.DISK_FULL: Explained(
        "No space, no inodes or no quota was left while the job wrote.",
        "machine",
        "Free space on the home's disk; `casparian doctor` shows how much is left.",
    ),
    ErrorCode.CONNECTION_RESET: Explained(
        "A connection broke, the guest was ended by a signal from outside, or it asked for a retry by exit status 2.",
        "parser or input",
        "Nothing, while retries remain. `casparian job logs ID` shows the guest's last output.",
    ),
    ErrorCode.VENV_BUILD_FAILED: Explained(
        "Reserved: this version builds no environments for parsers and never gives this code.",
        "machine",
        "Nothing.",
    ),
    ErrorCode.SINK_UNAVAILABLE: Explained(
        "The worker could not write the rows: the directory is gone, not writable, or its disk gave an error.",
        "machine",
        "Check the home's disk and rights with `casparian doctor`.",
    ),
    ErrorCode.INTERNAL: Explained(
        "An error in Casparian itself, not in the parser or the machine.",
        "Casparian",
        "Please report it: `casparian support-bundle FILE` collects what is needed; logs/daemon.log has the traceback.",
    ),
}

VIOLATIONS: dict[ViolationCode, str] = {
    ViolationCode.TYPE_MISMATCH: "the value is of another type than the column",
    ViolationCode.NULL_NOT_ALLOWED: "there is no value, and the column is not nullable",
    ViolationCode.FORMAT_MISMATCH: "the text does not match the column's type, `format` or `pattern`",
    ViolationCode.PRECISION_EXCEEDED: "the value has more digits than the type keeps; it would have to be rounded",
    ViolationCode.TIMEZONE_REQUIRED: "the timestamp has no zone, but the column's type requires one",
    ViolationCode.VALUE_NOT_ALLOWED: "the value is not among the contract's `values`, or is not a finite number",
    ViolationCode.OUT_OF_RANGE: "the value is outside the type's range or the contract's `min` and `max`",
    ViolationCode.NOT_UNIQUE: "an earlier row of the same file has this value, or this primary key",
    ViolationCode.COLUMN_MISSING: "a column of the contract is missing; this fails the output as a whole",
    ViolationCode.COLUMN_EXTRA: "a column is not in the contract; this fails the output as a whole",
    ViolationCode.PARSER_REJECTED: "the parser rejected the row with `ctx.reject`; the message is the parser's reason",
}

REFUSALS: dict[str, str] = {
    "ALREADY_COMMITTED": "The job's outputs are committed; it can no longer be cancelled.",
    "ALREADY_QUEUED": "The same work is in the queue already.",
    "AMBIGUOUS": "Several jobs begin with these digits; give more of them.",
    "BAD_ARGUMENTS": "The arguments are not valid for the operation; the message names the first one that is wrong.",
    "BAD_BLOB": "The uploaded file is not of the kind that the operation needs.",
    "BAD_DIGEST": "The uploaded bytes do not have the announced hash.",
    "BAD_PATH": "The path is not absolute.",
    "BAD_POLICY": "A quarantine policy has no such key, or the value is not valid for it.",
    "BAD_RULE": "A field of the tagging rule is not valid.",
    "BAD_UPLOAD": "A piece of an upload does not continue the one before it, or is too large.",
    "BUSY": "Too many uploads are running; try again.",
    "DECIDED": "The contract is approved or rejected already; that decision is final.",
    "ENDED": "The job has ended; there is nothing to cancel.",
    "INCOMPATIBLE": "The parser version's contracts do not match the existing tables.",
    "INPUT_CHANGED": "The input is no longer what this job read, so it cannot run again.",
    "INTAKE_PAUSED": "No new jobs are taken because the disk is nearly full; free some space.",
    "INTERNAL": "An error in Casparian itself; logs/daemon.log has the traceback.",
    "INTERRUPTED": "Ctrl-C was pressed. Exit code 130.",
    "INVALID_CONTRACTS": "The proposed contracts do not match the outputs of the parser.",
    "INVALID_PARAMETER": "The parser has no such parameter, or the value is not valid for it.",
    "INVALID_VERSION": "The version number does not follow PEP 440.",
    "NAME_TAKEN": "A source or rule with this name exists already.",
    "NOT_ALLOWED": "This kind of client may not make this decision.",
    "NOT_APPROVED": "The parser version has a contract that is not approved.",
    "NOT_ENDED": "The job is still open.",
    "NOT_FAILED": "The job has not failed, or its failure is closed already.",
    "NOT_FOUND": "Nothing has this name; the message says which command lists what exists.",
    "NOT_OPEN": "The job is not in the queue.",
    "NOT_QUEUED": "The scan could not be queued.",
    "NOT_RUNNABLE": "The parser version cannot run: it is retired, not registered, or its contracts are not approved.",
    "NO_DAEMON": "The operation needs a running daemon. Exit code 3.",
    "NO_MEMORY": "The daemon does not have enough memory to read the attached blob; free memory, or send it in parts.",
    "NO_SCAN": "This process has no such scan in progress; scan again.",
    "OPEN": "The job has not ended.",
    "OS_ERROR": "The operating system reported an error, which the message quotes.",
    "OTHER_OPTIONS": "The source exists already with other options.",
    "OUTPUT_NAME": "No table can have this name.",
    "OUTPUT_TAKEN": "The output belongs to another parser.",
    "REFUSED": "Refused without a specific code; the message says why.",
    "RETIRED": "The parser version is retired.",
    "TABLES_AWAY": "The tables are not available at the moment; jobs continue.",
    "TOO_LARGE": "The request is larger than an event or message may be.",
    "UNKNOWN_JOB": "No job has this id.",
    "USAGE": "The command line is not valid. Exit code 2.",
    "VERSION_TAKEN": "This version is registered with other content.",
    "WRONG_STATE": "The command does not apply to a job in this state.",
}


def retries_of(code: ErrorCode) -> str:
    """Whether a job that failed with this code is retried automatically."""
    if code in RETRYABLE_ONCE:
        return "once, alone on its host"
    return "yes" if code in TRANSIENT else "no"


def counts_against_parser(code: ErrorCode) -> bool:
    """Whether a parser that fails with this code can be paused for it."""
    return code not in NEVER_THE_PARSERS and "parser" in EXPLAINED[code].fault


def meaning_of(code: str) -> str | None:
    """What any of the codes means: of a failed job, a violation, or a refused command."""
    if code in EXPLAINED:
        return EXPLAINED[ErrorCode(code)].meaning
    if code in VIOLATIONS:
        meaning = VIOLATIONS[ViolationCode(code)]
        return f"{meaning[0].upper()}{meaning[1:]}."
    return REFUSALS.get(code)
