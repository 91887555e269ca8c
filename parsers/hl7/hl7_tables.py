"""Which field of which segment fills which column, and times with their zone.

`Extractor` takes the segments of a file in batches, in their order, and makes columns. What a row needs from earlier segments
(the message's header, the patient, the order) is looked up for all of them at once; what later batches may need is kept. Rows are
made of ADT and ORU messages only; a message whose header was rejected is left to `hl7_segments`. A row that belongs to a rejected
segment, or may, is rejected too.
"""

import datetime
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from logging import Logger
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa
import pyarrow.compute as pc

from casparian_shim.readers.segments import RejectedSegments, SegmentColumns, joined_batches

Tables = Iterator[tuple[str, pa.RecordBatch]]
#: Column → field and component.
Columns = Mapping[str, tuple[int, int]]

_MESSAGE: Columns = {
    "message_type": (9, 1), "trigger_event": (9, 2), "structure": (9, 3), "control_id": (10, 1), "sending_application": (3, 1),
    "sending_facility": (4, 1), "receiving_application": (5, 1), "receiving_facility": (6, 1), "processing_id": (11, 1),
    "version": (12, 1), "character_set": (18, 1),
}  # fmt: skip
_EVENT: Columns = {"event_code": (1, 1), "event_reason": (4, 1), "event_operator": (5, 1)}
_PATIENT: Columns = {
    "patient_id": (3, 1), "patient_id_type": (3, 5), "patient_id_authority": (3, 4), "family_name": (5, 1), "given_name": (5, 2),
    "middle_name": (5, 3), "name_suffix": (5, 4), "name_prefix": (5, 5), "sex": (8, 1), "race": (10, 1), "street": (11, 1),
    "city": (11, 3), "state": (11, 4), "zip": (11, 5), "country": (11, 6), "phone_home": (13, 1), "phone_business": (14, 1),
    "language": (15, 1), "marital_status": (16, 1), "religion": (17, 1), "account_number": (18, 1), "ssn": (19, 1),
    "death_indicator": (30, 1),
}  # fmt: skip
_VISIT: Columns = {
    "patient_class": (2, 1), "point_of_care": (3, 1), "room": (3, 2), "bed": (3, 3), "facility": (3, 4), "admission_type": (4, 1),
    "preadmit_number": (5, 1), "attending_doctor_id": (7, 1), "attending_doctor_family_name": (7, 2),
    "attending_doctor_given_name": (7, 3), "referring_doctor_id": (8, 1), "consulting_doctor_id": (9, 1),
    "hospital_service": (10, 1), "admit_source": (14, 1), "patient_type": (18, 1), "visit_number": (19, 1),
    "discharge_disposition": (36, 1),
}  # fmt: skip
_ORDER: Columns = {
    "placer_order_number": (2, 1), "filler_order_number": (3, 1), "service_code": (4, 1), "service_text": (4, 2),
    "service_system": (4, 3),
}  # fmt: skip
_OBSERVATION: Columns = {
    "set_id": (1, 1), "value_type": (2, 1), "code": (3, 1), "code_text": (3, 2), "code_system": (3, 3), "sub_id": (4, 1),
    "units": (6, 1), "reference_range": (7, 1), "status": (11, 1), "producer": (15, 1), "method": (17, 1),
}  # fmt: skip
#: Segments that become a row of their own.
_ROWS = pa.array(["PID", "PV1", "OBX", "NTE"])
#: Rejected segments on which nothing depends, or whose message is not read at all.
_NO_PARENTS = ("MSH", "FHS", "BHS", "BTS", "FTS", "NTE")
_READ_TYPES = pa.array(["ADT", "ORU"])
_CODED = pa.array(["CE", "CF", "CNE", "CWE", "IS", "ID"])
_TEXTS = pa.array(["ST", "TX", "FT", "NM", "DT", "TM", "TS", "DTM", "SI", ""])
#: Segments are gathered up to this number, or this many bytes, before their rows are made.
_GATHERED = 64 * 1024
_GATHERED_BYTES = 8 * 1024 * 1024
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d(?:\.\d{1,9})?)?([+-]\d{4})?")
_LESS_PRECISE = re.compile(r"\d{4}(?:\d\d){0,3}(?:[+-]\d{4})?")
_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)")


class BadZone(ValueError):
    """The parameter tz is no time zone."""

    def __init__(self, tz: str) -> None:
        super().__init__(f"Parameter tz is {tz!r}. Give an IANA time zone, such as Europe/Zurich.")


class Clock:
    """HL7's times as ISO 8601: with their own offset, or else with that of the zone in which they were written."""

    def __init__(self, tz: str, log: Logger) -> None:
        try:
            self._zone = ZoneInfo(tz) if tz else None
        except (ZoneInfoNotFoundError, ValueError):
            raise BadZone(tz) from None
        self._log = log
        self._is_told = False
        self._offset_of = lru_cache(maxsize=4096)(self._local_offset)

    def time(self, text: str) -> tuple[str | None, bool]:
        """The time, and whether it is as precise as a time: a date alone is none. Other text is returned as it is."""
        found = _TIME.fullmatch(text)
        if found is None:
            return (None, False) if _LESS_PRECISE.fullmatch(text) else (text, True)
        year, month, day, hour, minute, second, offset = found.groups()
        if offset is None:
            offset = self._offset_of(year + month + day + hour + minute)
        return f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{offset}", True

    def _local_offset(self, minute: str) -> str:
        """The offset of a local time; none if its zone has it twice or not at all, or if no zone is given."""
        if self._zone is None:
            if not self._is_told:
                self._is_told = True
                self._log.warning(
                    "Times have no zone; name the one they were written in: --param tz=Europe/Zurich for `run` and"
                    " `new parser`, `casparian parser set PARSER tz=Europe/Zurich` for a registered parser"
                )
            return ""
        try:
            moment = datetime.datetime.strptime(minute, "%Y%m%d%H%M").replace(tzinfo=self._zone)
        except ValueError:
            return ""  # such a date does not exist: the contract says so
        offset = moment.strftime("%z")
        return offset if offset == moment.replace(fold=1).strftime("%z") else ""


def _birth(text: str) -> tuple[str | None, bool]:
    """The day, and whether the text says a day and nothing else."""
    found = _DATE.fullmatch(text[:8])
    if len(text) < 8 and _LESS_PRECISE.fullmatch(text):
        return None, False
    return "-".join(found.groups()) if found is not None else text, len(text) == 8


class _Written:
    """Times of rows that their columns cannot hold: gathered field by field, as they are written."""

    def __init__(self) -> None:
        self._parts: list[pa.StringArray] = []

    def read(
        self, texts: pa.StringArray, label: pa.StringArray | str, time: Callable[[str], tuple[str | None, bool]]
    ) -> pa.StringArray:
        """The times of some texts; of those that are not precise, the text is kept."""
        coded = texts.dictionary_encode()
        told = [time(text) for text in coded.dictionary.to_pylist()]
        times = pa.array([each for each, _ in told], pa.string()).take(coded.indices)
        is_precise = pc.fill_null(
            pa.array([is_precise for _, is_precise in told], pa.bool_()).take(coded.indices), True
        )
        if is_precise.false_count:
            kept = pc.binary_join_element_wise(label, texts, " ")
            self._parts.append(pc.if_else(is_precise, pa.scalar(None, pa.string()), kept))
        return times

    def column(self, count: int) -> pa.StringArray:
        column = pa.nulls(count, pa.string())
        for part in self._parts:
            both = pc.binary_join_element_wise(column, part, "; ")
            column = pc.coalesce(both, column, part)
        return column


class _Context:
    """Some segments, and for each of them the places of those that it depends on; NULL where there is none."""

    def __init__(self, segments: SegmentColumns, rejected: RejectedSegments) -> None:
        self.segments = segments
        ids = segments.ids
        #: Segments that were rejected, of which only the place is known.
        self.is_rejected = rejected.are(segments)
        is_any = pc.equal(ids, rejected.ANY)
        is_header = pc.equal(ids, "MSH")
        header = segments.in_force(is_header)
        is_inside = pc.fill_null(pc.equal(segments.messages.take(header), segments.messages), False)
        headers = segments.where(is_header)
        self.headers = segments.numbers.filter(is_header)
        self.header = header
        is_read = pc.is_in(headers.value(9), _READ_TYPES)
        of_read = pc.fill_null(is_read.take(self._ordinals(is_header)), False)
        self.is_read = pc.and_(is_inside, of_read)
        self.control_ids = headers.value(10).take(self._ordinals(is_header))

        def last(mask: pa.BooleanArray) -> pa.Int64Array:
            return segments.in_force(pc.and_(self.is_read, mask), is_header)

        self.event = segments.in_force(pc.and_(is_inside, pc.equal(ids, "EVN")), is_header)
        self.patient = last(pc.or_(pc.equal(ids, "PID"), is_any))
        self.order = last(pc.or_(pc.equal(ids, "OBR"), is_any))
        is_other = pc.invert(pc.or_(is_header, pc.equal(ids, "NTE")))
        self.noted = last(is_other)

    @staticmethod
    def _ordinals(is_header: pa.BooleanArray) -> pa.Int64Array:
        """Which header of all is in force, from 0; NULL before the first."""
        count = pc.cumulative_sum(is_header.cast(pa.int64()))
        return pc.if_else(pc.equal(count, 0), pa.scalar(None, pa.int64()), pc.subtract(count, 1))

    def kept(self) -> pa.Int64Array:
        """The places of segments on which later ones may depend."""
        last = len(self.segments) - 1
        places = {each[last].as_py() for each in (self.header, self.event, self.patient, self.order, self.noted)}
        return pa.array(sorted(places - {None}), pa.int64())


class Extractor:
    """Rows of all outputs. With `keeps_all`, all segments were given to `hl7_segments` already."""

    def __init__(
        self,
        clock: Clock,
        encoding: str,
        rejected: RejectedSegments,
        reject: Callable[[str, Mapping[str, Any], str, int], None],
        *,
        keeps_all: bool,
    ) -> None:
        """`reject` sends a row to quarantine: its output, the row, the reason, its source row."""
        self._rejected = rejected
        self._reject = reject
        self._clock = clock
        self._keeps_all = keeps_all
        self._encoding = encoding
        self._kept: pa.RecordBatch | None = None
        self._gathered: list[pa.RecordBatch] = []
        self._count = self._bytes = 0

    def take(self, batch: pa.RecordBatch) -> Tables:
        """The rows that are complete with these segments, if enough were gathered."""
        self._gathered.append(batch)
        self._count += len(batch)
        self._bytes += batch.nbytes
        if self._count >= _GATHERED or self._bytes >= _GATHERED_BYTES or not self._keeps_all:
            yield from self._tables(is_last=False)

    def finish(self) -> Tables:
        yield from self._tables(is_last=True)

    def _tables(self, *, is_last: bool) -> Tables:
        gathered, self._gathered = [*([self._kept] if self._kept else []), *self._gathered], []
        self._count = self._bytes = 0
        batch = joined_batches(gathered)
        if not batch:
            return
        batch = self._rejected.added_to(batch, _NO_PARENTS)
        segments = SegmentColumns(batch, self._encoding)
        context = _Context(segments, self._rejected)
        new = pc.greater_equal(segments.numbers, len(self._kept) if self._kept else 0)
        new = pc.and_not(new, context.is_rejected)
        rows = pc.and_(new, context.is_read)
        if not self._keeps_all:
            taken = pc.or_(pc.and_(rows, pc.is_in(segments.ids, _ROWS)), pc.equal(segments.ids, "MSH"))
            yield "hl7_segments", batch.filter(pc.and_not(new, taken))
        headers = context.headers
        if not is_last and len(headers):
            headers = headers.slice(0, len(headers) - 1)  # an EVN may follow
        if len(headers):
            yield "hl7_messages", self._messages(context, headers)
        parents: Sequence[pa.Int64Array]
        for id, output, made, parents in (
            ("PID", "hl7_patients", self._patients, ()),
            ("PV1", "hl7_visits", self._visits, (context.patient,)),
            ("OBX", "hl7_observations", self._observations, (context.patient, context.order)),
            ("NTE", "hl7_notes", self._notes, (context.patient, context.noted)),
        ):
            places = segments.numbers.filter(pc.and_(rows, pc.equal(segments.ids, id)))
            if len(places):
                yield output, self._certain(context, output, made(context, places), places, parents)
        self._kept = batch.take(context.kept())

    def _certain(
        self,
        context: _Context,
        output: str,
        batch: pa.RecordBatch,
        places: pa.Int64Array,
        parents: Sequence[pa.Int64Array],
    ) -> pa.RecordBatch:
        """The rows of a batch that belong to no rejected segment; the others are rejected."""
        if not context.is_rejected.true_count:
            return batch
        for parent in parents:
            is_doubted = pc.fill_null(context.is_rejected.take(parent.take(places)), False)
            wrong, at = batch.filter(is_doubted), context.segments.take(parent.take(places.filter(is_doubted)))
            for row, id, row_id in zip(wrong.to_pylist(), at.ids.to_pylist(), at.row_ids.to_pylist(), strict=True):
                self._reject(output, row, self._rejected.reason(id, row_id), row["__cf_row_id"])
            batch, places = (each.filter(pc.invert(is_doubted)) for each in (batch, places))
        return batch

    def _messages(self, context: _Context, headers: pa.Int64Array) -> pa.RecordBatch:
        segments = context.segments
        msh = segments.take(headers)
        following = pa.concat_arrays([context.headers, pa.array([len(segments)], pa.int64())]).slice(1, len(headers))
        evn = segments.take(context.event.take(pc.subtract(following, 1)))
        written = _Written()
        time, event_time = (
            self._time(one, id, number, written) for one, id, number in ((msh, "MSH", 7), (evn, "EVN", 2))
        )
        columns = _values(msh, _MESSAGE) | _values(evn, _EVENT) | {"message_time": time, "event_time": event_time}
        return _batch(msh, {"message": msh.messages} | columns, written)

    def _patients(self, context: _Context, places: pa.Int64Array) -> pa.RecordBatch:
        pid = context.segments.take(places)
        written = _Written()
        columns = _values(pid, _PATIENT) | {"patient_ids": pid.repetitions(3)}
        columns["birth_date"] = written.read(pid.value(7), "PID-7", _birth)
        columns["death_time"] = self._time(pid, "PID", 29, written)
        return _batch(pid, _shared(context, places) | columns, written)

    def _visits(self, context: _Context, places: pa.Int64Array) -> pa.RecordBatch:
        pv1 = context.segments.take(places)
        written = _Written()
        columns = _values(pv1, _VISIT) | {
            "admit_time": self._time(pv1, "PV1", 44, written), "discharge_time": self._time(pv1, "PV1", 45, written),
        }  # fmt: skip
        return _batch(pv1, _shared(context, places) | _patient_id(context, places) | columns, written)

    def _observations(self, context: _Context, places: pa.Int64Array) -> pa.RecordBatch:
        segments = context.segments
        obx, obr = segments.take(places), segments.take(context.order.take(places))
        written = _Written()
        own, ordered = obx.value(14), obr.value(7)
        label = pc.if_else(pc.is_valid(own), "OBX-14", "OBR-7")
        columns = _values(obx, _OBSERVATION) | _values(obr, _ORDER) | _value(obx)
        columns |= {
            "position": obx.positions, "abnormal_flags": _written(obx, 8),
            "observed_at": written.read(pc.coalesce(own, ordered), label, self._clock.time),
        }  # fmt: skip
        return _batch(obx, _shared(context, places) | _patient_id(context, places) | columns, written)

    def _notes(self, context: _Context, places: pa.Int64Array) -> pa.RecordBatch:
        segments = context.segments
        nte, about = segments.take(places), segments.take(context.noted.take(places))
        columns = {
            "position": nte.positions, "about": about.ids, "about_position": about.positions, "set_id": nte.value(1),
            "source": nte.value(2), "comment": nte.joined(3),
        }  # fmt: skip
        return _batch(nte, _shared(context, places) | _patient_id(context, places) | columns)

    def _time(self, segments: SegmentColumns, id: str, number: int, written: _Written) -> pa.StringArray:
        return written.read(segments.value(number), f"{id}-{number}", self._clock.time)


def _values(segments: SegmentColumns, columns: Columns) -> dict[str, pa.Array]:
    return {name: segments.value(*place) for name, place in columns.items()}


def _written(segments: SegmentColumns, number: int) -> pa.StringArray:
    """A field as it is written; NULL where nothing is."""
    texts = segments.written(number)
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _shared(context: _Context, places: pa.Int64Array) -> dict[str, pa.Array]:
    return {"message": context.segments.messages.take(places), "control_id": context.control_ids.take(places)}


def _patient_id(context: _Context, places: pa.Int64Array) -> dict[str, pa.Array]:
    return {"patient_id": context.segments.take(context.patient.take(places)).value(3)}


def _value(obx: SegmentColumns) -> dict[str, pa.Array]:
    """The values of observations by their type: a text, its repetitions on lines of their own; a code; or only as written."""
    written, kind = _written(obx, 5), pc.fill_null(obx.written(2), "")
    is_coded, is_text = pc.is_in(kind, _CODED), pc.is_in(kind, _TEXTS)
    none = pa.scalar(None, pa.string())
    value = pc.if_else(is_text, obx.joined(5), none)
    text = system = pa.nulls(len(obx), pa.string())
    if is_coded.true_count:
        value = pc.if_else(is_coded, obx.value(5), value)
        text, system = (pc.if_else(is_coded, obx.value(5, component), none) for component in (2, 3))
    is_number = pc.equal(kind, "SN")
    if is_number.true_count:
        value = pc.replace_with_mask(value, is_number, _structured(obx.where(is_number)))
    return {"value": value, "value_text": text, "value_system": system, "value_as_written": written}


def _structured(obx: SegmentColumns) -> pa.StringArray:
    """Structured numbers in one text, such as >100, 1:128, 2-4."""
    joined = obx.joined(5, "", of="components")
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), joined)


def _batch(segments: SegmentColumns, columns: dict[str, pa.Array], written: _Written | None = None) -> pa.RecordBatch:
    """Rows with where they come from, and the codec that read them if several were given."""
    if written is not None:
        columns["times_as_written"] = written.column(len(segments))
    columns["__cf_row_id"] = segments.row_ids
    if segments.raw_encodings is not None:
        columns["_cf_raw_encoding"] = segments.raw_encodings
    return pa.RecordBatch.from_pydict(columns)
