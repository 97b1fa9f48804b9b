"""The layout of a portal record."""

from typing import Any

import pytest

from schemas.errors import CatalogError, ConfigError
from services.catalogs.layouts import Trees, layout_of_record, layouts_named

NANOAOD = {"Events": {"run", "event", "Electron_pt", "Muon_pt"}, "Runs": {"run"}}


def unread() -> Trees:
    pytest.fail("the first file need not be read")


def named(*formats: str, title: str = "") -> dict[str, Any]:
    return {"title": title, "distribution": {"formats": list(formats)}}


def test_what_is_configured_comes_first() -> None:
    assert layout_of_record("30529", {"30529": "2024r-pp"}, {}, unread) == "2024r-pp"


def test_the_shipped_table_comes_before_metadata() -> None:
    assert layout_of_record("15001", {}, named("nanoaod"), unread) == "2020e-13tev"


@pytest.mark.parametrize(
    ("metadata", "layout"),
    [
        (named("nanoaod", "root"), "cms-nanoaod"),
        (named(title="/TTToSemiLeptonic/RunIISummer20UL16NanoAODv9/NANOAODSIM"), "cms-nanoaod"),
        (named(title="DAOD_PHYSLITE format 2016 proton-proton collision data"), "2024r-pp"),
        (named(title="ATLAS DAOD_HION14 open data"), "2024r-hi"),
    ],
)
def test_metadata_name_the_layout(metadata: dict[str, Any], layout: str) -> None:
    assert layout_of_record("99999", {}, metadata, unread) == layout


@pytest.mark.parametrize("metadata", [{}, {"distribution": None}, named("aod"), {"title": None}])
def test_metadata_may_name_nothing(metadata: dict[str, Any]) -> None:
    assert layouts_named(metadata) == []
    assert layout_of_record("99999", {}, metadata, lambda: NANOAOD) == "cms-nanoaod"


def test_a_file_that_fits_nothing_is_an_error_with_what_was_looked_for() -> None:
    trees = {"mini": {"runNumber", "eventNumber", "lep_pt"}, "Events": {"run", "event"}}
    with pytest.raises(CatalogError) as error:
        layout_of_record("99999", {}, {}, lambda: trees)
    text = str(error.value)
    assert "record 99999: expected the first file to fit a data layout, found the trees Ev" in text
    assert "layout_by_record" in text
    assert "  cms-nanoaod: Electron_pt, Muon_pt in Events" in text
    assert "  2016e-8tev: lep_type, lep_E, jet_pt, jet_E, jet_MV1 in mini" in text
    assert "  2024r-pp: a tree CollectionTree or EventData" in text


def test_a_file_that_fits_two_layouts_is_an_error() -> None:
    both = {"Electrons", "Muons", "Jets"}
    physlite = {f"Analysis{name}AuxDyn.pt" for name in both} | {
        f"EventInfoAuxDyn.{name}" for name in ("runNumber", "eventNumber")
    }
    heavy_ion = {f"MuonsAuxDyn.{name}" for name in ("pt", "eta", "phi")}
    with pytest.raises(CatalogError, match="several layouts fit its first file: 2024r-hi, 2024r-p"):
        layout_of_record("99999", {}, {}, lambda: {"CollectionTree": physlite | heavy_ion})


def test_a_record_of_generator_events_is_refused() -> None:
    with pytest.raises(ConfigError, match="HepMC"):
        layout_of_record("160000", {}, {}, unread)
