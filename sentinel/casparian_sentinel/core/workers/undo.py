"""Changes that can be taken back: a decision that fails leaves no trace in what `live` holds.

While a decision is made, each change of a noted object or map is written down with how it was before; a decision that
fails is rolled back, newest change first. Noting happens by itself: whoever writes a handler need not think of it. What is
put into a noted map or object is noted from then on, plain maps included; lists are not, and are changed by methods that
note it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_ABSENT: Any = object()
#: Values that hold nothing to be noted.
_PLAIN = frozenset({int, float, str, bool, frozenset, type(None)})
_set = object.__setattr__


class Undo:
    """The changes of one decision. Outside of one nothing is noted."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        #: What to call, or (object, attribute, value as it was).
        self._steps: list[Callable[[], object] | tuple[object, str, Any]] | None = None

    def begin(self) -> None:
        self._steps = []

    def keep(self) -> None:
        self._steps = None

    def roll_back(self) -> None:
        """Everything is as it was at `begin`."""
        steps, self._steps = self._steps or [], None
        for step in reversed(steps):
            if isinstance(step, tuple):
                _set(*step)
            else:
                step()

    def note(self, step: Callable[[], object]) -> None:
        """`step` undoes what is about to be done."""
        if self._steps is not None:
            self._steps.append(step)

    def adopt(self, value: Any) -> Any:
        """The value, noted from now on if it is a map or an object of ours."""
        if type(value) is dict:
            return NotedDict(self, value)
        if isinstance(value, Noted):
            value._watched_by(self)
        return value


class Noted:
    """An object whose attributes are noted once it lies in a noted place; for dataclasses with slots."""

    __slots__ = ("_undo",)
    _undo: Undo | None

    def __setattr__(self, name: str, value: Any) -> None:
        undo = getattr(self, "_undo", None)
        if undo is not None:
            steps = undo._steps
            if steps is not None:
                steps.append((self, name, getattr(self, name)))
            if value.__class__ not in _PLAIN:
                value = undo.adopt(value)
        _set(self, name, value)

    def _watched_by(self, undo: Undo) -> None:
        if getattr(self, "_undo", None) is undo:
            return
        _set(self, "_undo", undo)
        if is_dataclass(self):
            for field in fields(self):
                value = getattr(self, field.name)
                if value.__class__ not in _PLAIN:
                    _set(self, field.name, undo.adopt(value))


class NotedDict(dict[K, V]):
    """A map whose changes are noted. Undoing brings back what was there, not the order of the keys."""

    __slots__ = ("_undo",)

    def __init__(self, undo: Undo, items: Mapping[K, V]) -> None:
        super().__init__({key: undo.adopt(value) for key, value in items.items()})
        self._undo = undo

    def _note(self, key: K) -> None:
        if self._undo._steps is not None:
            before = dict.get(self, key, _ABSENT)
            self._undo._steps.append(
                (lambda: dict.pop(self, key, None))
                if before is _ABSENT
                else (lambda: dict.__setitem__(self, key, before))
            )

    def __setitem__(self, key: K, value: V) -> None:
        self._note(key)
        super().__setitem__(key, self._undo.adopt(value))

    def __delitem__(self, key: K) -> None:
        self._note(key)
        super().__delitem__(key)

    def pop(self, key: K, *default: Any) -> Any:
        self._note(key)
        return super().pop(key, *default)

    def setdefault(self, key: K, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *items: Any, **named: Any) -> None:
        for key, value in dict(*items, **named).items():
            self[key] = value

    def clear(self) -> None:
        for key in list(self):
            del self[key]

    def popitem(self) -> tuple[K, V]:
        key = next(reversed(self))
        return key, self.pop(key)
