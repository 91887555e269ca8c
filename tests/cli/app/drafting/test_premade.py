"""`new parser --premade`: which premade parsers there are, their parameters, and parsers made from them that run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from casparian.shipped import bundled
from casparian_app.drafting import (
    Drafted,
    DraftRefused,
    Premade,
    draft_parser,
    draft_premade,
    find_premade,
    premade_parsers,
    write_draft,
)
from casparian_app.drafting.premade import PremadeRefused, with_literals
from casparian_app.parsers import run_bundle_tests
from casparian_protocol.parsers import collect_parser, read_metadata
from casparian_sentinel.registry.keys import home_key
from casparian_sentinel.registry.prepare import prepare

PREMADE = premade_parsers(bundled("parsers"))
COPYBOOK = "       01  PAY.\n           05  ID   PIC 9(2).\n           05  N    PIC S9(3)V99 COMP-3.\n"


def made(tmp_path: Path, kind: str, data: bytes | None, *params: str, name: str = "sample.dat") -> Drafted:
    samples = [tmp_path / name] if data is not None else []
    for path in samples:
        path.write_bytes(data or b"")
    return draft_premade("demo", find_premade(PREMADE, kind), params, samples)


def columns_of(draft: Drafted, output: str = "demo") -> dict[str, object]:
    contract = json.loads(draft.files[f"{output}.schema.json"])
    return {column["name"]: column["type"] for column in contract["columns"]}


def defaults_of(draft: Drafted) -> dict[str, object]:
    entry = next(name for name in draft.files if name.endswith("_parser.py"))
    metadata = read_metadata(draft.files[entry].decode(), entry)
    assert (metadata.name, metadata.topics) == ("demo", ("demo",))
    return {name: param.default for name, param in metadata.params.items()}


def test_a_name_that_does_not_exist_gets_the_most_similar_one() -> None:
    assert find_premade(PREMADE, "hl7_parser").kind == find_premade(PREMADE, "HL7").kind == "hl7"
    assert find_premade(PREMADE, "fixed-width").kind == "fixed_width"
    assert find_premade(PREMADE, "ndjson").kind == "jsonl"
    with pytest.raises(PremadeRefused, match="There is no premade parser 'hl77'") as refused:
        find_premade(PREMADE, "hl77")
    assert refused.value.remedy is not None and refused.value.remedy.startswith("Did you mean hl7? There are ")


@pytest.mark.parametrize(
    ("param", "problem", "remedy"),
    [
        ("delimeter=;", "has no parameter 'delimeter'", "Did you mean delimiter? It has: delimiter, quote"),
        ("ragged=pda", "'pda' is not a valid value", "Did you mean ragged=pad? It is one of: reject, pad"),
        ("header=x", "must be a whole number", "header: how many lines the header has"),
        ("delimiter", "has no value", "Write NAME=VALUE"),
    ],
)
def test_a_wrong_parameter_is_refused_with_what_there_is(tmp_path: Path, param: str, problem: str, remedy: str) -> None:
    with pytest.raises(PremadeRefused, match=problem) as refused:
        made(tmp_path, "csv", b"a\n1\n", param)
    assert refused.value.remedy is not None and remedy in refused.value.remedy


def test_a_generic_parser_takes_dialect_and_columns_from_the_sample(tmp_path: Path) -> None:
    draft = made(tmp_path, "csv", b"Report\nid;day\n1;31.12.2024\n2;\nx;y;z\n3;01.01.2025\n")

    assert columns_of(draft) == {"id": "int64", "day": "date"}
    assert {name: value for name, value in defaults_of(draft).items() if name in ("delimiter", "skip_lines")} == {
        "delimiter": ";",
        "skip_lines": 1,
    }
    assert [(trial.valid, trial.rejected, trial.problem) for trial in draft.trials] == [(3, 1, "")]
    assert draft.premade == "csv"


def test_what_the_user_gives_stays(tmp_path: Path) -> None:
    draft = made(tmp_path, "csv", b"a|b;c\n1|2;3\n", "delimiter=|", "columns=x,y")

    assert columns_of(draft) == {"x": "int64", "y": "string"}
    assert (defaults_of(draft)["delimiter"], defaults_of(draft)["columns"]) == ("|", "x,y")


def test_a_layout_is_drafted_and_a_copybook_is_copied(tmp_path: Path) -> None:
    lines = b"".join(b"%04d %-8s %6d\n" % (n, b"NAME" + bytes([65 + n]) * (n % 4), n * n) for n in range(12))
    draft = made(tmp_path, "fixed_width", lines)
    assert set(json.loads(draft.files["layout.json"])) == {"ruler", "fields"}
    assert [(trial.valid, trial.rejected) for trial in draft.trials] == [(12, 0)]

    (tmp_path / "pay.cpy").write_text(COPYBOOK)
    data = "01".encode("cp037") + bytes.fromhex("12345d") + "02".encode("cp037") + bytes.fromhex("00001c")
    draft = made(tmp_path, "fixed_width", data, f"copybook={tmp_path / 'pay.cpy'}")
    assert draft.files["pay.cpy"] == COPYBOOK.encode()
    assert columns_of(draft) == {"id": "string", "n": {"kind": "decimal", "precision": 5, "scale": 2}}
    assert (defaults_of(draft)["encoding"], defaults_of(draft)["framing"]) == ("cp037", "none")
    assert [(trial.valid, trial.rejected) for trial in draft.trials] == [(2, 0)]

    cut = made(tmp_path, "fixed_width", data + data[:3], f"copybook={tmp_path / 'pay.cpy'}")
    assert [(trial.valid, trial.rejected) for trial in cut.trials] == [(2, 1)]

    described = b"".join(b"\0\x09\0\0" + each for each in (data[:5], data[5:]))
    draft = made(tmp_path, "fixed_width", described, "encoding=cp037", f"copybook={tmp_path / 'pay.cpy'}")
    assert (defaults_of(draft)["framing"], draft.trials[0].valid) == ("rdw", 2)


def test_a_statement_in_a_code_page_is_drafted_with_it(tmp_path: Path) -> None:
    lines = [":20:S1", ":25:DE89370400440532013000", ":28C:1/1", ":60F:C240430EUR10,00"]
    lines += [":61:2405010501D1,50NTRFREF-1", ":86:M\u00fcller, Stra\u00dfe", ":62F:C240501EUR8,50", "-"]
    (tmp_path / "stmt.sta").write_bytes("\r\n".join([*lines, ""]).encode("cp1252"))
    draft = draft_parser("demo", [tmp_path / "stmt.sta"], PREMADE)
    assert (draft.premade, defaults_of(draft)["encoding"]) == ("mt940", "cp1252")
    assert [trial.rejected for trial in draft.trials] == [0]


def test_rare_members_stay_in_the_rest(tmp_path: Path) -> None:
    lines = b"".join(b'{"id": %d, "k%d": 1}\n' % (n, n) for n in range(250))
    draft = made(tmp_path, "jsonl", lines)
    assert columns_of(draft) == {"id": "int64", "rest": "string"}
    assert [(trial.valid, trial.rejected) for trial in draft.trials] == [(250, 0)]


@pytest.mark.parametrize(
    ("data", "settings", "columns"),
    [
        (b"a=1, b=x y\na=2, b=z\n", {"separator": ","}, {"a", "b", "rest"}),
        (b"a='x y' b=1\na='z' b=2\n", {"quotes": "\"'"}, {"a", "b", "rest"}),
        (b'p="C:\\dir\\new" q=1\np="C:\\x" q=2\n', {"escapes": "quotes"}, {"p", "q", "rest"}),
        (
            b"Oct 11 22:14:15 gate su[1]: a=1 b=2\n" * 3,
            {"prefix": "syslog"},
            {"time", "host", "app", "process", "a", "b", "rest"},
        ),
        (b"2024-01-01T00:00:00Z INFO a=1 b=2 hi\n" * 3, {}, {"time", "level", "a", "b", "text", "rest"}),
    ],
)
def test_the_dialect_of_pairs_is_seen(tmp_path: Path, data: bytes, settings: dict[str, str], columns: set[str]) -> None:
    draft = made(tmp_path, "keyvalue", data)
    assert set(columns_of(draft)) == columns
    assert settings.items() <= defaults_of(draft).items()
    assert [(trial.rejected, trial.problem) for trial in draft.trials] == [(0, "")]


def test_columns_may_be_named_without_a_sample(tmp_path: Path) -> None:
    assert columns_of(made(tmp_path, "csv", None, "columns=a,b")) == {"a": "string", "b": "string"}
    (tmp_path / "pay.cpy").write_text(COPYBOOK)
    by_copybook = columns_of(made(tmp_path, "fixed_width", None, f"copybook={tmp_path / 'pay.cpy'}"))
    assert by_copybook == {"id": "string", "n": {"kind": "decimal", "precision": 5, "scale": 2}}
    for kind, param in (("csv", "columns=NAME,NAME"), ("fixed_width", "copybook=FILE")):
        with pytest.raises(DraftRefused, match="takes its columns from a sample, and there is none") as refused:
            made(tmp_path, kind, None)
        assert refused.value.remedy.endswith(f"--param {param}.")


def test_one_that_has_its_own_columns_is_copied_with_its_tests(tmp_path: Path) -> None:
    draft = made(tmp_path, "syslog", None)
    modules = {"syslog_parser.py", "syslog_frames.py"}
    tests = {f"tests/{name}.{suffix}" for name in ("hosts", "network") for suffix in ("log", "expected.json")}
    assert set(draft.files) == modules | tests

    write_draft(tmp_path / "demo", made(tmp_path, "syslog", None, "reference=2024-12-31").files)
    assert [one.differences for one in run_bundle_tests(tmp_path / "demo")] == [(), ()]
    assert collect_parser(tmp_path / "demo").metadata.params["reference"].default == "2024-12-31"
    assert prepare(tmp_path / "demo", home_key=home_key(tmp_path / "keys"), gatekeeper_mode="strict").findings == ()


def test_a_sample_that_it_cannot_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    line = b"<34>Oct 11 22:14:15 gate su[1]: x\n"
    with pytest.raises(DraftRefused, match=r"0 rows were read and 2 rejected \(has a time without a year; give"):
        made(tmp_path, "syslog", line * 2)
    draft = made(tmp_path, "syslog", line * 2, "reference=2024-12-31")
    assert [(trial.valid, trial.rejected) for trial in draft.trials] == [(2, 0)]


def test_a_draft_is_made_from_the_premade_parser_for_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "orders.edi"
    path.write_bytes(bundled("parsers/edifact/tests/orders.edi").read_bytes())
    draft = draft_parser("demo", [path], PREMADE)
    assert draft.premade == "edifact" and "edifact_parser.py" in draft.files

    log = bundled("parsers/fix/tests/lifecycle.fix").read_bytes()
    path.write_bytes(re.sub(rb"\b10=\d{3}", b"10=000", log))
    draft = draft_parser("demo", [path], PREMADE)
    assert (draft.premade, defaults_of(draft)["checksums"]) == ("fix", "dummies")
    assert any(sentence.startswith("Tried first: the premade parser fix: 0 rows") for sentence in draft.sentences)

    path.write_bytes(b"<34>Oct 11 22:14:15 gate su[1]: x\n" * 2)
    draft = draft_parser("demo", [path], PREMADE)
    assert draft.premade == "" and any("`--premade syslog --param" in sentence for sentence in draft.sentences)


def test_only_the_named_literals_of_a_source_change() -> None:
    source = 'name, version = "a", "1"  # é\nparams: dict = {\n    "x": "é",  # why\n    "y": {},\n}\ntopics = ["a"]\n'

    changed = with_literals(source, {"name": "b", "topics": ["b"]}, {"x": 'q"\\\t', "y": {"k": None}})

    assert changed == (
        'name, version = "b", "1"  # é\nparams: dict = {\n    "x": "q\\"\\\\\\t",  # why\n    "y": {"k": None},\n}\n'
        'topics = ["b"]\n'
    )


@pytest.mark.parametrize("premade", PREMADE, ids=[one.kind for one in PREMADE])
def test_every_premade_parser_can_be_copied_and_registered(tmp_path: Path, premade: Premade) -> None:
    params = {"fixed_width": f"copybook={tmp_path / 'pay.cpy'}"}.get(premade.kind, "columns=a,b")
    (tmp_path / "pay.cpy").write_text(COPYBOOK)

    draft = draft_premade("demo", premade, (params,) if premade.is_generic else (), [])
    write_draft(tmp_path / "demo", draft.files)
    artifact = prepare(tmp_path / "demo", home_key=home_key(tmp_path / "keys"), gatekeeper_mode="strict")

    assert (artifact.metadata.name, artifact.metadata.topics, artifact.findings) == ("demo", ("demo",), ())
    assert list(artifact.contracts) == (["demo"] if premade.is_generic else list(premade.metadata.outputs))
