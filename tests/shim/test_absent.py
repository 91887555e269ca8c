"""Absent modules stay absent, present ones stay importable."""

import importlib
import importlib.util
import subprocess
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


def test_a_process_that_judges_batches_uses_the_systems_allocator_and_searches_for_dateutil_once() -> None:
    program = (
        "import sys, pyarrow; from casparian_shim.process import prepare_arrow; prepare_arrow();"
        "print(pyarrow.default_memory_pool().backend_name, sys.modules.get('dateutil', 'there') is None)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    is_absent = importlib.util.find_spec("dateutil") is None
    assert said == ["system", str(is_absent)]
