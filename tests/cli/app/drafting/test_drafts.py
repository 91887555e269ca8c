"""Drafts: what is written has run on its own samples, in a real guest, and says what it does not know."""

import bz2
import gzip
import json
from pathlib import Path

import pytest

from casparian_app.drafting import Drafted, DraftRefused, draft_parser, find_samples, skeleton, write_draft
from casparian_app.drafting.samples import EXCERPT_RECORDS, excerpt
from casparian_protocol.parsers import contracts_of, read_metadata
from casparian_sentinel.registry.bundle_tests import bundle_tests
from casparian_sentinel.registry.keys import home_key
from casparian_sentinel.registry.prepare import prepare
from casparian_worker import Detected, Sample
from casparian_worker.detection import detect


def drafted(tmp_path: Path, data: bytes, name: str = "sample.dat") -> Drafted:
    path = tmp_path / name
    path.write_bytes(data)
    return draft_parser("demo", [path])


def types_of(draft: Drafted) -> dict[str, object]:
    source = draft.files["demo.py"].decode()
    contract = contracts_of(read_metadata(source, "demo.py"), {}, "demo.py")["demo"]
    return {column["name"]: column["type"] for column in contract.literal()["columns"]}


def expected(draft: Drafted) -> dict[str, int]:
    counts: dict[str, int] = json.loads(draft.files["tests/demo.expected.json"])["demo"]
    return counts


def test_a_table_gets_types_comments_and_a_test(tmp_path: Path) -> None:
    draft = drafted(tmp_path, b'id;day;code;note\n1;2024-05-31;007;"a;b"\n2;;010;\n-3;2024-02-29;1;x\n')

    assert types_of(draft) == {"id": "int64", "day": "date", "code": "string", "note": "string"}
    assert [(trial.valid, trial.rejected, trial.is_good) for trial in draft.trials] == [(3, 0, True)]
    assert expected(draft) == {"valid": 3, "quarantined": 0, "skipped": 1}
    source = draft.files["demo.py"].decode()
    assert "# Seen in sample.dat: delimited: 4 of 4 records have 4 fields by semicolon." in source
    assert "# Every value seen is of this type: id (int64), day (date)." in source
    assert 'return read_csv(path, delimiter=";")' in source


@pytest.mark.parametrize(
    ("data", "columns", "valid", "rejected"),
    [
        (b"1,2\n3,4\n", ["column_1", "column_2"], 2, 0),
        (b'{"a": 1}\n{"a": 2, "b": "x"}\n{"a": \n', ["a", "b"], 2, 1),
        (b'ts=1 level=info msg="a b"\nts=2 level=warn\n\n', ["level", "line", "msg", "ts"], 2, 0),
        (b"<34>Oct 11 22:14:15 h su[1]: x\n<34>Oct 11 22:14:16 h su: y\n", ["app", "host", "message"], 2, 0),
        (b"8=FIX.4.4\x019=9\x0135=B\x0195=3\x0196=a\x01b\x0110=000\x01\n", ["position", "tag", "value"], 6, 0),
        ("größe;n\n1;2\n3;4\n".encode("cp1252"), ["größe", "n"], 2, 0),
        ("a\tb\r\n1\t2\r\n3\tŁ\r\n".encode("utf-16-le"), ["a", "b"], 2, 0),
        (b"no form at all\nin these lines\n", ["text"], 2, 0),
    ],
)
def test_each_kind_is_drafted_and_read(
    tmp_path: Path, data: bytes, columns: list[str], valid: int, rejected: int
) -> None:
    draft = drafted(tmp_path, data)

    assert set(columns) <= set(types_of(draft))
    assert [(trial.valid, trial.rejected) for trial in draft.trials] == [(valid, rejected)]
    assert expected(draft)["valid"] == valid


def test_the_draft_of_a_gzip_file_reads_all_its_members(tmp_path: Path) -> None:
    members = gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n")

    draft = drafted(tmp_path, members, "day.csv.gz")

    assert [(trial.valid, trial.rejected) for trial in draft.trials] == [(2, 0)]
    assert gzip.decompress(draft.files["tests/demo.csv.gz"]) == b"a,b\n1,2\n3,4\n"


def test_a_gzip_file_that_is_cut_gives_a_draft_that_says_so(tmp_path: Path) -> None:
    cut = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(500)))[:-40]

    draft = drafted(tmp_path, cut, "day.csv.gz")

    assert set(types_of(draft)) == {"a", "b"}
    assert [(trial.is_good, trial.rejected) for trial in draft.trials] == [(True, 1)]  # what the cut left of a record
    assert any("it is cut" in sentence for sentence in draft.sentences)


def test_several_samples_and_a_directory_give_one_parser(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"day{number}.csv").write_text(f"id,v\n1,{'x' if number == 2 else number}\n2,5\n")
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / ".hidden").write_text("x")

    assert [path.name for path in find_samples([tmp_path])] == ["day0.csv", "day1.csv", "day2.csv", "other.json"]
    draft = draft_parser("demo", find_samples([tmp_path]))

    assert types_of(draft) == {"id": "int64", "v": "string"}  # day2 has an x
    assert len(draft.trials) == 3 and all(trial.is_good for trial in draft.trials)
    assert "3 samples of 4 are alike." in draft.sentences
    assert "Different: other.json is json (is one JSON object)." in draft.sentences


def test_what_no_reader_reads_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DraftRefused, match=r"is evtx \(begins with ElfFile\): no reader is known") as refused:
        drafted(tmp_path, b"ElfFile\x00" + bytes(100))
    assert refused.value.remedy.startswith("`casparian new parser demo` writes a skeleton")
    with pytest.raises(DraftRefused, match=r"is bzip2 \(begins with BZh\): a draft does not look inside") as refused:
        drafted(tmp_path, bz2.compress(b"a,b\n1,2\n"))
    assert "open_member(path)" in refused.value.remedy
    with pytest.raises(DraftRefused, match="have no bytes"):
        drafted(tmp_path, b"")
    with pytest.raises(OSError, match="No such file"):
        draft_parser("demo", [tmp_path / "nowhere"])


def test_the_skeleton_can_be_registered(tmp_path: Path) -> None:
    write_draft(tmp_path / "demo", skeleton("demo").files)

    artifact = prepare(tmp_path / "demo", home_key=home_key(tmp_path / "keys"), gatekeeper_mode="strict")
    (test,) = bundle_tests(tmp_path / "demo")

    assert (artifact.findings, list(artifact.contracts)) == ((), ["demo"])
    assert (test.expected["demo"].valid, test.expected["demo"].quarantined, test.expected["demo"].skipped) == (2, 0, 1)


def test_bad_names_and_existing_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DraftRefused, match="is not a valid parser name"):
        skeleton("../x")
    with pytest.raises(DraftRefused, match="is not a valid parser name"):
        draft_parser("X", [tmp_path])
    (tmp_path / "demo").mkdir()
    with pytest.raises(DraftRefused, match="already exists"):
        write_draft(tmp_path / "demo", {})


def judged(data: bytes) -> tuple[Detected, Sample]:
    sample = Sample.of_bytes(data)
    return detect(sample), sample


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "cp037"])
def test_an_excerpt_ends_with_a_record(encoding: str) -> None:
    end = "\x85" if encoding == "cp037" else "\n"
    text = "".join(f"{n:04},NAME {n:04},{n * 3:06}{end}" for n in range(100))

    piece = excerpt(*judged(text.encode(encoding)))

    assert piece is not None
    assert piece.decode(encoding) == "".join(text.splitlines(True)[:EXCERPT_RECORDS])


def test_an_excerpt_does_not_cut_a_record_of_several_lines_or_the_footer() -> None:
    text = "id,note\n" + "".join(f'{n},"a\nb {n}"\n' for n in range(60))
    piece = excerpt(*judged(text.encode()))
    assert piece is not None and piece.count(b'"') % 2 == 0 and len(piece) < len(text) / 2
    table = "id,n\n" + "".join(f"{n},{n}\n" for n in range(60)) + "Total of all rows: 60\n"
    piece = excerpt(*judged(table.encode()))
    assert piece is not None and piece.endswith(b"Total of all rows: 60\n") and piece.count(b"\n") == 22


def test_columns_that_differ_only_in_case_leave_a_draft_that_runs(tmp_path: Path) -> None:
    draft = drafted(tmp_path, b'{"id": 1, "ID": 2}\n{"id": 3, "ID": 4}\n')

    assert b"return read_lines(path)" in draft.files["demo.py"]
    assert any("the columns 'id' and 'ID' differ only in case" in sentence for sentence in draft.sentences)
