"""Equal files give equal bytes; what is not a bundle of ours is refused before it costs anything."""

import contextlib
import io
import os
import stat
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.parsers import BundleRefused, UnpackedAltered, pack_bundle, read_bundle, unpack_bundle
from casparian_protocol.parsers.bundle import ENTRIES_MAX
from casparian_protocol.parsers.collect import BundleSourceRefused, collect_directory

FILES = {"parser.py": b"x = 1\n", "data/table.json": b"{}"}
NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z0-9_]{1,8}){0,2}\.(py|json)", fullmatch=True)


@given(st.dictionaries(NAMES, st.binary(max_size=300), max_size=8))
def test_what_is_packed_is_what_is_read(files: dict[str, bytes]) -> None:
    blob = pack_bundle(files)

    assert read_bundle(blob) == files
    assert pack_bundle(dict(reversed(files.items()))) == blob
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files
        assert archive.testzip() is None


@given(st.binary(max_size=400))
def test_random_bytes_are_refused(blob: bytes) -> None:
    with pytest.raises(BundleRefused):
        read_bundle(blob)


@given(st.data())
def test_a_damaged_bundle_is_refused_or_unharmed(data: st.DataObject) -> None:
    blob = bytearray(pack_bundle(FILES))
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(BundleRefused):
        assert read_bundle(bytes(blob)) == FILES  # a bit that means nothing: versions, times


def zipped(
    entries: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED, mode: int = stat.S_IFREG | 0o644
) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of the duplicates that we want
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = method
            archive.writestr(info, data)
    return out.getvalue()


def test_a_bundle_deflated_elsewhere_is_read() -> None:
    assert read_bundle(zipped(list(FILES.items()), zipfile.ZIP_DEFLATED)) == FILES


@pytest.mark.parametrize(
    "blob",
    [
        zipped([("../evil.py", b"")]),
        zipped([("/evil.py", b"")]),
        zipped([("a/../evil.py", b"")]),
        zipped([("a//evil.py", b"")]),
        zipped([("a\\evil.py", b"")]),
        zipped([("c:evil.py", b"")]),
        zipped([("e\u0301.py", b"")]),
        zipped([("a\x1b.py", b"")]),
        zipped([("a" * 300, b"")]),
        zipped([("folder/", b"")]),
        zipped([("a.py", b"1"), ("a.py", b"2")]),
        zipped([("a.py", b"1"), ("A.py", b"2")]),
        zipped([("a", b"1"), ("a/b.py", b"2")]),
        zipped([("a.py", b"/etc/passwd")], mode=stat.S_IFLNK | 0o777),
        zipped([("a.py", b"")], mode=stat.S_IFIFO | 0o777),
        zipped([("bomb.json", b"\0" * 1_000_000)], zipfile.ZIP_DEFLATED),
        zipped([("a.py", b"1")], zipfile.ZIP_BZIP2),
        zipped([(f"f{index}.py", b"") for index in range(ENTRIES_MAX + 1)]),
        b"MZ" + pack_bundle(FILES),
        pack_bundle(FILES) + b"\0",
    ],
    ids=range(20),
)
def test_a_hostile_bundle_is_refused(blob: bytes) -> None:
    with pytest.raises(BundleRefused):
        read_bundle(blob)


def test_sizes_that_lie_are_found_out_before_anything_grows() -> None:
    blob = bytearray(zipped([("a.json", b"\0" * 90 + os.urandom(10))], zipfile.ZIP_DEFLATED))
    honest = struct.pack("<I", 100)
    lying = struct.pack("<I", 50)
    with pytest.raises(BundleRefused, match="more or less data"):
        read_bundle(bytes(blob.replace(honest, lying)))


def test_an_entry_that_overlaps_another_is_refused() -> None:
    blob = bytearray(pack_bundle({"a.py": b"1", "b.py": b"1"}))
    second = blob.rindex(b"PK\x01\x02")
    blob[second + 42 : second + 46] = b"\0\0\0\0"
    with pytest.raises(BundleRefused, match="not back to back"):
        read_bundle(bytes(blob))


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_what_a_directory_holds_beside_source_stays_out(tmp_path: Path) -> None:
    beside = [".venv/x.py", "__pycache__/a.pyc", "lib.so", "tests/a.py", "sample.csv", ".env", "x.dylib"]
    write(tmp_path, {**FILES, "uv.lock": b"", "pyproject.toml": b"", **dict.fromkeys(beside, b"?")})

    collected = collect_directory(tmp_path)

    assert set(collected.files) == {*FILES, "uv.lock", "pyproject.toml"}
    assert {one.name: one.why for one in collected.left_out} == {
        ".env": "hidden",
        ".venv": "hidden",
        "__pycache__/": "made by Python",
        "lib.so": "compiled code",
        "sample.csv": "no source, json or yaml; `include` can name it",
        "tests/": "tests are not part of the bundle",
        "x.dylib": "compiled code",
    }


def test_times_and_permissions_do_not_reach_the_bundle(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, FILES) for name in "ab")
    os.utime(two / "parser.py", (1, 1))
    (two / "parser.py").chmod(0o700)

    assert pack_bundle(collect_directory(one).files) == pack_bundle(collect_directory(two).files)


@pytest.mark.parametrize("name", ["link.py", "folder"])
def test_a_link_is_refused_and_never_followed(tmp_path: Path, name: str) -> None:
    write(tmp_path / "parser", FILES)
    write(tmp_path / "outside", {"secret.py": b""})
    target = tmp_path / "outside" / ("secret.py" if name.endswith(".py") else "")
    (tmp_path / "parser" / name).symlink_to(target)

    with pytest.raises(BundleSourceRefused, match="link"):
        collect_directory(tmp_path / "parser")


def test_a_pipe_named_like_source_does_not_hang_registration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.py")
    with pytest.raises(BundleSourceRefused, match="regular"):
        collect_directory(tmp_path)


def test_unpacked_files_are_read_only_and_checked_the_next_time(tmp_path: Path) -> None:
    target = tmp_path / "artifacts" / "abc"
    unpack_bundle(pack_bundle(FILES), target)
    unpack_bundle(pack_bundle(FILES), target)

    assert {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*.*")} == FILES
    assert stat.S_IMODE((target / "parser.py").stat().st_mode) == 0o444
    assert [path.name for path in target.parent.iterdir()] == ["abc"]


@pytest.mark.parametrize("name", ["parser.py", "sitecustomize.py", "json.so"])
def test_an_unpacked_bundle_that_was_altered_is_found_out(tmp_path: Path, name: str) -> None:
    target = tmp_path / "abc"
    unpack_bundle(pack_bundle(FILES), target)
    (target / name).unlink(missing_ok=True)
    (target / name).write_bytes(b"import evil")

    with pytest.raises(UnpackedAltered, match=name):
        unpack_bundle(pack_bundle(FILES), target)
