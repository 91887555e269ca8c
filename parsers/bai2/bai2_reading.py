"""Lines in, rows out: records with their continuations, what belongs to which account and group, and the sums of controls."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bai2_records import CODES, BadBai2, Fields, Money, Row, amount, count, day, summaries, transaction

_TRAILERS = {"49": "account", "98": "group", "99": "file"}
_CHILDREN = {"98": "accounts", "99": "groups"}


@dataclass
class Part:
    """An account, a group or a file while it is open: its header's row, and what its records add up to."""

    header: Row | None
    first_row: int
    label: str
    total: int = 0
    count: int = 0
    records: int = 0
    rejected: int = 0
    is_trailer_rejected: bool = False

    @property
    def rejected_note(self) -> str:
        return f" ({self.rejected} of the records before it rejected)" if self.rejected else ""


class Reader:
    """Takes the lines of an input one after the other."""

    def __init__(self, ctx: Any, outputs: Mapping[str, Any], currency: str) -> None:
        self._ctx = ctx
        self._currency = currency
        self._columns: dict[str, Row] = {
            output: dict.fromkeys(each["name"] for each in contract["columns"]) for output, contract in outputs.items()
        }
        self._pending: list[tuple[int, str]] = []
        self._is_orphaned = False
        self._counts = {"file": 0, "group": 0, "account": 0, "transaction": 0}
        self._parts: dict[str, Part] = {}
        self._file_header: Row = {}

    def take(self, line: str, row_id: int) -> Iterator[tuple[str, Row]]:
        """The rows that are complete with this line."""
        code = line[:2]
        if code not in CODES or line[2:3] not in (",", "/"):
            yield from self._flush_before(line, row_id)
            self._is_orphaned = True
            self._count(1)
            self._reject(f"begins with {line[:3]!r}, which is no record code of BAI2", [(row_id, line)])
        elif code != "88":
            yield from self.flush()
            self._is_orphaned = False
            self._pending = [(row_id, line)]
        elif self._pending:
            self._pending.append((row_id, line))
        else:
            self._count(1)
            before = "a record that was rejected" if self._is_orphaned else "no record"
            self._reject(f"continues {before}", [(row_id, line)])

    def record_was_rejected(self, line: str | None, row_id: int) -> Iterator[tuple[str, Row]]:
        """The reader has rejected a line: its text as far as that is known."""
        yield from self._flush_before(line, row_id)
        self._is_orphaned = True
        self._count(1)
        self._note_rejected()

    def _flush_before(self, line: str | None, row_id: int) -> Iterator[tuple[str, Row]]:
        """The record before a line that cannot be read. If that may have continued a transaction, it is not known whole."""
        if self._pending and self._pending[0][1].startswith("16") and (line is None or "8" in line[:2]):
            lines, self._pending = self._pending, []
            self._count(len(lines))
            self._reject(f"may be continued on line {row_id:,}, which cannot be read", lines)
        yield from self.flush()

    def finish(self) -> Iterator[tuple[str, Row]]:
        """The input has ended."""
        yield from self.flush()
        self._end("file")

    def flush(self) -> Iterator[tuple[str, Row]]:
        """The rows of the record that is complete."""
        lines, self._pending = self._pending, []
        if not lines:
            return
        code = lines[0][1][:2]
        first_row = lines[0][0]
        fields = Fields([line[3:] if line[2:3] == "," else line[2:] for _, line in lines])
        try:
            rows = self._record(code, fields, lines)
        except BadBai2 as cause:
            if code in ("01", "02", "03"):
                self._end({"01": "file", "02": "group", "03": "account"}[code])
                self._file_header = {} if code == "01" else self._file_header
            self._count(len(lines))
            self._is_orphaned = True
            if code in _TRAILERS and _TRAILERS[code] in self._parts:
                self._parts[_TRAILERS[code]].is_trailer_rejected = True
            self._reject(str(cause), lines)
            return
        for row_id, line in lines:
            yield "bai2_records", {"code": line[:2], "line": line, "__cf_row_id": row_id}
        for output, row in rows:
            yield output, self._columns[output] | row | {"__cf_row_id": first_row}

    # --- records ---

    def _record(self, code: str, fields: Fields, lines: list[tuple[int, str]]) -> list[tuple[str, Row]]:
        size, row_id = len(lines), lines[0][0]
        match code:
            case "01":
                header = {"sender": fields.take() or None, "receiver": fields.take() or None}
                header |= {"file_date": day(fields, "file date"), "file_time": fields.take() or None}
                header["file_id"] = fields.take() or None
                _close(fields, 3)
                self._file_header = header
                self._begin("file", header, row_id, size)
                return []
            case "02":
                row = self._group(fields)
                self._begin("group", row, row_id, size)
                return [("bai2_groups", row)]
            case "03":
                return self._account(fields, row_id, size)
            case "16":
                row = transaction(fields, self._money())
                self._open("account", row_id)
                self._count(size)
                self._counts["transaction"] += 1
                self._add(int(row["amount_as_written"] or 0))
                return [("bai2_transactions", self._context() | row | {"transaction": self._counts["transaction"]})]
            case _:
                return self._trailer(code, fields, lines)

    def _group(self, fields: Fields) -> Row:
        row: Row = dict(self._file_header)
        row |= {"ultimate_receiver": fields.take() or None, "originator": fields.take() or None}
        row |= {"group_status": fields.take() or None, "as_of_date": day(fields, "as-of date")}
        row |= {"as_of_time": fields.take() or None, "currency": fields.take() or self._currency}
        row["as_of_date_modifier"] = fields.take() or None
        _close(fields, 0)
        return row

    def _account(self, fields: Fields, row_id: int, size: int) -> list[tuple[str, Row]]:
        number = fields.take()
        if not number:
            raise BadBai2("has no account number")
        group = self._parts.get("group")
        of_group = None if group is None or group.header is None else group.header
        currency = fields.take() or (of_group["currency"] if of_group is not None else None)
        rows, total = summaries(fields, Money(currency))
        if not fields.is_closed:
            raise BadBai2("does not end with a slash, so it may be cut")
        account = {"account_number": number, "currency": currency}
        if of_group is not None:
            account["as_of_date"] = of_group["as_of_date"]
        self._begin("account", account, row_id, size)
        self._add(total)
        context = self._context()
        return [("bai2_accounts", account | context), *(("bai2_balances", context | row) for row in rows)]

    def _trailer(self, code: str, fields: Fields, lines: list[tuple[int, str]]) -> list[tuple[str, Row]]:
        total = amount(fields, "control total")
        children = count(fields, f"number of {_CHILDREN[code]}") if code in _CHILDREN else None
        records = count(fields, "number of records")
        _close(fields, 0)
        if not total or records is None or (code in _CHILDREN and children is None):
            raise BadBai2("has no control total or no count")
        level, row_id = _TRAILERS[code], lines[0][0]
        if level != "account":
            self._end("account" if level == "group" else "group")
        part = self._open(level, row_id)
        self._count(len(lines))
        row = {"level": level, "control_total": total, "count": children, "record_count": records}
        row |= {name: value for name, value in self._context().items() if name in ("file", "group", "account")}
        wrong = []
        if int(total) != part.total:
            wrong.append(f"control_total is {total}, summed {part.total}")
        if code in _CHILDREN and children != part.count:
            wrong.append(f"{_CHILDREN[code]} is {children}, counted {part.count}")
        if records != part.records:
            wrong.append(f"records is {records}, counted {part.records}")
        del self._parts[level]
        self._file_header = {} if level == "file" else self._file_header
        if not wrong:
            return [("bai2_controls", row)]
        reason = f"does not agree with {part.label}: {'; '.join(wrong)}{part.rejected_note}"
        raw = "\n".join(line for _, line in lines) if len(lines) > 1 else None
        self._ctx.reject("bai2_controls", row, reason, source_row=row_id, raw=raw)
        return []

    # --- what is open ---

    def _begin(self, level: str, header: Row | None, row_id: int, size: int) -> Part:
        if level != "file" and not (level == "account" and "group" in self._parts):
            self._open("group" if level == "account" else "file", row_id)
        self._end(level)
        label = f"a {level} without a header" if header is None else self._label(level, header)
        for above in _above(level):
            if above in self._parts and _below(above) == level:
                self._parts[above].count += 1
        self._counts[level] += level != "file" and header is not None
        self._counts["file"] += level == "file"
        self._parts[level] = part = Part(header, row_id, label)
        if header is not None and level != "file":
            header |= {"file": self._counts["file"], level: self._counts[level]}
        self._count(size)
        return part

    def _open(self, level: str, row_id: int) -> Part:
        """The open part of this level; one without a header if there is none."""
        return self._parts.get(level) or self._begin(level, None, row_id, 0)

    def _label(self, level: str, header: Row) -> str:
        if level == "account":
            return f"account {header['account_number']}"
        return f"{level} {self._counts[level] + 1}"

    def _end(self, level: str) -> None:
        """What is open at this level and below ends without a trailer that could be read."""
        for each in (*_below_all(level), level):
            part = self._parts.pop(each, None)
            if part is None or part.is_trailer_rejected:
                continue
            code = next(code for code, name in _TRAILERS.items() if name == each)
            reason = f"is missing: {part.label}, which begins on line {part.first_row}, has no trailer ({code})"
            row = {"level": each, "file": self._counts["file"]}
            self._ctx.reject("bai2_controls", row, reason + part.rejected_note, source_row=part.first_row, raw="")

    def _count(self, lines: int) -> None:
        for part in self._parts.values():
            part.records += lines

    def _add(self, total: int) -> None:
        for part in self._parts.values():
            part.total += total

    def _money(self) -> Money:
        account = self._parts.get("account")
        return Money(None if account is None or account.header is None else account.header["currency"])

    def _context(self) -> Row:
        """The columns that a row has of what it is in."""
        row: Row = {"file": self._counts["file"]}
        group, account = self._parts.get("group"), self._parts.get("account")
        if group is not None and group.header is not None:
            row["group"] = group.header["group"]
        if account is not None and account.header is not None:
            row |= {name: account.header[name] for name in ("account", "account_number", "currency")}
        return row

    # --- what is rejected ---

    def _note_rejected(self) -> None:
        for part in self._parts.values():
            part.rejected += 1

    def _reject(self, reason: str, lines: list[tuple[int, str]]) -> None:
        raw = "\n".join(line for _, line in lines) if len(lines) > 1 else None
        self._ctx.reject("bai2_records", {"code": lines[0][1][:2]}, reason, source_row=lines[0][0], raw=raw)
        for row_id, _ in lines[1:]:
            self._ctx.skip("continuation of a rejected record", source_row=row_id)
        self._note_rejected()


def _close(fields: Fields, spare: int) -> None:
    """The record ends here, but for a few fields that say nothing about its content."""
    for _ in range(spare):
        if not fields.is_at_end:
            fields.take()
    if not fields.is_at_end:
        raise BadBai2(f"has a field too many: {fields.take()!r}")
    if not fields.is_closed:
        raise BadBai2("does not end with a slash, so it may be cut")


def _above(level: str) -> tuple[str, ...]:
    return {"account": ("group", "file"), "group": ("file",), "file": ()}[level]


def _below(level: str) -> str:
    return {"file": "group", "group": "account"}[level]


def _below_all(level: str) -> tuple[str, ...]:
    """The levels below, the innermost first."""
    return {"file": ("account", "group"), "group": ("account",), "account": ()}[level]
