"""From a parser on disk to a signed artifact: reproducible, checked, and never run."""

import os
import stat
from pathlib import Path
from threading import Thread

import pytest

from casparian_protocol.contract import ContractInvalid
from casparian_protocol.errors import CasparianError
from casparian_protocol.parsers import UntrustedArtifact, pack_bundle, read_bundle, verify_bundle
from casparian_protocol.wire.operations.registry import Artifact
from casparian_sentinel.registry.gatekeeper import GatekeeperRefused
from casparian_sentinel.registry.keys import HomeKey, KeyUnusable, home_key
from casparian_sentinel.registry.prepare import (
    EnvironmentNeeded,
    FileParameter,
    NoParserThere,
    PreparedArtifact,
    prepare,
)

SOURCE = """
name, version, topics = "advice", "1.2.0", ["advice"]
outputs = {"advices": {"columns": [{"name": "id", "type": "int", "nullable": False}]}}
params = {"tz": "UTC", "map": {"XLON": "L"}}

def parse(path, ctx):
    raise SystemExit("a parser is never run by its registration")
"""


@pytest.fixture
def key(tmp_path: Path) -> HomeKey:
    return home_key(tmp_path / "keys")


def bundle(root: Path, source: str = SOURCE, **files: str) -> Path:
    root.mkdir(parents=True)
    (root / "advice.py").write_text(source)
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)
    return root


def check(artifact: PreparedArtifact, blob: bytes, trusted: set[str], **changes: str) -> None:
    facts = {"parser": "advice", "version": "1.2.0", "lock_hash": artifact.lock_hash, "signature": artifact.signature}
    contracts = {output: contract.hash() for output, contract in artifact.contracts.items()}
    verify_bundle(blob, contracts=contracts, signed_by=artifact.signed_by, trusted=trusted, **{**facts, **changes})


def test_the_facts_are_what_the_operation_register_takes(tmp_path: Path, key: HomeKey) -> None:
    artifact = prepare(bundle(tmp_path / "p"), home_key=key, gatekeeper_mode="strict")

    taken = Artifact.model_validate(artifact.facts())

    assert (taken.name, taken.entry, taken.kind) == ("advice", "advice.py", "function")
    assert taken.params == {"tz": "UTC", "map": {"XLON": "L"}}
    assert {taken.artifact, taken.contracts[0].contract_hash} == set(artifact.blobs)
    assert read_bundle(artifact.blobs[taken.artifact]) == {"advice.py": SOURCE.encode()}


def test_the_same_source_gives_the_same_artifact_wherever_and_whenever(tmp_path: Path, key: HomeKey) -> None:
    one, two = bundle(tmp_path / "a", util__py="x = 1"), bundle(tmp_path / "b", util__py="x = 1")
    os.utime(two / "advice.py", (1, 1))

    assert prepare(one, home_key=key, gatekeeper_mode="warn") == prepare(two, home_key=key, gatekeeper_mode="warn")


def test_a_changed_helper_changes_the_logic_but_not_the_entry(tmp_path: Path, key: HomeKey) -> None:
    one = prepare(bundle(tmp_path / "a", util__py="x = 1"), home_key=key, gatekeeper_mode="warn")
    two = prepare(bundle(tmp_path / "b", util__py="x = 2"), home_key=key, gatekeeper_mode="warn")

    assert one.source_hash == two.source_hash
    assert one.logic_hash != two.logic_hash
    assert one.artifact_hash != two.artifact_hash


def test_a_parameter_of_type_file_is_refused_because_production_cannot_give_it(tmp_path: Path, key: HomeKey) -> None:
    source = SOURCE.replace('{"XLON": "L"}', '{"type": "file"}')
    path = tmp_path / "advice.py"
    path.write_text(source)
    with pytest.raises(FileParameter, match="its parameter map is a file") as refused:
        prepare(path, home_key=key, gatekeeper_mode="warn")
    assert "ctx.resource" in (refused.value.remedy or "")


def test_a_signature_covers_bytes_name_version_and_lock(tmp_path: Path, key: HomeKey) -> None:
    artifact = prepare(bundle(tmp_path / "p"), home_key=key, gatekeeper_mode="warn")
    trusted = {key.public_key}

    check(artifact, artifact.bundle, trusted)
    with pytest.raises(UntrustedArtifact, match="is not valid"):
        check(artifact, pack_bundle({"advice.py": b"import evil"}), trusted)
    for change in ({"parser": "other"}, {"version": "2"}, {"lock_hash": "0"}, {"signature": "00"}, {"signature": "?"}):
        with pytest.raises(UntrustedArtifact):
            check(artifact, artifact.bundle, trusted, **change)
    with pytest.raises(UntrustedArtifact, match="not trusted"):
        check(artifact, artifact.bundle, {home_key(tmp_path / "other").public_key})


@pytest.mark.parametrize(
    ("source", "beside", "reason"),
    [
        (
            "import polars, util, pyarrow, casparian_shim\n",
            {},
            r"needs polars \(advice\.py:1\), but parsers run only with Python",
        ),
        ("import util\ndependencies = ['lxml>=4']\n", {}, "needs lxml>=4"),
        ("import polars\ndependencies = []\n", {}, "needs polars"),
        ("import util\n", {"uv__lock": "version = 1\n"}, "there is a uv.lock next to it"),
        ("def f():\n    import polars\n", {"uv__lock": ""}, r"needs polars \(advice\.py:2\) and there is a uv.lock"),
    ],
    ids=["import", "declared", "denied", "a lock of one line", "both"],
)
def test_what_needs_an_environment_is_refused_until_there_are_any(
    tmp_path: Path, key: HomeKey, source: str, beside: dict[str, str], reason: str
) -> None:
    with pytest.raises(EnvironmentNeeded, match=reason):
        prepare(bundle(tmp_path / "a", source + SOURCE, util__py="", **beside), home_key=key, gatekeeper_mode="warn")


def test_what_every_parser_has_needs_no_environment(tmp_path: Path, key: HomeKey) -> None:
    source = (
        "import json, util, pyarrow.csv\nfrom casparian_shim import read_lines\ndependencies = ['pyarrow>=20']\n"
        "try:\n    import polars\nexcept ImportError:\n    polars = None\n"
    )
    prepared = prepare(bundle(tmp_path / "a", source + SOURCE, util__py=""), home_key=key, gatekeeper_mode="warn")
    assert prepared.lock_hash == ""


def test_a_single_file_takes_the_modules_it_imports_and_what_it_includes(tmp_path: Path, key: HomeKey) -> None:
    source = "import util, deep.inner\ninclude = ['rates.csv', 'codes/*.txt']\n" + SOURCE
    folder = bundle(tmp_path / "a", source, util__py="import more", more__py="", other__py="", rates__csv="1")
    for name in ("deep/__init__.py", "deep/inner.py", "codes/a.txt", "codes/b.log"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    prepared = prepare(folder / "advice.py", home_key=key, gatekeeper_mode="warn")
    assert sorted(prepared.sizes) == [
        "advice.py", "codes/a.txt", "deep/__init__.py", "deep/inner.py", "more.py", "rates.csv", "util.py",
    ]  # fmt: skip


def test_what_a_directory_includes_is_bundled_and_the_rest_is_named(tmp_path: Path, key: HomeKey) -> None:
    source = "include = ['*.csv']\n" + SOURCE
    folder = bundle(tmp_path / "a", source, rates__csv="1", notes__txt="")
    prepared = prepare(folder, home_key=key, gatekeeper_mode="warn")
    assert sorted(prepared.sizes) == ["advice.py", "rates.csv"]
    assert [one.name for one in prepared.left_out] == ["notes.txt"]


@pytest.mark.parametrize(
    ("include", "reason"),
    [
        ("['ratse.csv']", "no file in the parser's directory matches"),
        ("['../secret.csv']", "not a pattern of relative names"),
        ("['/etc/passwd']", "not a pattern of relative names"),
        ("'rates.csv'", "a list of patterns"),
        ("['lib.so']", "compiled code is never bundled"),
        ("['[z-a].csv']", "not a pattern of relative names"),
    ],
)
def test_an_include_that_cannot_be_kept_is_refused(tmp_path: Path, key: HomeKey, include: str, reason: str) -> None:
    folder = bundle(tmp_path / "a", f"include = {include}\n" + SOURCE, lib__so="", rates__csv="1")
    with pytest.raises(CasparianError, match=reason):
        prepare(folder, home_key=key, gatekeeper_mode="warn")


def test_a_single_file_takes_only_what_is_its_own(tmp_path: Path, key: HomeKey) -> None:
    folder = bundle(tmp_path / "many", other__py="", uv__lock="", secrets__json="{}")
    (folder / "advices.schema.json").write_text('{"columns": [{"name": "id", "type": "int64", "nullable": false}]}')
    (folder / "orders.schema.json").write_text("not ours")

    artifact = prepare(folder / "advice.py", home_key=key, gatekeeper_mode="warn")

    assert set(read_bundle(artifact.bundle)) == {"advice.py", "advices.schema.json"}
    assert artifact.lock_hash == ""


def test_what_is_wrong_is_refused_before_anything_is_signed(tmp_path: Path, key: HomeKey) -> None:
    with pytest.raises(NoParserThere):
        prepare(tmp_path / "nowhere", home_key=key, gatekeeper_mode="warn")
    with pytest.raises(ContractInvalid, match="advices"):
        prepare(bundle(tmp_path / "a", SOURCE.replace('"int"', '"intt"')), home_key=key, gatekeeper_mode="warn")
    with pytest.raises(GatekeeperRefused):
        prepare(bundle(tmp_path / "b", util__py="import socket"), home_key=key, gatekeeper_mode="strict")


def test_findings_are_recorded_when_they_do_not_refuse(tmp_path: Path, key: HomeKey) -> None:
    artifact = prepare(bundle(tmp_path / "p", util__py="import socket"), home_key=key, gatekeeper_mode="warn")
    assert [finding.rule for finding in artifact.findings] == ["network"]
    assert Artifact.model_validate(artifact.facts()).findings


def test_the_home_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    keys: set[str] = set()
    threads = [Thread(target=lambda: keys.add(home_key(tmp_path / "k").public_key)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (path,) = (tmp_path / "k").iterdir()
    assert len(keys) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(KeyUnusable, match="others can read"):
        home_key(tmp_path / "k")
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(KeyUnusable, match="32 bytes"):
        home_key(tmp_path / "k")
