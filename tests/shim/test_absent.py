"""Absent modules stay absent, present ones stay importable."""

import importlib
import sys

import pytest

from casparian_shim.process import remember_absent


def test_an_absent_module_fails_as_before_and_is_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "casparian_no_such_module"
    assert remember_absent(name)
    try:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
    finally:
        del sys.modules[name]


def test_a_present_module_is_left_alone() -> None:
    assert not remember_absent("json")
    assert not remember_absent("colorsys")
    assert importlib.import_module("colorsys") is not None
