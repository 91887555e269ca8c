"""Which field of which segment fills which column, and times with their zone.

`Extractor` takes the segments of a file in their order and remembers what a row needs from earlier ones: the message's header,
the patient, the order. It extracts from ADT and ORU messages only; a message whose header was rejected is left to `hl7_segments`.
"""

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from logging import Logger
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from casparian_shim import Segment
from casparian_shim.readers.segments import unescaped

Row = dict[str, Any]
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
_NO_ORDER: Row = dict.fromkeys(_ORDER)
#: Segments that become a row of their own.
_ROWS = ("PID", "PV1", "OBX", "NTE")
_READ_TYPES = ("ADT", "ORU")
_CODED = frozenset({"CE", "CF", "CNE", "CWE", "IS", "ID"})
_TEXTS = frozenset({"ST", "TX", "FT", "NM", "DT", "TM", "TS", "DTM", "SI", ""})
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

    def time(self, text: str | None) -> tuple[str | None, bool]:
        """The time, and whether it is as precise as a time: a date alone is none. Other text is returned as it is."""
        if text is None:
            return None, True
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
                    "Times have no zone; name the one they were written in: casparian parser set hl7_parser tz=Europe/Zurich"
                )
            return ""
        try:
            moment = datetime.datetime.strptime(minute, "%Y%m%d%H%M").replace(tzinfo=self._zone)
        except ValueError:
            return ""  # such a date does not exist: the contract says so
        offset = moment.strftime("%z")
        return offset if offset == moment.replace(fold=1).strftime("%z") else ""


@dataclass(slots=True)
class _Message:
    """What the segments of one message share."""

    number: int
    control_id: str | None
    is_read: bool
    patient_id: str | None = None
    order: Row = field(default_factory=lambda: _NO_ORDER)
    ordered_at: str | None = None
    last: Segment | None = None

    def row(self, segment: Segment, columns: Columns) -> Row:
        row: Row = {name: segment.value(*place) for name, place in columns.items()}
        return {"message": self.number, "control_id": self.control_id, **row, **_origin(segment)}


def _origin(segment: Segment) -> Row:
    """Where a row comes from, and the codec that read it if several were given."""
    origin: Row = {"__cf_row_id": segment.row_id}
    return origin if segment.raw_encoding is None else origin | {"_cf_raw_encoding": segment.raw_encoding}


class Extractor:
    """Rows of all outputs but `hl7_segments`."""

    def __init__(self, clock: Clock, encoding: str) -> None:
        self._clock = clock
        self._encoding = encoding
        self._message: _Message | None = None
        #: The row of the message's header, until its EVN was seen.
        self._header: tuple[Row, list[str]] | None = None
        self._row_ids: list[int] = []
        self._rows: dict[str, list[Row]] = {}

    def take(self, rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
        """The rows that these segments give."""
        for each in rows:
            self._take(Segment(each, self._encoding))
        return self._take_rows()

    def take_row_ids(self) -> list[int]:
        """The segments that became rows since the last call."""
        row_ids, self._row_ids = self._row_ids, []
        return row_ids

    def finish(self) -> Iterator[tuple[str, list[Row]]]:
        self._give_header()
        yield from self._take_rows()

    def _take_rows(self) -> list[tuple[str, list[Row]]]:
        rows, self._rows = self._rows, {}
        return list(rows.items())

    def _take(self, segment: Segment) -> None:
        if segment.id == "MSH":
            self._begin(segment)
            self._row_ids.append(segment.row_id)
            return
        message = self._message
        if message is None or segment.message != message.number:
            return  # the message's header was rejected
        if segment.id == "EVN" and self._header is not None:
            row, written = self._header
            row |= {name: segment.value(*place) for name, place in _EVENT.items()}
            row["event_time"] = self._time(segment, 2, written)
        if not message.is_read:
            return
        match segment.id:
            case "PID":
                self._patient(message, segment)
            case "PV1":
                self._visit(message, segment)
            case "OBX":
                self._observation(message, segment)
            case "NTE":
                self._note(message, segment)
            case "OBR":
                message.order = {name: segment.value(*place) for name, place in _ORDER.items()}
                message.ordered_at = segment.value(7)
        if segment.id in _ROWS:
            self._row_ids.append(segment.row_id)
        if segment.id != "NTE":
            message.last = segment

    def _begin(self, header: Segment) -> None:
        self._give_header()
        assert header.message is not None
        message = self._message = _Message(header.message, header.value(10), header.value(9) in _READ_TYPES)
        written: list[str] = []
        row = message.row(header, _MESSAGE) | dict.fromkeys((*_EVENT, "event_time"))
        row["message_time"] = self._time(header, 7, written)
        self._header = row, written

    def _give_header(self) -> None:
        if self._header is not None:
            row, written = self._header
            self._header = None
            self._give("hl7_messages", row, written)

    def _patient(self, message: _Message, pid: Segment) -> None:
        written: list[str] = []
        row = message.row(pid, _PATIENT)
        message.patient_id = row["patient_id"]
        row["patient_ids"] = pid.repetitions(3)
        born = pid.value(7)
        found = _DATE.fullmatch(born[:8]) if born is not None else None
        row["birth_date"] = "-".join(found.groups()) if found is not None else born
        if born is not None and _LESS_PRECISE.fullmatch(born) and len(born) < 8:
            row["birth_date"] = None
        if born is not None and len(born) != 8:
            written.append(f"PID-7 {born}")
        row["death_time"] = self._time(pid, 29, written)
        self._give("hl7_patients", row, written)

    def _visit(self, message: _Message, pv1: Segment) -> None:
        written: list[str] = []
        row = message.row(pv1, _VISIT) | {"patient_id": message.patient_id}
        row["admit_time"] = self._time(pv1, 44, written)
        row["discharge_time"] = self._time(pv1, 45, written)
        self._give("hl7_visits", row, written)

    def _observation(self, message: _Message, obx: Segment) -> None:
        written: list[str] = []
        row = message.row(obx, _OBSERVATION) | message.order | _value(obx)
        row |= {"patient_id": message.patient_id, "position": obx.position, "abnormal_flags": obx[8] or None}
        if obx.value(14) is not None or message.ordered_at is None:
            row["observed_at"] = self._time(obx, 14, written)
        else:
            row["observed_at"], is_precise = self._clock.time(message.ordered_at)
            if not is_precise:
                written.append(f"OBR-7 {message.ordered_at}")
        self._give("hl7_observations", row, written)

    def _note(self, message: _Message, nte: Segment) -> None:
        last = message.last
        comments = [unescaped(each, nte.separators, nte.encoding) for each in nte.repetitions(3)]
        self._give("hl7_notes", {
            "message": message.number, "control_id": message.control_id, "patient_id": message.patient_id,
            "position": nte.position, "about": last.id if last else None, "about_position": last.position if last else None,
            "set_id": nte.value(1), "source": nte.value(2), "comment": "\n".join(comments) if comments else None,
            **_origin(nte),
        })  # fmt: skip

    def _time(self, segment: Segment, number: int, written: list[str]) -> str | None:
        text = segment.value(number)
        time, is_precise = self._clock.time(text)
        if not is_precise:
            written.append(f"{segment.id}-{number} {text}")
        return time

    def _give(self, output: str, row: Row, written: list[str] | None = None) -> None:
        if written is not None:
            row["times_as_written"] = "; ".join(written) or None
        self._rows.setdefault(output, []).append(row)


def _value(obx: Segment) -> Row:
    """The value of an observation, by its type: a text with its repetitions on lines of their own, a code, or only as written."""
    written, kind = obx[5] or None, obx[2]
    value = text = system = None
    if kind in _CODED:
        value, text, system = (obx.value(5, component) for component in (1, 2, 3))
    elif kind == "SN":
        parts = [unescaped(part, obx.separators, obx.encoding) for part in obx.components(5)]
        value = "".join(parts) or None  # such as >100, 1:128, 2-4
    elif kind in _TEXTS and written is not None:
        value = "\n".join(unescaped(each, obx.separators, obx.encoding) for each in obx.repetitions(5))
    return {"value": value, "value_text": text, "value_system": system, "value_as_written": written}
