"""The list of a run: of all inputs, made once, used again, and refused if it is another's."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.config import Config
from schemas.errors import CatalogError, ConfigError
from schemas.inputs import FileList, Sample, Slice
from schemas.reports import SliceReport
from services import fetch, run_directory
from services.run_directory import RunDirectory
from services.storage import reports
from tests.factory import make_config, write_nanoaod
from tests.servers import STORE, OpenDataServer

FAST: dict[str, Any] = {"request_retries": 0, "fetching_metadata_timeout": 3.0}


def config(folder: Path, **parsing: Any) -> Config:
    return make_config({"parsing_task_config": {**FAST, **parsing}}, folder)


def new_run(folder: Path, name: str = "run") -> RunDirectory:
    template = config(folder, release_years=["demo"])
    return run_directory.create(template, folder / name, datetime.now(UTC))


def names(paths: RunDirectory) -> list[str]:
    return [
        file.url.removeprefix(STORE).rpartition("/")[2]
        for file in reports.read(paths.file_list, FileList).files
    ]


def run(paths: RunDirectory, settings: Config, *, refresh: bool = False) -> SliceReport:
    return fetch.run(settings, paths, Slice(), refresh=refresh)


@pytest.fixture
def catalogs(server: OpenDataServer) -> OpenDataServer:
    server.release("2024r-pp", {"data": [f"{STORE}atlas/{n}.root.1" for n in "abc"]})
    server.record("30529", [f"{STORE}cms/{n}.root" for n in "de"])
    server.record("30530", [f"{STORE}cms/{n}.root" for n in "fg"])
    return server


@pytest.mark.usefixtures("catalogs")
def test_releases_records_and_local_files_come_one_after_the_other(tmp_path: Path) -> None:
    write_nanoaod(tmp_path / "local.root", muons=[[(30.0, 0.0, 0.0)]])
    settings = config(
        tmp_path,
        release_years=["2024r-pp"],
        specific_record_ids=[30530, "30529"],
        local_files={"cms-nanoaod": ["local.root"]},
        combine_releases=True,
    )
    paths = new_run(tmp_path)
    report = run(paths, settings)
    assert names(paths) == [
        *("a.root.1", "b.root.1", "c.root.1"),
        *("f.root", "g.root", "d.root", "e.root"),
        "local.root",
    ]
    assert report.taken == {"sources": 4}
    listed = reports.read(paths.file_list, FileList)
    assert {file.source for file in listed.files} == {
        "2024r-pp",
        "record_30529",
        "record_30530",
        "local_cms-nanoaod",
    }


@pytest.mark.usefixtures("catalogs")
def test_experiments_are_not_mixed_unasked(tmp_path: Path) -> None:
    settings = config(tmp_path, release_years=["2024r-pp"], specific_record_ids=[30529])
    with pytest.raises(ConfigError, match="combine_releases"):
        run(new_run(tmp_path), settings)


def test_a_simulated_record_is_kept_apart_whatever_parse_mc_says(
    server: OpenDataServer, tmp_path: Path
) -> None:
    server.record("67993", [f"{STORE}cms/a.root"], kind="Simulated")
    paths = new_run(tmp_path)
    run(paths, config(tmp_path, specific_record_ids=[67993], parse_mc=False))
    assert reports.read(paths.file_list, FileList).files[0].sample is Sample.SIMULATION


def test_the_list_of_a_run_is_not_made_twice(catalogs: OpenDataServer, tmp_path: Path) -> None:
    paths, settings = new_run(tmp_path), config(tmp_path, specific_record_ids=[30529])
    run(paths, settings)
    before = paths.file_list.read_bytes()
    catalogs.requests.clear()
    run(paths, settings)
    assert paths.file_list.read_bytes() == before
    assert catalogs.requests == []


def test_the_next_run_skips_the_network(catalogs: OpenDataServer, tmp_path: Path) -> None:
    settings = config(tmp_path, release_years=["2024r-pp"])
    one, other = new_run(tmp_path, "one"), new_run(tmp_path, "other")
    run(one, settings)
    catalogs.fault = lambda _: "503"
    run(other, settings)
    assert other.file_list.read_bytes() == one.file_list.read_bytes()


def test_refreshing_asks_again(catalogs: OpenDataServer, tmp_path: Path) -> None:
    paths = new_run(tmp_path)
    settings = config(tmp_path, release_years=["2024r-pp"])
    run(paths, settings)
    catalogs.release("2024r-pp", {"data": [f"{STORE}atlas/new.root.1"]})
    run(paths, settings, refresh=True)
    assert names(paths) == ["new.root.1"]
    other = new_run(tmp_path, "other")
    run(other, settings)
    assert names(other) == ["new.root.1"]


@pytest.mark.usefixtures("catalogs")
@pytest.mark.parametrize(
    "change",
    [
        {"specific_record_ids": [30530]},
        {"specific_record_ids": [30529, 30530]},
        {"file_order": "shuffled"},
        {"parse_mc": True},
    ],
)
def test_the_list_of_another_request_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    paths = new_run(tmp_path)
    run(paths, config(tmp_path, specific_record_ids=[30529]))
    with pytest.raises(CatalogError, match=r"another request; .* --refresh-metadata"):
        run(paths, config(tmp_path, **{"specific_record_ids": [30529], **change}))


@pytest.mark.usefixtures("catalogs")
@pytest.mark.parametrize(
    "change",
    [
        {"threads": 2},
        {"max_files_to_process": 1},
        {"protocol": "file"},
        {"read_mode": "download"},
        {"request_retries": 1},
    ],
)
def test_what_does_not_change_a_list_does_not_refuse_it(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    paths = new_run(tmp_path)
    run(paths, config(tmp_path, specific_record_ids=[30529]))
    run(paths, config(tmp_path, specific_record_ids=[30529], **change))


@pytest.mark.usefixtures("catalogs")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"files"', '"fils"'),
        ("cms/d.root", "cms/x.root"),
        ('"sample": "data"', '"sample": "mc"'),
        ('"size": 0', '"size": 1'),
    ],
)
def test_a_list_that_was_changed_is_refused(tmp_path: Path, old: str, new: str) -> None:
    paths, settings = new_run(tmp_path), config(tmp_path, specific_record_ids=[30529])
    run(paths, settings)
    text = paths.file_list.read_text()
    assert old in text
    paths.file_list.write_text(text.replace(old, new, 1))
    with pytest.raises(CatalogError, match=r"metadata_cache\.json: .* --refresh-metadata"):
        run(paths, settings)
    run(paths, settings, refresh=True)
    assert names(paths) == ["d.root", "e.root"]


def test_a_file_in_two_records_is_an_error(catalogs: OpenDataServer, tmp_path: Path) -> None:
    catalogs.record("1", ["https://opendata.cern.ch/eos/opendata/cms/d.root"])
    settings = config(tmp_path, specific_record_ids=[30529, 1])
    with pytest.raises(CatalogError, match=r"d\.root is listed by record_30529 and by record_1"):
        run(new_run(tmp_path), settings)


def test_nothing_is_written_after_a_failure(server: OpenDataServer, tmp_path: Path) -> None:
    paths = new_run(tmp_path)
    with pytest.raises(CatalogError, match=server.url):
        run(paths, config(tmp_path, specific_record_ids=[30529]))
    assert sorted(path.name for path in paths.root.iterdir()) == ["config.yaml", "logs"]


def test_a_release_that_cannot_be_read_is_refused_before_anything_is_asked(
    catalogs: OpenDataServer, tmp_path: Path
) -> None:
    settings = config(tmp_path, release_years=["2024r-pp", "2025r-evgen-13tev"])
    with pytest.raises(ConfigError, match="HepMC"):
        run(new_run(tmp_path), settings)
    assert catalogs.requests == []


def test_a_dataset_of_no_release_is_an_error(catalogs: OpenDataServer, tmp_path: Path) -> None:
    settings = config(tmp_path, release_years=["2024r-pp"], datasets=["data", 5])
    with pytest.raises(CatalogError, match="no release has a dataset 5"):
        run(new_run(tmp_path), settings)
    assert catalogs.requests


def test_a_shuffled_order_is_the_same_each_time_and_another_for_another_seed(
    server: OpenDataServer, tmp_path: Path
) -> None:
    server.record("1", [f"{STORE}cms/{n:02}.root" for n in range(40)])
    orders = {}
    for name, seed in [("one", 1), ("again", 1), ("other", 2)]:
        paths = new_run(tmp_path, name)
        shuffled = {"file_order": "shuffled", "file_order_seed": seed}
        run(paths, config(tmp_path, specific_record_ids=[1], **shuffled))
        orders[name] = names(paths)
    assert orders["one"] == orders["again"] != orders["other"]
    assert sorted(orders["one"]) == sorted(orders["other"]) != orders["one"]


def test_lost_demo_files_are_made_again(tmp_path: Path) -> None:
    paths, settings = new_run(tmp_path), config(tmp_path, release_years=["demo"], demo_events=80)
    run(paths, settings)
    first = Path(reports.read(paths.file_list, FileList).files[0].url)
    first.unlink()
    run(paths, settings)
    assert first.exists()
