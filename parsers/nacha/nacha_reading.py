"""Records in, rows out: which file, batch and entry a record belongs to, and whether controls agree with what they control."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from nacha_records import LENGTH, PADDING, BadRecord94, Row, credit_or_debit, is_routing_number, layout_of, read

_OUTPUT_OF = {
    "1": "nacha_files", "5": "nacha_batches", "6": "nacha_entries", "7": "nacha_addenda", "8": "nacha_controls",
    "9": "nacha_controls",
}  # fmt: skip
_HASH_DIGITS = 10
_RECORDS_IN_A_BLOCK = 10


@dataclass
class Sums:
    """What the records of a batch or of a file add up to."""

    records: int = 0
    hash: int = 0
    debit: Decimal = Decimal(0)
    credit: Decimal = Decimal(0)
    rejected: int = 0

    def add(self, entry: Row) -> None:
        self.records += 1
        self.hash += int(entry["rdfi"])
        if entry["credit_debit"] == "C":
            self.credit += Decimal(entry["amount"])
        elif entry["credit_debit"] == "D":
            self.debit += Decimal(entry["amount"])

    def disagreements(self, control: Row) -> list[str]:
        pairs = [
            ("entry_addenda_count", control["entry_addenda_count"], self.records, "counted"),
            ("entry_hash", control["entry_hash"], f"{self.hash % 10**_HASH_DIGITS:0{_HASH_DIGITS}}", "summed"),
            ("total_debit", control["total_debit"], f"{self.debit:.2f}", "summed"),
            ("total_credit", control["total_credit"], f"{self.credit:.2f}", "summed"),
        ]
        return [f"{what} is {said}, {how} {found}" for what, said, found, how in pairs if said != found]

    @property
    def rejected_note(self) -> str:
        return f" ({self.rejected} of the records before it rejected)" if self.rejected else ""


@dataclass
class Batch:
    """The batch that is open. Without a header, it is what stands between two controls."""

    header: Row | None
    first_row: int
    sums: Sums = field(default_factory=Sums)
    is_control_rejected: bool = False

    @property
    def label(self) -> str:
        return "a batch without a header" if self.header is None else f"batch {self.header['batch_number']}"


class Reader:
    """Takes the records of an input one after the other."""

    def __init__(self, ctx: Any, outputs: Mapping[str, Any]) -> None:
        self._ctx = ctx
        self._columns: dict[str, Row] = {
            output: dict.fromkeys(each["name"] for each in contract["columns"]) for output, contract in outputs.items()
        }
        self._file_count = self._batch_count = self._entry_count = 0
        self._is_in_file = self._is_file_control_rejected = False
        self._file_row = 1
        self._file_sums = Sums()
        self._file_batches = self._file_records = 0
        self._is_advices = False
        self._batch: Batch | None = None
        self._entry: Row | None = None
        self._last_row = 1

    def take(self, text: str, row_id: int, raw: str | None = None) -> Iterator[tuple[str, Row]]:
        """The row of a record. `raw` is its text if it is only a part of its line."""
        self._last_row = row_id
        if text == PADDING:
            self._file_records += 1
            return
        kind = text[:1]
        output = _OUTPUT_OF.get(kind, "nacha_entries")
        try:
            if len(text) != LENGTH:
                remedy = "; if blanks at its end were cut, give trailing_blanks=free" if len(text) < LENGTH else ""
                raise BadRecord94(f"has {len(text)} characters instead of {LENGTH}{remedy}")
            row = self._columns[output] | read(text, layout_of(text, self._sec(kind)))
        except BadRecord94 as cause:
            self._ctx.reject(output, None, str(cause), source_row=row_id, raw=raw)
            self.record_was_rejected(kind)
            return
        self._begin_file(row_id, is_header=kind == "1")
        row["file"] = self._file_count
        match kind:
            case "5":
                self._end_batch()
                self._batch_count += 1
                self._file_batches += 1
                row["batch"] = self._batch_count
                self._batch = Batch(row, row_id)
                self._is_advices |= row["sec"] == "ADV"
            case "6":
                self._take_entry(row, row_id)
            case "7":
                self._take_addenda(row, row_id)
            case "8":
                if self._has_wrong_batch_sums(row, row_id, raw):
                    return
            case "9":
                if self._has_wrong_file_sums(row, text, row_id, raw):
                    return
        yield output, row

    def record_was_rejected(self, kind: str) -> None:
        """A record was rejected; nobody knows which entry the addenda behind it belong to."""
        self._file_records += 1
        self._file_sums.rejected += 1
        self._entry = None
        self._is_file_control_rejected |= kind == "9"
        if self._batch is not None:
            self._batch.sums.rejected += 1
            self._batch.is_control_rejected |= kind == "8"

    def finish(self) -> None:
        """The input has ended."""
        self._end_batch()
        if self._is_in_file and not self._is_file_control_rejected:
            row = {"file": self._file_count, "level": "file"}
            reason = f"is missing: file {self._file_count} ends without a file control"
            self._ctx.reject("nacha_controls", row, reason, source_row=self._last_row, raw="")
        elif self._file_records % _RECORDS_IN_A_BLOCK:
            self._ctx.log.warning(
                f"The file has {self._file_records} records, which is not a multiple of {_RECORDS_IN_A_BLOCK}."
            )

    def _sec(self, kind: str) -> str | None:
        if kind == "9":
            return "ADV" if self._is_advices else None
        header = None if self._batch is None else self._batch.header
        return None if header is None else str(header["sec"])

    def _begin_file(self, row_id: int, *, is_header: bool) -> None:
        if is_header and self._is_in_file:
            self._end_batch()
            row = {"file": self._file_count, "level": "file"}
            reason = f"is missing: file {self._file_count} has no file control before the next file header"
            self._ctx.reject("nacha_controls", row, reason, source_row=self._file_row, raw="")
        if is_header or not self._is_in_file:
            rejected = 0 if self._is_in_file or is_header else self._file_sums.rejected
            self._file_count += 1
            self._file_row, self._is_in_file, self._is_file_control_rejected = row_id, True, False
            self._file_sums, self._file_batches, self._file_records = Sums(rejected=rejected), 0, rejected
            self._is_advices = False
        self._file_records += 1

    def _end_batch(self) -> None:
        """The open batch ends without a control that could be read."""
        batch, self._batch, self._entry = self._batch, None, None
        if batch is None or batch.is_control_rejected:
            return
        number = None if batch.header is None else batch.header["batch"]
        row = {"file": self._file_count, "level": "batch", "batch": number}
        reason = f"is missing: {batch.label}, which begins in record {batch.first_row}, has no batch control"
        self._ctx.reject(
            "nacha_controls", row, f"{reason}{batch.sums.rejected_note}", source_row=batch.first_row, raw=""
        )

    def _name_batch(self, row: Row, row_id: int) -> Batch:
        if self._batch is None:
            self._batch = Batch(None, row_id)
        header = self._batch.header
        if header is not None:
            row |= {"batch": header["batch"], "batch_number": header["batch_number"]}
        return self._batch

    def _take_entry(self, row: Row, row_id: int) -> None:
        batch = self._name_batch(row, row_id)
        self._entry_count += 1
        row |= {
            "sec": None if batch.header is None else batch.header["sec"],
            "entry": self._entry_count,
            "credit_debit": credit_or_debit(row["transaction_code"]),
            "check_digit_is_right": is_routing_number(row["rdfi"], row["check_digit"]),
        }
        self._entry = row
        batch.sums.add(row)
        self._file_sums.add(row)

    def _take_addenda(self, row: Row, row_id: int) -> None:
        batch = self._name_batch(row, row_id)
        entry = self._entry
        if entry is not None and entry["trace_number"] is not None:
            of = row["entry_sequence"] or row["trace_number"]
            if str(entry["trace_number"]).endswith(str(of)):
                row["entry"] = entry["entry"]
        batch.sums.records += 1
        self._file_sums.records += 1

    def _has_wrong_batch_sums(self, row: Row, row_id: int, raw: str | None) -> bool:
        batch, self._batch, self._entry = self._batch or Batch(None, row_id), None, None
        row["level"] = "batch"
        wrong = batch.sums.disagreements(row)
        if batch.header is not None:
            row["batch"] = batch.header["batch"]
            for column in ("batch_number", "service_class", "odfi", "company_id"):
                if row[column] != batch.header[column] and not (
                    column == "company_id" and row["service_class"] == "280"
                ):
                    wrong.append(f"{column} is {row[column]}, in the header {batch.header[column]}")
        if wrong:
            reason = f"does not agree with {batch.label}: {'; '.join(wrong)}{batch.sums.rejected_note}"
            self._ctx.reject("nacha_controls", row, reason, source_row=row_id, raw=raw)
        return bool(wrong)

    def _has_wrong_file_sums(self, row: Row, text: str, row_id: int, raw: str | None) -> bool:
        self._end_batch()
        row["level"] = "file"
        if self._is_advices:
            row["as_written"] = text
        wrong = self._file_sums.disagreements(row)
        if row["batch_count"] != self._file_batches:
            wrong.insert(0, f"batch_count is {row['batch_count']}, counted {self._file_batches}")
        blocks = -(-self._file_records // _RECORDS_IN_A_BLOCK)
        if row["block_count"] != blocks:
            wrong.append(f"block_count is {row['block_count']}, counted {blocks}")
        note = self._file_sums.rejected_note
        self._is_in_file, self._file_sums = False, Sums()
        if wrong:
            reason = f"does not agree with file {self._file_count}: {'; '.join(wrong)}{note}"
            self._ctx.reject("nacha_controls", row, reason, source_row=row_id, raw=raw)
        return bool(wrong)
