"""`log verify`, `seal`, `export --signed`, `repair`: proof that survives tampering with every kind of file."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from casparian import verify_export
from casparian_protocol.minisign import SignatureUnfit, verify
from tests.cli.calls import Answer, Caller

#: From minisign's own documentation: its key, and its signature of the four bytes `test`.
MINISIGN_KEY = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
MINISIGN_SIGNATURE = (
    "untrusted comment: signature from minisign secret key\n"
    "RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n"
    "trusted comment: timestamp:1556193335\tfile:test\n"
    "y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==\n"
)


def segment_of(call: Caller) -> Path:
    (segment,) = (call.home / "log").glob("*.caslog")
    return segment


def flip(path: Path, at: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 4
    path.write_bytes(content)


# --- verify


def test_an_empty_log_is_called_empty(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    call = Caller(tmp_path / "home", capfd)
    call("init")
    assert call("log", "verify") == Answer(0, "The log is empty: there is nothing to verify yet.\n", "")


def test_the_tables_are_equal_to_a_fold_from_scratch(lived: Caller) -> None:
    lived("jobs")  # catches up
    found = lived("log", "verify", "--tables", "--json").document

    assert found["is_sound"] is True
    assert {"cf_processing_queue", "cf_audit", "scout_files", "cf_quarantine_counts"} <= set(
        found["tables"]["compared"]
    )
    assert found["tables"]["seq"] > 20


def test_an_altered_row_is_named_with_its_table_and_column(lived: Caller) -> None:
    lived("jobs")
    with duckdb.connect(str(lived.home / "state.duckdb")) as db:
        db.execute("update cf_unsettled_jobs set status = 'COMPLETED', rows_valid = 99 where status = 'FAILED'")
        db.execute("delete from cf_parsers")
        db.execute("insert into cf_parser_topics values ('x', 'y', 'z')")
    answer = lived("log", "verify")

    assert answer.code == 1
    assert "cf_processing_queue: the row id=" in answer.out
    assert "status is 'COMPLETED', the log says 'FAILED'" in answer.out
    assert "cf_parsers: the row id=" in answer.out and "is missing in state.duckdb" in answer.out
    assert "cf_parser_topics: the row parser_id=x is in state.duckdb, but not in the log's fold" in answer.out
    assert "3 rows" in answer.err


def test_deleted_tables_are_no_damage_and_come_back_equal(lived: Caller) -> None:
    (lived.home / "state.duckdb").unlink()
    without = lived("log", "verify", "--tables")
    lived("jobs")
    rebuilt = lived("log", "verify", "--tables", "--json").document

    assert without.code == 0 and "there is no state.duckdb" in without.err
    assert rebuilt["is_sound"] is True and len(rebuilt["tables"]["compared"]) > 10


def test_tables_that_stand_on_another_chain_are_found(lived: Caller) -> None:
    lived("jobs")
    with duckdb.connect(str(lived.home / "state.duckdb")) as db:
        db.execute("update cf_position set sha256 = ?", ["00" * 32])
    assert "cf_position" in lived("log", "verify").out


# --- seal


def test_a_seal_holds_while_the_log_grows(lived: Caller) -> None:
    sealed = lived("log", "seal", "--json").document
    lived("parser", "pause", "advice")
    answer = lived("log", "verify")

    assert (answer.code, sealed["format"]) == (0, "casparian-log-seal-1")
    assert "1 seal, all match this log" in answer.out
    content, signature = Path(sealed["path"]).read_bytes(), Path(sealed["signature"]).read_text()
    assert str(sealed["seq"]) in verify(content, signature, sealed["public_key"]).trusted_comment


def test_a_log_that_was_rewritten_behind_a_seal_is_found(lived: Caller, original_home: Path) -> None:
    """Somebody with the whole home replays other facts into a log of its own; every checksum and link in it is good."""
    lived("parser", "pause", "advice")
    lived("log", "seal")
    (lived.home / "log" / "clean-shutdown.seal").unlink()
    shutil.copy(next((original_home / "log").glob("*.caslog")), segment_of(lived))
    (lived.home / "log" / "open-state.snapshot").unlink(missing_ok=True)
    answer = lived("log", "verify", "--no-tables")

    assert answer.code == 1
    told = answer.err.replace("\n", " ")
    assert "ends with event" in told and "a signed head (seals/" in told and "knew event" in told


def test_a_past_that_was_rewritten_with_good_checksums_breaks_the_seal(lived: Caller) -> None:
    """As many events, every link good, one word changed: only what was signed can tell."""
    from casparian_sentinel.log.reader import LogReader
    from casparian_sentinel.log.recovery import examine
    from casparian_sentinel.log.writer import LogWriter
    from casparian_sentinel.ports import RealFs

    lived("log", "seal")
    directory = lived.home / "log"
    found = examine(RealFs(), directory)
    assert found is not None
    with LogReader(RealFs(), directory) as reader:
        batches = [events for _head, events in reader.event_batches(reader.start(), found.end.position)]
    tables = [lived.home / name for name in ("state.duckdb", "state.position")]
    for path in [segment_of(lived), directory / "clean-shutdown.seal", directory / "open-state.snapshot", *tables]:
        path.unlink(missing_ok=True)
    writer, _ = LogWriter.open(RealFs(), directory, reserve_bytes=0, new_chain_id=found.chain_id)
    for events in batches:
        writer.append([(e.ts, e.type, e.v, e.actor.replace("user:", "user:not-"), e.data) for e in events])
    writer.close(seal=True)
    answer = lived("log", "verify")

    assert answer.code == 1
    assert f"the chain at event {found.end.seq} is not the one that was sealed" in answer.out


@pytest.mark.parametrize("which", [".json", ".json.minisig"])
def test_an_altered_seal_is_found(lived: Caller, which: str) -> None:
    sealed = lived("log", "seal", "--json").document
    flip(Path(sealed["path"].removesuffix(".json") + which), 0.6)
    assert lived("log", "verify").code == 1


# --- export


@pytest.fixture
def proof(lived: Caller, tmp_path: Path) -> Path:
    answer = lived("log", "export", str(tmp_path / "proof"), "--signed")
    assert answer.code == 0, answer
    return tmp_path / "proof"


def check(folder: Path, *arguments: str, path: str | None = None) -> Answer:
    """The shipped script as an outsider runs it: isolated, without site packages."""
    environment = None if path is None else {"PATH": path}
    command = [sys.executable, "-I", "-S", str(folder / "verify_export.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(params=["minisign", "openssl"])
def tool(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A PATH with nothing but this tool, as the machine that the outsider happens to have."""
    found = shutil.which(request.param)
    if found is None:
        pytest.skip(f"no {request.param} on this machine")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / request.param).symlink_to(found)
    return str(tmp_path / "bin")


def test_an_export_is_checked_by_the_script_alone(proof: Path, tool: str) -> None:
    key = json.loads((proof / "MANIFEST.json").read_text())["public_key"]
    answer, with_key = check(proof, path=tool), check(proof, "--key", key, path=tool)

    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("intact: events 1 to ")
    assert f"signature good ({next(Path(tool).iterdir()).name}), by the key in this folder" in answer.out
    assert "by the given key" in with_key.out


def test_without_a_tool_the_script_says_that_it_did_not_check_the_signature(proof: Path, tmp_path: Path) -> None:
    answer = check(proof, path=str(tmp_path / "empty"))

    assert answer.code == 3
    assert "signature NOT checked: neither minisign nor openssl is here" in answer.out


def test_another_key_is_not_the_signer(proof: Path) -> None:
    assert "made with another key" in check(proof, "--key", MINISIGN_KEY).out


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_flipped_bit_in_any_file_is_found(proof: Path) -> None:
    for name in files_of(proof):
        for at in (0.3, 0.9):
            original = (proof / name).read_bytes()
            if name == "verify_export.py":  # it runs, altered or not, so only where it does nothing
                (proof / name).write_bytes(original + b"# altered\n")
            else:
                flip(proof / name, at)
            answer = check(proof)
            (proof / name).write_bytes(original)
            is_comment = name == "minisign.pub" or name.endswith(".minisig")
            # the first line of a key or signature file is a comment that nobody vouches for
            assert answer.code == 1 or (is_comment and at == 0.3), (name, at, answer)
    assert check(proof).code == 0


def test_missing_and_added_files_are_found(proof: Path) -> None:
    (proof / "events" / "more.jsonl").write_text("{}\n")
    assert "events/more.jsonl: the manifest does not know this file" in check(proof).out
    (proof / "events" / "more.jsonl").unlink()
    (proof / "README.txt").unlink()
    assert "README.txt: the file is missing" in check(proof).out


def resigned(proof: Path) -> None:
    """Make the manifest fit the files again, as somebody without the key would."""
    path = proof / "MANIFEST.json"
    manifest: dict[str, Any] = json.loads(path.read_text())
    for name in manifest["files"]:
        content = (proof / name).read_bytes()
        manifest["files"][name] = {"bytes": len(content), "sha256": verify_export.sha256_of(proof / name)}
    path.write_text(json.dumps(manifest))


def test_with_fitting_digests_the_chain_the_lines_and_the_signature_still_tell(proof: Path, tool: str) -> None:
    (raw,) = (proof / "raw").iterdir()
    (lines,) = (proof / "events").iterdir()
    saved = raw.read_bytes(), lines.read_text()

    flip(raw)
    resigned(proof)
    out = check(proof, path=tool).out
    assert "does not match its checksum" in out and "MANIFEST.json is not what was signed" in out
    raw.write_bytes(saved[0])

    lines.write_text(saved[1].replace('"advice"', '"advise"', 1))
    resigned(proof)
    assert "does not say what the raw bytes say" in check(proof, path=tool).out
    lines.write_text(saved[1] + "{}\n")
    resigned(proof)
    assert "has lines beyond the last event" in check(proof, path=tool).out


def test_an_export_goes_into_a_new_directory_only(lived: Caller, proof: Path) -> None:
    again = lived("log", "export", str(proof), "--signed")
    assert again.code == 1 and "already exists" in again.err
    assert lived("log", "export", "-", "--signed").code == 2


def test_minisigns_own_signature_fits_and_an_altered_one_does_not() -> None:
    assert verify(b"test", MINISIGN_SIGNATURE, MINISIGN_KEY).trusted_comment == "timestamp:1556193335\tfile:test"
    for content, signature in (
        (b"Test", MINISIGN_SIGNATURE),
        (b"test", MINISIGN_SIGNATURE.replace("file:test", "file:toast")),
        (b"test", MINISIGN_SIGNATURE.replace("RUQf", "RUQg")),
        (b"test", "nonsense"),
    ):
        with pytest.raises(SignatureUnfit):
            verify(content, signature, MINISIGN_KEY)


def test_the_script_knows_minisigns_own_signature(tmp_path: Path, tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", tool)
    (tmp_path / "MANIFEST.json").write_bytes(b"test")
    (tmp_path / "MANIFEST.json.minisig").write_text(MINISIGN_SIGNATURE)
    (tmp_path / "minisign.pub").write_text(f"untrusted comment: x\n{MINISIGN_KEY}\n")

    assert verify_export.check_signature(tmp_path, None)[0] is True


# --- repair


def test_what_is_not_damaged_is_not_repaired(lived: Caller) -> None:
    before = segment_of(lived).read_bytes()
    answer = lived("log", "repair", "--yes")

    assert answer.code == 1 and "is not damaged" in answer.err
    assert segment_of(lived).read_bytes() == before


def test_a_damaged_log_is_cut_back_and_its_bytes_are_kept(lived: Caller) -> None:
    lived("log", "seal")
    segment = segment_of(lived)
    flip(segment)
    damaged = segment.read_bytes()
    assert lived("jobs").code == 1

    shown = lived("log", "repair", "--json").document
    assert (shown["is_done"], segment.read_bytes()) == (False, damaged)
    done = lived("log", "repair", "--yes", "--json").document

    kept = lived.home / "log" / done["kept_as"]
    assert (kept / segment.name).read_bytes() == damaged
    assert {"clean-shutdown.seal", segment.name} <= {path.name for path in kept.iterdir()}
    assert done["last_seen_seq"] > done["last_good_seq"] == done["seq"] - 1
    assert lived("log", "verify").code == 0
    (event,) = [json.loads(line) for line in lived("log", "tail", "-n", "1", "--json").out.splitlines()]
    assert (event["type"], event["data"]["kept_as"]) == ("LogRepaired", done["kept_as"])
    assert lived("jobs").code == 0
    assert lived("log", "repair", "--yes").code == 1  # sound again


def test_a_log_that_lost_its_end_is_repaired_to_what_is_left(lived: Caller) -> None:
    segment = segment_of(lived)
    content = segment.read_bytes()
    segment.write_bytes(content[: len(content) * 3 // 4])
    assert lived("jobs").code == 1

    assert lived("log", "repair", "--yes").code == 0
    assert lived("log", "verify", "--tables").code == 0


def test_a_log_without_a_good_beginning_is_beyond_repair(lived: Caller) -> None:
    segment = segment_of(lived)
    flip(segment, 20 / segment.stat().st_size)
    answer = lived("log", "repair", "--yes")

    assert answer.code == 1 and "Restore the folder from a copy" in answer.err


def test_a_damaged_seal_is_set_aside(lived: Caller) -> None:
    flip(lived.home / "log" / "clean-shutdown.seal")
    assert lived("log", "verify").code == 1
    assert lived("log", "repair", "--yes").code == 0
    assert lived("log", "verify").code == 0


def test_a_repair_that_died_before_its_event_is_recorded_by_the_next(lived: Caller) -> None:
    """The cut is made, the process dies, the log is sound again: what happened must still be written down."""
    from casparian_sentinel.log.repair import plan_repair, repair
    from casparian_sentinel.ports import RealFs

    flip(segment_of(lived))
    caches = [lived.home / "log" / "open-state.snapshot"]
    facts = repair(RealFs(), lived.home / "log", plan_repair(RealFs(), lived.home / "log"), "first", caches)
    assert lived("log", "repair").code == 1  # nothing more to cut

    done = lived("log", "repair", "--yes", "--json").document
    assert done["kept_as"] == facts["kept_as"] == "damaged/first"
    (event,) = [json.loads(line) for line in lived("log", "tail", "-n", "1", "--json").out.splitlines()]
    assert (event["type"], event["data"]["last_good_seq"]) == ("LogRepaired", facts["last_good_seq"])
    assert lived("log", "repair", "--yes").code == 1


def test_a_copy_without_the_key_is_verified_without_making_one(lived: Caller) -> None:
    lived("log", "seal")
    shutil.rmtree(lived.home / "run" / "keys")
    answer = lived("log", "verify")

    assert answer.code == 0 and "seals not checked" in answer.err
    assert not (lived.home / "run" / "keys").exists()
