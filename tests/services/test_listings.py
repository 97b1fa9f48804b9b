"""What can be asked for: releases from the shipped tables, datasets from the catalogs."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from main import main
from schemas.offers import Offer
from schemas.releases import layout_names, releases
from services.listings import release_listing
from tests.servers import STORE, OpenDataServer

CHECKOUT = Path(__file__).parents[2]
RELEASE = "2024r-pp"
QUICK = (
    "parsing_task_config:\n  release_years: [demo]\n  request_retries: 0\n"
    "  fetching_metadata_timeout: 3.0\n  metadata_max_age_days: {days}\n"
)


@pytest.fixture
def catalog(server: OpenDataServer) -> OpenDataServer:
    """List collision data of two files, and a simulated dataset that has a preselection as well."""
    files = [f"root://eospublic.cern.ch:1094//eos/opendata/atlas/{name}.root" for name in "abcd"]
    server.release(RELEASE, {"data": files[:2], "700320": files[2:3]})
    server.releases[RELEASE][1] |= {
        "physics_short": "Sh_2211_Zee",
        "nEvents": 1_234_567,
        "skims": [{"skim_type": "2to4lep", "file_list": files[3:]}],
    }
    return server


def listed(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str, days: float = 30
) -> tuple[int, str, str]:
    """Return exit code, output and errors of --list-datasets."""
    path = tmp_path / "config.yaml"
    path.write_text(QUICK.format(days=days))
    code = main(["--config", str(path), "--list-datasets", name, *more])
    said = capsys.readouterr()
    return code, said.out, said.err


def rows(said: str) -> list[list[str]]:
    return [line.split() for line in said.splitlines()]


def test_every_release_and_layout_is_listed() -> None:
    said = release_listing()
    first_words = {row[0] for row in rows(said) if row}
    assert set(releases()) <= first_words
    assert all(f"  {key}  " in said for key in layout_names())


def test_a_release_comes_with_layout_energy_experiment_and_catalog() -> None:
    said = release_listing()
    assert ["2016e-8tev", "2016e-8tev", "ATLAS,", "8", "TeV"] in [row[:5] for row in rows(said)]
    assert "https://atlasopenmagic-api.app.cern.ch" in said
    assert "https://opendata.cern.ch" in said


def test_what_cannot_be_read_is_listed_with_the_reason() -> None:
    said = release_listing()
    assert "HepMC text" in said
    assert "record 3860" in said


def test_releases_are_listed_without_a_network_a_configuration_or_the_heavy_libraries(
    tmp_path: Path,
) -> None:
    code = (
        "import sys\n"
        "hook = lambda event, _: event == 'socket.connect' and sys.exit(event)\n"
        "sys.addaudithook(hook)\n"
        f"sys.path.insert(0, {str(CHECKOUT)!r})\n"
        "import main\n"
        "code = main.main(['--list-releases'])\n"
        "sys.exit(code or str({'uproot', 'awkward', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "2024r-pp" in done.stdout
    assert done.stderr == "set()\n"


@pytest.mark.usefixtures("catalog")
def test_the_datasets_of_a_release_are_listed_with_what_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, _ = listed(RELEASE, tmp_path, capsys)
    assert code == 0
    found = rows(said)
    assert ["data", "-", "data", "2", "-", "-"] in found
    assert ["700320", "Sh_2211_Zee", "mc", "1", "1,234,567", "-"] in found
    assert "2to4lep (1 dataset)" in said
    assert "release_years: [2024r-pp]" in said


def test_a_record_is_listed_with_events_and_size(
    server: OpenDataServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = [server.put(f"cms/{name}.root", b"x" * 1500) for name in "ab"]
    server.record("30529", urls, title="/DoubleMuon/NANOAOD").metadata["distribution"] |= {
        "number_events": 77
    }
    assert urls[0].startswith(STORE)
    code, said, _ = listed("30529", tmp_path, capsys)
    assert code == 0
    assert ["30529", "/DoubleMuon/NANOAOD", "data", "2", "77", "3kB"] in rows(said)


def test_the_demo_release_is_listed_without_a_catalog(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, _ = listed("demo", tmp_path, capsys)
    assert code == 0
    assert "generated events, not data" in said


def test_a_list_that_is_kept_is_not_asked_for_again(
    catalog: OpenDataServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = listed(RELEASE, tmp_path, capsys)[:2]
    n_asked = len(catalog.requests)
    assert listed(RELEASE, tmp_path, capsys)[:2] == first
    assert len(catalog.requests) == n_asked
    listed(RELEASE, tmp_path, capsys, "--refresh-metadata")
    assert len(catalog.requests) > n_asked


def test_without_a_network_an_old_list_will_do(
    catalog: OpenDataServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], user_cache: Path
) -> None:
    _, fresh, _ = listed(RELEASE, tmp_path, capsys)
    (path,) = user_cache.rglob("*.json")
    offer = Offer.model_validate_json(path.read_bytes())
    aged = datetime.now(UTC) - timedelta(days=400)
    path.write_text(offer.sealed(offer.request, aged).model_dump_json())
    catalog.fault = lambda _request: "500"
    code, said, warned = listed(RELEASE, tmp_path, capsys)
    assert code == 0
    assert [row for row in rows(said) if row[:1] == ["700320"]] == [
        row for row in rows(fresh) if row[:1] == ["700320"]
    ]
    assert f"as listed on {aged.date()}" in said
    assert f"this is the list of {aged.date()}" in warned


def test_without_a_network_and_a_list_there_is_one_sentence(
    catalog: OpenDataServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog.fault = lambda _request: "500"
    code, said, error = listed(RELEASE, tmp_path, capsys)
    assert (code, said) == (1, "")
    assert len(error.splitlines()) == 1
    assert error.startswith(f"error: release {RELEASE}: the catalog {catalog.url} cannot be had")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("2024r-p", "release '2024r-p' is not known; did you mean '2024r-pp'?"),
        ("2025r-evgen-13tev", "HepMC text"),
    ],
)
def test_a_release_that_cannot_be_read_is_refused_before_anything_is_asked(
    name: str,
    said: str,
    catalog: OpenDataServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, error = listed(name, tmp_path, capsys)
    assert code == 2
    assert said in error
    assert catalog.requests == []


@pytest.mark.usefixtures("catalog")
def test_no_configuration_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--list-datasets", RELEASE]) == 0
    assert "700320" in capsys.readouterr().out
