"""Paths that remember what was derived from them: most of a simulated history's cost was `pathlib` joining the same names.

A `SimPath` is a path in every respect; two ways to the same place lead to the same object, so that hashes and parts are
computed once for all histories of a process. Never touches a disk.
"""

from __future__ import annotations

from pathlib import Path, PosixPath, PurePath
from typing import Any


class SimPath(PosixPath):
    """Made by `root()`; everything below it is made by `/`."""

    #: Slots instead of the properties of a path: they are looked at more often than anything else.
    __slots__ = ("_children", "name", "names", "parent")
    _children: dict[Any, SimPath]
    name: str
    parent: SimPath
    #: The names that lead here from the root.
    names: tuple[str, ...]

    def __truediv__(self, key: Any) -> SimPath:
        try:
            return self._children[key]
        except KeyError:
            return self._learn(key)

    @property
    def parents(self) -> tuple[SimPath, ...]:
        found, path = [], self
        while path.names:
            path = path.parent
            found.append(path)
        return tuple(found)

    def with_name(self, name: str) -> SimPath:
        return self.parent / name

    def _learn(self, key: Any) -> SimPath:
        parts = PurePath(key).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise ValueError(f"{key} does not lie below {self}")  # nothing simulated needs it
        path = self
        for part in parts:
            path = path._children.get(part) or path._child(part)
        self._children[key] = path
        return path

    def _child(self, name: str) -> SimPath:
        made = self._children[name] = SimPath(self, name)
        made._children, made.name, made.parent, made.names = {}, name, self, (*self.names, name)
        return made


def root() -> SimPath:
    made = SimPath("/")
    made._children, made.name, made.parent, made.names = {}, "", made, ()
    return made


def names_of(path: Path) -> tuple[str, ...]:
    """The names that lead to an absolute path."""
    return path.names if type(path) is SimPath else path.parts[1:]
