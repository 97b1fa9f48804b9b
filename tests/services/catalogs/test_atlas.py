"""ATLAS releases from a catalog on this machine: all of them, chosen, or an error."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from schemas.config import Parsing
from schemas.errors import CatalogError, ConfigError
from schemas.inputs import Dataset, FileList, Sample
from services.catalogs import atlas
from services.storage.retries import Limits
from tests.factory import make_config
from tests.servers import STORE, OpenDataServer

RELEASE = "2024r-pp"
FAST: dict[str, Any] = {
    "request_read_timeout": 0.4,
    "request_total_timeout": 0.8,
    "request_backoff_seconds": 0.001,
    "request_retries": 1,
    "fetching_metadata_timeout": 3.0,
}


def urls(*names: str) -> list[str]:
    return [f"root://eospublic.cern.ch:1094//eos/opendata/atlas/{name}.root.1" for name in names]


def parsing(**chosen: Any) -> Parsing:
    block = {"release_years": [RELEASE], **FAST, **chosen}
    return make_config({"parsing_task_config": block}, Path()).parsing_task_config


def listed(**chosen: Any) -> FileList:
    block = parsing(**chosen)
    return atlas.list_release(RELEASE, block, Limits.of(block))


def names(files: FileList) -> list[str]:
    return [file.url.removeprefix(f"{STORE}atlas/").removesuffix(".root.1") for file in files.files]


@pytest.fixture(autouse=True)
def catalog(server: OpenDataServer) -> OpenDataServer:
    """List data and two simulated datasets; names say nothing about which is which."""
    server.release(
        RELEASE, {"700320": urls("data_a"), "data": urls("mc_b", "mc_c"), "99": urls("d")}
    )
    for row in server.releases[RELEASE]:
        row |= {"physics_short": {"700320": "Sh_Zee", "99": "Py_tt"}.get(row["dataset_number"])}
    return server


def test_collision_data_is_told_by_its_key() -> None:
    files = listed()
    assert names(files) == ["mc_b", "mc_c"]
    assert {file.sample for file in files.files} == {Sample.DATA}
    assert {(file.source, file.layout, file.dataset) for file in files.files} == {
        (RELEASE, "2024r-pp", "data")
    }


def test_addresses_have_the_form_that_all_catalogs_share() -> None:
    assert listed().files[0].url == "root://eospublic.cern.ch//eos/opendata/atlas/mc_b.root.1"


def test_simulation_comes_beside_data_or_alone_in_the_order_of_numbers() -> None:
    assert names(listed(parse_mc=True)) == ["mc_b", "mc_c", "d", "data_a"]
    only = listed(parse_mc="only")
    assert names(only) == ["d", "data_a"]
    assert {file.sample for file in only.files} == {Sample.SIMULATION}


@pytest.mark.parametrize("key", [700320, "700320", "Sh_Zee", "sh_zee"])
def test_datasets_are_chosen_by_number_or_name(key: object) -> None:
    assert names(listed(parse_mc=True, datasets=[key])) == ["data_a"]


def test_a_dataset_that_parse_mc_leaves_out_is_an_error() -> None:
    with pytest.raises(CatalogError, match=r"700320 of 2024r-pp is simulation.*parse_mc: false"):
        listed(datasets=[700320])
    with pytest.raises(CatalogError, match=r"data of 2024r-pp is collision data.*parse_mc: only"):
        listed(datasets=["data"], parse_mc="only")


def test_an_unknown_dataset_is_an_error_with_a_guess() -> None:
    with pytest.raises(CatalogError, match="did you mean 700320"):
        listed(datasets=[700302], parse_mc=True)
    described = [Dataset(source="x", key="data", catalog="release", sample=Sample.DATA)]
    with pytest.raises(CatalogError, match="no release has a dataset dtaa; did you mean data"):
        atlas.refuse_unknown_datasets(parsing(datasets=["data", "dtaa"]), described)


def test_what_the_catalog_knows_about_a_dataset_is_kept(catalog: OpenDataServer) -> None:
    catalog.releases[RELEASE][0] |= {
        "cross_section_pb": 2221.2,
        "genFiltEff": 0.5,
        "kFactor": 1.1,
        "sumOfWeights": 1e9,
        "nEvents": 12345,
        "keywords": ["sm"],
    }
    (found,) = listed(datasets=[700320], parse_mc="only").datasets
    assert found == Dataset(
        source=RELEASE,
        key="700320",
        catalog="release",
        sample=Sample.SIMULATION,
        title="Sh_Zee",
        cross_section_pb=2221.2,
        filter_efficiency=0.5,
        k_factor=1.1,
        sum_of_weights=1e9,
        events=12345,
    )


def test_a_skim_is_chosen_and_never_added_up(catalog: OpenDataServer) -> None:
    for row in catalog.releases[RELEASE]:
        row["skims"] = [
            {"skim_type": "4lep", "file_list": urls(f"4lep_{row['dataset_number']}")},
            {"skim_type": "GamGam", "file_list": urls("photons")},
        ]
    assert names(listed(skim="4lep", parse_mc=True)) == ["4lep_data", "4lep_99", "4lep_700320"]
    assert names(listed()) == ["mc_b", "mc_c"]


@pytest.mark.parametrize("empty", [None, []])
def test_a_release_that_has_skims_only_asks_for_one(catalog: OpenDataServer, empty: object) -> None:
    catalog.releases[RELEASE] = [
        {
            "dataset_number": "data",
            "file_list": empty,
            "skims": [{"skim_type": "1lep", "file_list": urls("a")}],
        }
    ]
    assert names(listed(skim="1lep")) == ["a"]
    with pytest.raises(CatalogError, match=r"no files without preselection; it has 1lep"):
        listed()
    with pytest.raises(CatalogError, match=r"no files of the skim '2lep'; it has 1lep"):
        listed(skim="2lep")


def test_a_row_without_skims_will_do(catalog: OpenDataServer) -> None:
    for row in catalog.releases[RELEASE]:
        row["skims"] = None
    assert names(listed()) == ["mc_b", "mc_c"]


def test_every_page_is_read(catalog: OpenDataServer) -> None:
    catalog.release(RELEASE, {str(number): urls(str(number)) for number in range(1, 2502)})
    assert names(listed(parse_mc="only")) == [str(number) for number in range(1, 2502)]


@pytest.mark.parametrize("count", [1000, 2, 0, 3000])
def test_a_wrong_count_is_an_error_and_never_a_smaller_result(
    catalog: OpenDataServer, count: int
) -> None:
    catalog.release(RELEASE, {str(number): urls(str(number)) for number in range(1, 2502)})
    catalog.counts[RELEASE] = count
    with pytest.raises(CatalogError, match=rf"{catalog.url}/datasets\?release_name=2024r-pp"):
        listed(parse_mc="only")


def test_a_catalog_that_cannot_count_will_do(catalog: OpenDataServer) -> None:
    catalog.fault = lambda request: "500" if request.path == "/datasets/count" else None
    assert names(listed()) == ["mc_b", "mc_c"]


def test_each_listing_asks_the_catalog_of_the_moment(
    catalog: OpenDataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed()
    catalog.release(RELEASE, {"data": urls("new")})
    assert names(listed()) == ["new"]
    with OpenDataServer() as other:
        other.release(RELEASE, {"data": urls("other")})
        monkeypatch.setenv("ATLAS_API_BASE_URL", other.url)
        assert names(listed()) == ["other"]


def test_one_release_does_not_show_in_another(catalog: OpenDataServer) -> None:
    catalog.release("2020e-13tev", {"1": urls("a")})
    assert names(listed(parse_mc=True)) == ["mc_b", "mc_c", "d", "data_a"]


@pytest.mark.parametrize("release", ["2025r-evgen-13tev", "2025r-evgen-13p6tev"])
def test_releases_without_root_files_are_refused_before_anything_is_asked(
    catalog: OpenDataServer, release: str
) -> None:
    block = parsing(release_years=[release])
    with pytest.raises(ConfigError, match=f"{release}.*HepMC"):
        atlas.list_release(release, block, Limits.of(block))
    assert catalog.requests == []


@pytest.mark.parametrize("fault", ["503", "reset", "short", "stall"])
def test_a_catalog_that_fails_now_and_then_is_asked_again(
    catalog: OpenDataServer, fault: str
) -> None:
    catalog.fault = lambda request: fault if request.number in (0, 2) else None
    assert names(listed()) == ["mc_b", "mc_c"]


@pytest.mark.parametrize("fault", ["503", "404", "reset", "stall", "trickle headers"])
def test_a_catalog_that_fails_is_an_error_in_time(catalog: OpenDataServer, fault: str) -> None:
    catalog.fault = lambda _: fault
    started = time.monotonic()
    with pytest.raises(CatalogError, match=re.escape(catalog.url)):
        listed()
    assert time.monotonic() - started < 6


def test_listing_takes_no_longer_than_allowed(catalog: OpenDataServer) -> None:
    catalog.fault = lambda _: "stall"
    started = time.monotonic()
    with pytest.raises(CatalogError, match="time"):
        listed(request_retries=50, fetching_metadata_timeout=1.0)
    assert time.monotonic() - started < 4


def test_it_works_again_after_a_failure(catalog: OpenDataServer) -> None:
    catalog.fault = lambda _: "503"
    with pytest.raises(CatalogError):
        listed()
    catalog.fault = lambda _: None
    assert names(listed()) == ["mc_b", "mc_c"]


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b'{"detail": "no"}',
        b'["a"]',
        b"[1]",
        b"[{}]",
        b"null",
        b'[{"dataset_number": ["a"]}]',
        b'[{"dataset_number": "data", "file_list": "a"}]',
        b'[{"dataset_number": "data", "file_list": [1]}]',
        b'[{"dataset_number": "data", "skims": [{"skim_type": null}]}]',
        b'[{"dataset_number": "data", "cross_section_pb": "big"}]',
        b'[{"dataset_number": "data", "file_list": ["/etc/passwd"]}]',
        b'[{"dataset_number": "data", "file_list": ["file:///etc/passwd"]}]',
    ],
)
def test_an_answer_of_another_shape_is_an_error_that_names_the_address(
    catalog: OpenDataServer, body: bytes
) -> None:
    catalog.replies["/datasets"] = body
    catalog.counts[RELEASE] = 1
    with pytest.raises(CatalogError, match=re.escape(catalog.url)):
        listed()


def test_the_library_says_nothing(
    catalog: OpenDataServer, capfd: pytest.CaptureFixture[str]
) -> None:
    listed()
    catalog.fault = lambda _: "503"
    with pytest.raises(CatalogError):
        listed()
    assert capfd.readouterr() == ("", "")
