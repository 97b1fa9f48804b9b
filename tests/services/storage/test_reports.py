"""Reports as JSON files: written, read back, refused."""

import json
from pathlib import Path

import pytest
import xxhash

from schemas.errors import DataError, StorageError
from schemas.inputs import FileList, InputFile, Sample, Slice
from services.storage import reports

FILES = FileList(
    files=(
        InputFile(url="/größe.root", source="demo", layout="cms-nanoaod", sample=Sample.DATA),
        InputFile(
            url="b.root",
            source="local_2024r-pp",
            layout="2024r-pp",
            sample=Sample.SIMULATION,
            size=2**40,
            events=0,
        ),
    )
)


def test_a_report_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "list.json"
    reports.write(path, FILES, Slice())
    assert reports.read(path, FileList) == FILES


def test_a_report_is_json_that_ends_with_a_line(tmp_path: Path) -> None:
    reports.write(tmp_path / "list.json", FILES, Slice())
    text = (tmp_path / "list.json").read_text(encoding="utf-8")
    assert json.loads(text)["files"][1]["sample"] == "mc"
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"", "its start"),
        (b'{"files": [', "its start"),
        (b"\xff\xfe", "its start"),
        (b"[]", "its start"),
        (b"{}", "files"),
        (b'{"files": [], "bogus": 1}', "bogus"),
        (b'{"files": [{"url": 5}]}', r"files\.0\.url"),
    ],
    ids=["empty", "cut", "binary", "list", "key missing", "unknown key", "wrong type"],
)
def test_what_is_no_such_report_is_refused_with_the_place(
    tmp_path: Path, content: bytes, where: str
) -> None:
    (tmp_path / "list.json").write_bytes(content)
    with pytest.raises(DataError, match=f"list.json: expected a FileList, found at {where}: "):
        reports.read(tmp_path / "list.json", FileList)


def test_a_missing_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list\.json: expected a FileList, found no such file"):
        reports.read(tmp_path / "list.json", FileList)


def test_a_report_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot be read \(Is a directory\)"):
        reports.read(tmp_path, FileList)


def test_an_output_is_described_by_size_and_digest(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "out.bin").write_bytes(content)
    described = reports.describe(tmp_path / "out.bin")
    assert (described.name, described.size) == ("out.bin", 1_280_000)
    assert described.xxh128 == xxhash.xxh128(content).hexdigest()


def test_the_digest_is_the_one_that_is_published_for_no_content(tmp_path: Path) -> None:
    (tmp_path / "out.bin").touch()
    assert reports.describe(tmp_path / "out.bin").xxh128 == "99aa06d3014798d86001c324468d497f"
