"""Whole files: complete or not there, resumed, verified, and only as many as fit."""

import os
import sys
import time
import zlib
from pathlib import Path

import pytest

from schemas.errors import DataError, StorageError, TransferError
from schemas.inputs import InputFile, Sample
from services.storage.downloads import Downloads
from services.storage.retries import Limits
from services.storage.web import BLOCK
from tests.servers import OpenDataServer

LIMITS = Limits(connect_timeout=1.0, read_timeout=0.5, total_timeout=5.0, retries=2, backoff=0.001)
LARGE = b"root" + os.urandom(2 * BLOCK + 1000)
SMALL = b"root" + bytes(996)


def listed(url: str, content: bytes | None = None) -> InputFile:
    size, checksum = None, None
    if content is not None:
        # Without leading zeros, as the portal writes it.
        size, checksum = len(content), f"adler32:{zlib.adler32(content):x}"
    return InputFile(
        url=url,
        source="record_1",
        layout="cms-nanoaod",
        sample=Sample.DATA,
        size=size,
        checksum=checksum,
    )


@pytest.fixture
def downloads(tmp_path: Path) -> Downloads:
    return Downloads(tmp_path / "files", LIMITS, None, 4)


def get(downloads: Downloads, server: OpenDataServer, name: str, content: bytes) -> Path:
    url = server.put(name, content)
    return downloads.local_copy(listed(url, content), server.address(name))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_copied_whole_and_alone(server: OpenDataServer, downloads: Downloads) -> None:
    path = get(downloads, server, "cms/a.root", LARGE)
    assert path.read_bytes() == LARGE
    assert path.name.endswith("_a.root")
    assert names_in(downloads.folder) == {path.name}


def test_a_copy_is_not_fetched_again(server: OpenDataServer, downloads: Downloads) -> None:
    path = get(downloads, server, "a.root", SMALL)
    asked = len(server.requests)
    assert get(downloads, server, "a.root", SMALL) == path
    assert len(server.requests) == asked


def test_a_copy_of_another_size_is_fetched_again(
    server: OpenDataServer, downloads: Downloads
) -> None:
    get(downloads, server, "a.root", SMALL[:-1])
    assert get(downloads, server, "a.root", SMALL).read_bytes() == SMALL


def test_what_is_there_after_an_interruption_is_not_fetched_again(
    server: OpenDataServer, downloads: Downloads
) -> None:
    server.fault = lambda r: "503" if r.range and r.range[0] >= BLOCK else None
    with pytest.raises(TransferError):
        get(downloads, server, "a.root", LARGE)
    server.fault = lambda _: None
    before = len(server.requests)
    assert get(downloads, server, "a.root", LARGE).read_bytes() == LARGE
    starts = [r.range[0] for r in server.requests[before:] if r.range]
    # The beginning tells the size; the rest goes on behind the first block.
    assert starts == [0, BLOCK, 2 * BLOCK]


def test_a_part_that_is_too_long_is_begun_anew(
    server: OpenDataServer, downloads: Downloads
) -> None:
    path = downloads.path_of(listed(server.put("a.root", SMALL)))
    path.parent.mkdir(parents=True)
    path.with_name(path.name + ".part").write_bytes(b"x" * 5000)
    assert get(downloads, server, "a.root", SMALL).read_bytes() == SMALL


def test_a_wrong_checksum_is_a_passing_failure_and_leaves_nothing(
    server: OpenDataServer, downloads: Downloads
) -> None:
    url = server.put("a.root", SMALL)
    other = SMALL[:-1] + b"x"
    with pytest.raises(TransferError, match="expected the checksum adler32:"):
        downloads.local_copy(listed(url, other), server.address("a.root"))
    assert names_in(downloads.folder) == set()


def test_damage_on_the_way_is_seen(server: OpenDataServer, downloads: Downloads) -> None:
    server.fault = lambda r: "damaged" if r.range and r.range[0] >= BLOCK else None
    with pytest.raises(TransferError, match="checksum"):
        get(downloads, server, "a.root", LARGE)


def test_a_wrong_size_is_an_error_before_anything_is_copied(
    server: OpenDataServer, downloads: Downloads
) -> None:
    url = server.put("a.root", SMALL)
    with pytest.raises(TransferError, match=r"expected the 16778220 bytes .* found 1000"):
        downloads.local_copy(listed(url, LARGE), server.address("a.root"))
    assert names_in(downloads.folder) == set()


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_server_that_gives_whole_files_only_will_do(
    server: OpenDataServer, downloads: Downloads, *, is_listed: bool
) -> None:
    server.fault = lambda _: "whole"
    file = listed(server.put("a.root", LARGE), LARGE if is_listed else None)
    assert downloads.local_copy(file, server.address("a.root")).read_bytes() == LARGE


def test_a_whole_file_that_breaks_off_is_begun_again(
    server: OpenDataServer, downloads: Downloads
) -> None:
    server.fault = lambda r: "whole" if r.range else "short" if r.number == 1 else None
    assert get(downloads, server, "a.root", LARGE).read_bytes() == LARGE
    assert [request.fault for request in server.requests] == ["whole", "short", None]


def test_a_copy_that_cannot_be_read_is_removed_unless_it_is_what_is_listed(
    server: OpenDataServer, downloads: Downloads
) -> None:
    path = get(downloads, server, "a.root", SMALL)
    downloads.discard(listed(server.put("a.root", SMALL), SMALL))
    assert path.exists()
    downloads.discard(listed(server.put("a.root", SMALL)))
    assert not path.exists()


def test_a_server_that_sends_more_than_listed_is_cut_short(
    server: OpenDataServer, downloads: Downloads
) -> None:
    server.fault = lambda _: "whole"
    url = server.put("a.root", LARGE)
    with pytest.raises(DataError, match="at most 1000 bytes"):
        downloads.local_copy(listed(url, SMALL), server.address("a.root"))


@pytest.mark.parametrize(
    "name",
    ["..", "../../../evil.root", ".hidden.root", "a/../../b.root", "%2e%2e", "x" * 900, "CON", ""],
)
@pytest.mark.parametrize("source", ["record_1", "../..", "/etc", ""])
def test_no_name_leads_out_of_the_folder(downloads: Downloads, name: str, source: str) -> None:
    file = listed(f"https://example.org/{name}").model_copy(update={"source": source})
    path = downloads.path_of(file)
    assert path.resolve().is_relative_to(downloads.folder.resolve())
    assert path.parent.parent == downloads.folder
    assert len(path.name) < 130


def test_files_of_one_name_have_places_of_their_own(
    server: OpenDataServer, downloads: Downloads
) -> None:
    one = get(downloads, server, "run1/a.root", SMALL)
    other = get(downloads, server, "run2/a.root", SMALL[:-1] + b"x")
    assert one != other


def test_files_not_used_for_longest_make_room(server: OpenDataServer, tmp_path: Path) -> None:
    downloads = Downloads(tmp_path / "files", LIMITS, 2500, 1)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "thesis.tex").write_text("x" * 5000)
    first = get(downloads, server, "1.root", SMALL)
    second = get(downloads, server, "2.root", SMALL)
    for path, used in ((first, 2000), (second, 1000)):
        os.utime(path, (used, used))
    third = get(downloads, server, "3.root", SMALL)
    assert [path.exists() for path in (first, second, third)] == [True, False, True]
    assert (tmp_path / "files" / "thesis.tex").exists()


def test_a_file_that_never_fits_is_an_error(server: OpenDataServer, tmp_path: Path) -> None:
    downloads = Downloads(tmp_path / "files", LIMITS, 999, 1)
    with pytest.raises(DataError, match="max_cache_gb"):
        get(downloads, server, "a.root", SMALL)


def test_files_are_fetched_ahead_at_the_same_time(
    server: OpenDataServer, downloads: Downloads
) -> None:
    urls = {f"{i}.root": server.put(f"{i}.root", SMALL) for i in range(6)}
    server.fault = lambda _: "slow"
    files = [(listed(url, SMALL), server.address(name)) for name, url in urls.items()]
    downloads.prefetch(files)
    downloads.prefetch(files)
    for file, address in files:
        assert downloads.local_copy(file, address).read_bytes() == SMALL
    assert 1 < server.most_at_once <= 4
    # Each beginning, and each content, once.
    assert len(server.requests) == 12


def test_a_failure_of_what_was_fetched_ahead_is_told_where_it_is_opened(
    server: OpenDataServer, downloads: Downloads
) -> None:
    file = listed(f"{server.url}/eos/opendata/none.root", SMALL)
    downloads.prefetch([(file, file.url)])
    with pytest.raises(DataError, match="404"):
        downloads.local_copy(file, file.url)


def test_a_copy_that_had_to_make_room_is_fetched_again(
    server: OpenDataServer, downloads: Downloads
) -> None:
    url = server.put("a.root", SMALL)
    file, address = listed(url, SMALL), server.address("a.root")
    downloads.prefetch([(file, address)])
    while not downloads.path_of(file).exists():
        time.sleep(0.01)
    downloads.path_of(file).unlink()
    assert downloads.local_copy(file, address).read_bytes() == SMALL


def test_a_folder_that_cannot_be_written_is_an_error(
    server: OpenDataServer, tmp_path: Path
) -> None:
    (tmp_path / "files").touch()
    with pytest.raises(StorageError, match="files"):
        get(Downloads(tmp_path / "files", LIMITS, None, 1), server, "a.root", SMALL)


def test_without_the_package_a_sentence_says_what_to_install(
    downloads: Downloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "XRootD", None)
    file = listed("root://127.0.0.1:1//a.root")
    with pytest.raises(DataError, match=r"needs the optional package xrootd; install it"):
        downloads.local_copy(file, file.url)
