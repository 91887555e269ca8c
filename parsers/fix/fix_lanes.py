"""The fast lane: one regular expression for each common shape of message, learnt from the log itself.

A shape is a sequence of tags with a MsgType and a separator. Once `find_messages` has framed a few messages of one
shape, a lane takes the rest of them, several times quicker. A lane gives the same answer or none: whatever does not
match to the last byte, or fails a check, goes back to `find_messages`, which alone decides what is wrong.
"""

import re

from fix_messages import CHECKSUM_TEXTS, DATA_FIELD_OF, Found, byte_sum
from fix_tables import Batch, Plan

_LANES_MAX = 2_000
_LANES_OF_ONE_COUNT_MAX = 8
_LENGTH_OF = {b"%d" % length: length for length in range(10_000)}
# By CheckSum: what the bytes before it must sum to, plus `10=` and its own digits, modulo 256.
_SUM_OF = {text: (value + sum(b"10=" + text)) & 255 for value, text in enumerate(CHECKSUM_TEXTS)}


class Lane:
    """Messages of one shape. Groups of the match are all the values in order."""

    __slots__ = ("_excess", "_trailer_bytes", "batch", "match", "plan")

    def __init__(self, found: Found, batch: Batch, plan: Plan) -> None:
        separator = found.separator
        end = separator if found.text.endswith(separator) else b""
        other = b"[^" + re.escape(separator) + b"]*+"
        fields = [tag + b"=(" + other + b")" for tag in found.tags]
        fields[2] = b"35=(" + re.escape(found.values[2]) + b")"
        fields[-1] = b"10=([0-9]{3})"
        self.match = re.compile(re.escape(separator).join(fields) + re.escape(end)).fullmatch
        self.batch = batch
        self.plan = plan
        self._trailer_bytes = 6 + len(end)
        self._excess = (len(found.tags) - 1) * (separator[0] - 1) + sum(end)

    def is_intact(self, text: bytes, values: tuple[bytes, ...]) -> bool:
        """Whether BodyLength and CheckSum hold. A no is only a suspicion."""
        length = len(text) - self._trailer_bytes - len(values[0]) - len(values[1]) - 6
        total = byte_sum(text) - self._excess
        return _LENGTH_OF.get(values[1]) == length and _SUM_OF[values[-1]] == total & 255


class Lanes:
    """All lanes, by separator and number of separators: nearly always one or two to try."""

    def __init__(self) -> None:
        self.by_shape: dict[tuple[bytes, int], list[Lane]] = {}
        self._lane_count = 0

    def learn(self, found: Found, batch: Batch, plan: Plan) -> None:
        """Open a lane for messages like this one, if separators alone separate their fields."""
        if len(found.separator) > 1 or DATA_FIELD_OF.keys() & set(found.tags) or self._lane_count >= _LANES_MAX:
            return
        lanes = self.by_shape.setdefault((found.separator, found.text.count(found.separator)), [])
        if len(lanes) < _LANES_OF_ONE_COUNT_MAX:
            lanes.append(Lane(found, batch, plan))
            self._lane_count += 1
