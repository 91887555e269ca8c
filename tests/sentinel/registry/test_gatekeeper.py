"""The gatekeeper shows where a parser reaches beyond its file; it is lint, never a boundary."""

import pytest

from casparian_sentinel.registry.gatekeeper import GatekeeperRefused, check, inspect_source


@pytest.mark.parametrize(
    ("source", "rule", "line", "column"),
    [
        ("import socket", "network", 1, 1),
        ("x = 1\nfrom urllib.request import urlopen", "network", 2, 1),
        ("import urllib.parse\nimport http.client as h", "network", 2, 1),
        ("def parse(path):\n    import subprocess", "process", 2, 5),
        ("import os\nos.system('id')", "process", 2, 1),
        ("import os as quiet\nf = quiet.execv", "process", 2, 5),
        ("from os import system as s", "process", 1, 1),
        ("import ctypes.util", "native-code", 1, 1),
        ("f = eval", "dynamic-code", 1, 5),
        ("exec('1')", "dynamic-code", 1, 1),
        ("compile('1', '', 'eval')", "dynamic-code", 1, 1),
        ("__import__('os')", "dynamic-import", 1, 1),
        ("from importlib import import_module", "dynamic-import", 1, 1),
        ("import sys\nsys.modules['os']", "dynamic-import", 2, 1),
        ("().__class__.__base__.__subclasses__()", "introspection", 1, 1),
        ("import os\ngetattr(os, 'sys' + 'tem')", "introspection", 2, 1),
        ("import os\nos.__dict__", "introspection", 2, 1),
        ("open('x', 'w')", "write-outside-scratch", 1, 1),
        ("open('x', mode='r+b')", "write-outside-scratch", 1, 1),
        ("open('x', mode)", "unclear-write", 1, 1),
        ("import gzip\ngzip.open('x', 'wt')", "write-outside-scratch", 2, 1),
        ("from pathlib import Path\nPath('x').open('a')", "write-outside-scratch", 2, 1),
        ("from pathlib import Path\nPath('x').write_text('')", "write-outside-scratch", 2, 1),
        ("import os\nos.remove('x')", "write-outside-scratch", 2, 1),
        ("import shutil\nshutil.rmtree('x')", "write-outside-scratch", 2, 1),
        ("import multiprocessing.pool", "process", 1, 1),
        ("import pickle", "unsafe-deserialising", 1, 1),
        ("import pandas as pd\npd.read_pickle('x')", "unsafe-deserialising", 2, 1),
        ("import signal", "signals", 1, 1),
        ("import os\nos.environ['HOME']", "environment", 2, 1),
        ("import threading", "threads", 1, 1),
        ("breakpoint()", "interactive", 1, 1),
    ],
)
def test_what_reaches_beyond_the_file_is_found_where_it_stands(source: str, rule: str, line: int, column: int) -> None:
    (finding,) = inspect_source(source, "p.py")

    assert (finding.rule, finding.line, finding.column) == (rule, line, column)


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.compile('x')",
        "open(path)\nopen(path, 'rb')\nopen(path, encoding='utf-8')",
        "import os\nos.path.join('a', 'b')\nos.fspath(p)",
        "def parse(path, ctx):\n    (ctx.scratch / 'a').write_text('')\n    open(ctx.scratch / 'b', 'w')",
        "def parse(path, ctx):\n    root = ctx.scratch\n    a = root / 'a'\n    open(a, 'w')\n    a.mkdir()",
        "import os, shutil\ndef parse(path, ctx):\n"
        "    os.makedirs(ctx.scratch / 'a')\n    shutil.copy(path, ctx.scratch)",
        "df.eval('a + b')\ntext.replace('a', 'b')\nitem.open('name')",
        "import csv, json, decimal, datetime, pyarrow as pa, casparian_shim, pandas, zipfile",
        "import pathlib\npathlib.Path('x').read_text()",
    ],
)
def test_what_parsers_ordinarily_do_is_no_finding(source: str) -> None:
    assert inspect_source(source, "p.py") == ()


def test_strict_refuses_with_places_and_warn_records() -> None:
    sources = {"b.py": "import pickle\n", "a.py": "import threading\nimport socket\n"}

    assert [(one.file, one.line) for one in check(sources, "warn")] == [("a.py", 1), ("a.py", 2), ("b.py", 1)]
    with pytest.raises(GatekeeperRefused, match=r"a\.py:2:1 socket \(network.*b\.py:1:1 pickle") as caught:
        check(sources, "strict")
    assert {one.severity for one in caught.value.findings} == {"refuse"}


def test_a_notice_alone_is_not_refused_by_strict() -> None:
    assert len(check({"a.py": "import threading"}, "strict")) == 1
