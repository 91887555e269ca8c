"""Casparian's premade parser for syslog: messages of RFC 5424 and RFC 3164, and the lines that syslog daemons write to files.

Every message ends as a row, a rejected row or a declared skip; `syslog_frames` finds messages behind their lengths. Nothing is
repaired and no year is guessed: a time without a year is read only if a reference is declared, and a local time that its zone
has twice or not at all is left without an offset, so that the contract refuses it.
"""

import datetime
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from syslog_frames import read_octets

from casparian_shim import read_lines, read_records

name, version, topics = "syslog_parser", "1.1.0", ["syslog"]
dependencies: list[str] = []
params = {
    "reference": "",  # for times without a year: a day on or after the last one in the log, like 2024-12-31
    "tz": "UTC",  # the zone of times without an offset
    "encoding": "utf-8",  # several with commas are tried one after the other for each line
    "framing": "lines",  # or "octets": each message is behind its length in bytes (RFC 6587)
    "continuation": "reject",  # a line that does not begin like a message; or "join": it belongs to the message before it
}
outputs = {
    "syslog": {
        "mode": "strict",
        "columns": [
            {
                "name": "format",
                "type": "string",
                "nullable": False,
                "values": ["rfc5424", "rfc3164", "file"],
                "description": "file: as RFC 3164, with a time in ISO 8601",
            },
            {"name": "facility", "type": "int64", "description": "0 to 23; NULL if the line has no priority"},
            {"name": "severity", "type": "int64", "description": "0 (emergency) to 7 (debug)"},
            {"name": "syslog_version", "type": "int64", "description": "VERSION of RFC 5424"},
            {"name": "time", "type": {"kind": "timestamp_tz", "tz": "UTC"}},
            {"name": "time_as_written", "type": "string", "description": "NULL if RFC 5424's time is -"},
            {"name": "host", "type": "string"},
            {"name": "app", "type": "string", "description": "APP-NAME, or the tag before the message"},
            {"name": "proc_id", "type": "string", "description": "PROCID, or what the tag has in brackets"},
            {"name": "msg_id", "type": "string"},
            {"name": "structured_data", "type": "string", "description": "as written, all elements"},
            {"name": "message", "type": "string", "description": "NULL if there is none"},
        ],
    }
}

_PRIORITY = r"<(0|[1-9][0-9]{0,2})>"
_NAME = r"[!#-<>-\\^-~]{1,32}"  # printable ASCII without =, space, ] and "
_ELEMENT = rf'\[{_NAME}(?: {_NAME}="(?:[^"\\\]]|\\.)*")*\]'
_RFC_5424 = re.compile(
    rf"{_PRIORITY}([1-9][0-9]{{0,2}}) ([!-~]+) ([!-~]{{1,255}}) ([!-~]{{1,48}}) ([!-~]{{1,128}}) ([!-~]{{1,32}})"
    rf" (-|(?:{_ELEMENT})+)(?: (.*))?",
    re.DOTALL,
)
_SHORT = r"[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}"
_ISO = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})?"
_LINE = re.compile(
    rf"(?:{_PRIORITY})?(?:({_SHORT})|({_ISO})) (\S+) (?:([^\s:\[\]]{{1,64}})(?:\[([^\]\s]*)\])?: )?(.*)", re.DOTALL
)
#: How the first line of a message begins.
_START = rf"(?:<[0-9]{{1,3}}>)?(?:[1-9][0-9]{{0,2}} [0-9-]|{_SHORT} |{_ISO} )"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PRIORITY_MAX = 191
_LEAP_YEARS_APART_MAX = 8

Row = dict[str, Any]


class BadParameter(ValueError):
    """A parameter has a value this parser does not know."""

    def __init__(self, parameter: str, value: object, allowed: str) -> None:
        super().__init__(f"Parameter {parameter} is {value!r}. Give {allowed}.")


class _Refused(Exception):
    """The line is no syslog message; the text says why."""


def parse(path: str, ctx: Any) -> Iterator[tuple[str, Row]]:
    clock = Clock(ctx.params["tz"], ctx.params["reference"])
    for line in messages(path, ctx.params):
        number, text = line["__cf_row_id"], line["text"]
        if not text.strip():
            ctx.skip("blank line", source_row=number)
            continue
        try:
            row = row_of(text, clock)
        except _Refused as cause:
            ctx.reject("syslog", None, str(cause), source_row=number)
            continue
        row["__cf_row_id"] = number
        if "_cf_raw_encoding" in line:
            row["_cf_raw_encoding"] = line["_cf_raw_encoding"]
        yield "syslog", row


def messages(path: str, params: Mapping[str, Any]) -> Any:
    """The text of each message, as rows."""
    names = [each.strip() for each in params["encoding"].split(",")]
    encoding = names if len(names) > 1 else names[0]
    framing, continuation = params["framing"], params["continuation"]
    if framing not in ("lines", "octets"):
        raise BadParameter("framing", framing, "lines or octets")
    if continuation not in ("reject", "join"):
        raise BadParameter("continuation", continuation, "reject or join")
    if framing == "octets":
        return read_octets(path, encoding)
    if continuation == "join":
        return read_records(path, start=_START, encoding=encoding, line_ends="lf")
    return read_lines(path, encoding=encoding, line_ends="lf")


class Clock:
    """Times without a year or an offset, as ISO 8601."""

    def __init__(self, zone: str, reference: str) -> None:
        try:
            self._zone = ZoneInfo(zone)
        except (ValueError, OSError, ZoneInfoNotFoundError) as cause:
            raise BadParameter("tz", zone, "an IANA zone, like UTC or America/New_York") from cause
        try:
            self._reference = datetime.date.fromisoformat(reference) if reference else None
        except ValueError as cause:
            raise BadParameter(
                "reference", reference, "a day like 2024-12-31, on or after the last one of the log"
            ) from cause
        self.iso_of_short = lru_cache(maxsize=10_000)(self._iso_of_short)

    def _iso_of_short(self, text: str) -> str:
        """`Oct 11 22:14:15` in the last year in which that day is not after the reference."""
        if self._reference is None:
            raise _Refused("has a time without a year; give the parameter reference, a day like 2024-12-31")
        if text[:3] not in _MONTHS:
            raise _Refused(f"has a month that does not exist: {text[:3]!r}")
        month, day = _MONTHS.index(text[:3]) + 1, int(text[4:6])
        for year in range(self._reference.year, self._reference.year - _LEAP_YEARS_APART_MAX - 1, -1):
            try:
                date = datetime.date(year, month, day)
            except ValueError:  # the day does not exist in this year
                continue
            if date <= self._reference:
                return self.with_offset(f"{date.isoformat()}T{text[7:]}")
        raise _Refused(f"has a day that does not exist: {text[:6]!r}")

    def with_offset(self, local: str) -> str:
        """A local time with the offset of its moment, or as it is if its zone gives no certain answer."""
        try:
            time = datetime.datetime.strptime(local[:19], "%Y-%m-%dT%H:%M:%S")
        except ValueError:
            return local
        first, second = (time.replace(tzinfo=self._zone, fold=fold).utcoffset() for fold in (0, 1))
        if first is None or first != second or first % datetime.timedelta(minutes=1):
            return local
        minutes = first // datetime.timedelta(minutes=1)
        return f"{local}{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def row_of(text: str, clock: Clock) -> Row:
    """The row of one line. Raises `_Refused` if it is no message."""
    found = _RFC_5424.fullmatch(text)
    if found is not None:
        priority, number, time, host, app, proc_id, msg_id, structured_data, message = found.groups()
        return {
            "format": "rfc5424",
            **_priority(priority),
            "syslog_version": int(number),
            "time": _told(time),
            "time_as_written": _told(time),
            "host": _told(host),
            "app": _told(app),
            "proc_id": _told(proc_id),
            "msg_id": _told(msg_id),
            "structured_data": _told(structured_data),
            "message": message,
        }
    found = _LINE.fullmatch(text)
    if found is None:
        raise _Refused("is no message of RFC 5424 or RFC 3164")
    priority, short, iso, host, app, proc_id, message = found.groups()
    if short is not None:
        time = clock.iso_of_short(short)
    else:
        time = iso if iso.endswith("Z") or iso[-6] in "+-" else clock.with_offset(iso)
    return {
        "format": "rfc3164" if short is not None else "file",
        **_priority(priority),
        "syslog_version": None,
        "time": time,
        "time_as_written": short or iso,
        "host": host,
        "app": app,
        "proc_id": proc_id,
        "msg_id": None,
        "structured_data": None,
        "message": message,
    }


def line_of(row: Row) -> str:
    """The line that a row was made of."""
    priority = "" if row["facility"] is None else f"<{row['facility'] * 8 + row['severity']}>"
    if row["format"] == "rfc5424":
        names = ("time_as_written", "host", "app", "proc_id", "msg_id", "structured_data")
        told = " ".join(row[name] or "-" for name in names)
        message = "" if row["message"] is None else f" {row['message']}"
        return f"{priority}{row['syslog_version']} {told}{message}"
    pid = "" if row["proc_id"] is None else f"[{row['proc_id']}]"
    tag = "" if row["app"] is None else f"{row['app']}{pid}: "
    return f"{priority}{row['time_as_written']} {row['host']} {tag}{row['message']}"


def _told(text: str) -> str | None:
    return None if text == "-" else text


def _priority(text: str | None) -> dict[str, int | None]:
    if text is None:
        return {"facility": None, "severity": None}
    if int(text) > _PRIORITY_MAX:
        raise _Refused(f"has a priority beyond {_PRIORITY_MAX}: {text}")
    return {"facility": int(text) // 8, "severity": int(text) % 8}
