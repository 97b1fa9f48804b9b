"""Records from a portal on this machine: every page, every index, or an error."""

import re
import time

import pytest

from schemas.errors import CatalogError, ConfigError
from schemas.inputs import FileList, Sample
from services.catalogs.cern import list_record
from services.storage.retries import Limits
from tests.servers import ERROR_PAGE, STORE, OpenDataServer, Record

LIMITS = Limits(connect_timeout=1.0, read_timeout=0.4, total_timeout=0.8, retries=1, backoff=0.001)


def listed(record_id: str = "30529", seconds: float = 5.0) -> FileList:
    return list_record(record_id, seconds, LIMITS)


def put(server: OpenDataServer, count: int, folder: str = "cms") -> list[str]:
    """Serve so many files that are as long as their number."""
    return [server.put(f"{folder}/{i}.root", b"x" * i) for i in range(1, count + 1)]


def with_indexes(server: OpenDataServer, sizes: list[int], *, shown: int | None = None) -> Record:
    """List a record whose files are in indexes of so many files each."""
    record = server.record("30529", [], number_files=sum(sizes))
    for number, size in enumerate(sizes):
        rows = [server.entry(url) for url in put(server, size, f"part{number}")]
        record.indexes.append(
            {"key": f"part {number}_file_index.json", "number_files": size, "files": rows}
        )
    record.shown = shown
    return record


def test_the_files_of_a_record_come_with_size_and_checksum(server: OpenDataServer) -> None:
    server.record("30529", put(server, 2), title="/SingleElectron/NANOAOD")
    found = listed()
    (first, second) = found.files
    assert (first.url, second.url) == (f"{STORE}cms/1.root", f"{STORE}cms/2.root")
    # adler32 of "x": a = 1 + 120 = 0x79, b = 0x79; without leading zeros.
    assert (first.size, first.checksum) == (1, "adler32:790079")
    assert (first.source, first.layout, first.dataset) == ("record_30529", "cms-nanoaod", "30529")
    assert found.datasets[0].title == "/SingleElectron/NANOAOD"


@pytest.mark.parametrize(
    ("kind", "sample"), [("Collision", Sample.DATA), ("Simulated", Sample.SIMULATION)]
)
def test_the_portal_says_what_is_simulation(
    server: OpenDataServer, kind: str, sample: Sample
) -> None:
    server.record("30529", put(server, 1), kind=kind)
    assert listed().files[0].sample is sample


def test_a_record_that_does_not_say_is_an_error(server: OpenDataServer) -> None:
    server.record("30529", put(server, 1), kind="Derived")
    with pytest.raises(CatalogError, match="collision data or simulation, found Derived"):
        listed()


@pytest.mark.parametrize("shown", [None, 3, 0])
def test_all_files_are_found_however_few_the_record_shows(
    server: OpenDataServer, shown: int | None
) -> None:
    record = server.record("30529", put(server, 250))
    record.shown = shown
    assert sorted(file.size or 0 for file in listed().files) == list(range(1, 251))


@pytest.mark.parametrize("shown", [None, 5, 0])
def test_all_indexes_are_found_however_few_the_record_shows(
    server: OpenDataServer, shown: int | None
) -> None:
    with_indexes(server, [3] * 130, shown=shown)
    found = listed()
    assert len(found.files) == 390
    assert len({file.url for file in found.files}) == 390


def test_files_and_indexes_add_up(server: OpenDataServer) -> None:
    record = with_indexes(server, [3, 4])
    record.files = [server.entry(url) for url in put(server, 2)]
    record.metadata["distribution"]["number_files"] = 9
    assert len(listed().files) == 9


def test_a_file_that_is_listed_twice_is_one(server: OpenDataServer) -> None:
    record = with_indexes(server, [3])
    record.files = list(record.indexes[0]["files"])
    assert len(listed().files) == 3


@pytest.mark.parametrize("inside", [0, 2])
def test_an_index_that_is_cut_is_asked_for_by_itself(server: OpenDataServer, inside: int) -> None:
    record = with_indexes(server, [5])
    (index,) = record.indexes
    index["all_files"], index["files"] = index["files"], index["files"][:inside]
    assert len(listed().files) == 5
    assert server.asked("/record/30529/file_index/part 0_file_index.json")


def test_an_index_shorter_than_it_says_is_an_error(server: OpenDataServer) -> None:
    record = with_indexes(server, [5])
    record.indexes[0]["files"] = record.indexes[0]["files"][:4]
    with pytest.raises(CatalogError, match=r"file_index/part%200.*expected 5 files, found 4"):
        listed()


def test_a_short_list_is_an_error_and_never_a_smaller_result(server: OpenDataServer) -> None:
    server.record("30529", put(server, 4), number_files=5)
    with pytest.raises(CatalogError, match=r"record 30529: expected 5 files.*found 4"):
        listed()


@pytest.mark.parametrize("paged", [0, 100, 150])
def test_pages_that_end_too_early_are_an_error(server: OpenDataServer, paged: int) -> None:
    record = server.record("30529", put(server, 200))
    record.shown, record.paged = 5, paged
    with pytest.raises(CatalogError, match=rf"filepage/\d+: expected 200 files .* found {paged}"):
        listed()


def test_what_is_no_root_file_is_left_out_and_counted(server: OpenDataServer) -> None:
    urls = [server.put(f"atlas/{name}", b"x") for name in ("a.root", "b.root.1", "all.zip", "l~")]
    server.record("30529", urls)
    found = listed()
    assert [file.url.rpartition("/")[2] for file in found.files] == ["a.root", "b.root.1"]
    assert found.datasets[0].left_out == 2


def test_a_count_without_other_entries_will_do(server: OpenDataServer) -> None:
    urls = [server.put(f"atlas/{name}", b"x") for name in ("a.root", "b.root", "all.zip")]
    server.record("30529", urls, number_files=2)
    assert len(listed().files) == 2


def test_lists_of_files_cannot_stand_for_files_that_are_missing(server: OpenDataServer) -> None:
    urls = [server.put(f"cms/{name}", b"x") for name in ("a.root", "CMS_x_file_index.json")]
    server.record("30529", urls, number_files=2)
    with pytest.raises(CatalogError, match="expected 2 files"):
        listed()


def test_a_summary_names_the_records_that_have_the_files(server: OpenDataServer) -> None:
    relations = [{"recid": 80000, "type": "isParentOf"}, {"recid": "80001"}]
    server.record("80020", [], relations=relations)
    with pytest.raises(CatalogError, match="name those: 80000, 80001"):
        listed("80020")


def test_a_layout_that_is_not_known_is_an_error(server: OpenDataServer) -> None:
    server.record("30529", put(server, 1), experiment=["LHCb"])
    with pytest.raises(ConfigError, match=r"record 30529 .* no data layout .* LHCb"):
        listed()


def test_ids_may_have_letters(server: OpenDataServer) -> None:
    server.record("cms-160005", put(server, 1))
    assert listed("cms-160005").files[0].source == "record_cms-160005"


def test_files_that_are_not_online_are_told(
    server: OpenDataServer, caplog: pytest.LogCaptureFixture
) -> None:
    record = server.record("30529", put(server, 3))
    record.files[1]["availability"] = "on demand"
    record.files[2]["availability"] = "online"
    assert len(listed().files) == 3
    assert "1 files are not online (on demand)" in caplog.text


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("adler32:0A1b2c3d", "adler32:0a1b2c3d"),
        ("adler32:1b2c3d", "adler32:1b2c3d"),
        ("1b2c3d", "adler32:1b2c3d"),
        ("md5:00ff", "md5:00ff"),
        (None, None),
        ("", None),
    ],
)
def test_checksums_have_one_form(
    server: OpenDataServer, written: str | None, kept: str | None
) -> None:
    server.record("30529", put(server, 1)).files[0]["checksum"] = written
    assert listed().files[0].checksum == kept


def test_no_record_is_an_error(server: OpenDataServer) -> None:
    with pytest.raises(CatalogError, match=rf"{server.url}/api/records/30529: .*404"):
        listed()


@pytest.mark.parametrize("fault", ["503", "reset", "short", "stall", "429"])
def test_a_portal_that_fails_now_and_then_is_asked_again(
    server: OpenDataServer, fault: str
) -> None:
    server.record("30529", put(server, 3))
    server.fault = lambda request: fault if request.number == 0 else None
    assert len(listed().files) == 3


def test_listing_takes_no_longer_than_allowed(server: OpenDataServer) -> None:
    server.fault = lambda _: "trickle"
    server.record("30529", put(server, 3))
    started = time.monotonic()
    with pytest.raises(CatalogError, match="time"):
        listed(seconds=0.5)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "body",
    [
        ERROR_PAGE,
        b"[]",
        b"{}",
        b'{"metadata": []}',
        b'{"metadata": {"files": 5}}',
        b'{"metadata": {"files": [5]}}',
        b'{"metadata": {"files": [{"size": 5}]}}',
        b'{"metadata": {"files": [{"uri": "root://a//b.root", "size": -1}]}}',
        b'{"metadata": {"files": [{"uri": "root://a//b.root", "size": "many"}]}}',
        b'{"metadata": {"_file_indices": [{"files": []}]}}',
    ],
)
def test_an_answer_of_another_shape_is_an_error_that_names_the_address(
    server: OpenDataServer, body: bytes
) -> None:
    server.replies["/api/records/30529"] = body
    with pytest.raises(CatalogError, match=re.escape(f"{server.url}/api/records/30529")):
        listed()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("uri", "/etc/passwd.root"),
        ("uri", "file:///etc/passwd.root"),
        ("uri", "root://eospublic.cern.ch//eos/opendata/../../etc/a.root"),
        ("size", 1 << 60),
        ("checksum", "adler32:no"),
        ("checksum", "a b:00"),
    ],
)
def test_nothing_that_the_portal_says_about_a_file_is_taken_on_trust(
    server: OpenDataServer, field: str, value: object
) -> None:
    server.record("30529", put(server, 1)).files[0][field] = value
    with pytest.raises(CatalogError, match=re.escape(server.url)):
        listed()
