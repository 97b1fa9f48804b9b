"""What BumpNet accepts of anybody's file."""

from pathlib import Path

import numpy as np
import pytest
import uproot

import main
from schemas.config import Acceptance
from schemas.errors import DataError
from services.bumpnet_check import check

EDGES = np.arange(41) * 10.0
GOOD = np.full(40, 5.0)


def as_floats(contents: np.ndarray) -> object:
    """Return a TH1F, as other programs write them."""
    axis = uproot.writing.identify.to_TAxis("xaxis", "", len(contents), 0.0, 400.0)
    flow = np.concatenate(([7.0], contents, [7.0])).astype(np.float32)
    total = float(contents.sum())
    return uproot.writing.identify.to_TH1x(
        None, "somebody's", flow, total, total, total, 0.0, 0.0, None, axis
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "anybody.root"
    with uproot.recreate(path) as root:
        root["ROI_good"] = (GOOD, EDGES)
        root["ROI_short"] = (GOOD[:24], EDGES[:25])
        root["good_but_not_read"] = as_floats(GOOD)
        root["folder/ROI_poor"] = as_floats(GOOD / 10)
        root["plane"] = np.histogram2d([1.0, 2.0], [1.0, 2.0])
        root["about"] = "a text"
        root.mktree("events", {"run": "int32"})
    return path


def test_every_histogram_of_one_dimension_is_judged(file: Path) -> None:
    found = check(file, Acceptance())
    assert {key: verdict.reason for key, verdict in found.verdicts.items()} == {
        "ROI_good": None,
        "ROI_short": "24 bins, fewer than 25",
        "good_but_not_read": None,
        "folder/ROI_poor": "sum 20, below 100",
    }


def test_underflow_and_overflow_do_not_count(file: Path) -> None:
    verdict = check(file, Acceptance()).verdicts["good_but_not_read"]
    assert (verdict.n_bins, verdict.total) == (40, 200.0)


def test_the_text_has_a_line_per_histogram_and_the_sums(file: Path) -> None:
    assert str(check(file, Acceptance())).splitlines() == [
        "accepted  ROI_good: 40 bins, sum 200",
        "rejected  ROI_short: 24 bins, fewer than 25 (24 bins, sum 120)",
        "accepted  good_but_not_read: 40 bins, sum 200",
        "rejected  folder/ROI_poor: sum 20, below 100 (40 bins, sum 20)",
        (
            f"{file}: 4 histograms, 2 accepted, 2 rejected (up to the last bin above 0.35: at "
            "least 25 bins, sum at least 100, first bin above 0)"
        ),
        "BumpNet reads only keys that begin with ROI: 2 of 4, 1 of them accepted",
    ]


def test_of_a_key_written_twice_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "twice.root"
    with uproot.recreate(path) as root:
        root["ROI_a"] = (GOOD[:3], EDGES[:4])
        root["ROI_a"] = (GOOD, EDGES)
    assert check(path, Acceptance()).accepted == ("ROI_a",)


def test_the_command_prints_and_succeeds_if_something_is_accepted(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["--bumpnet-check", str(file)]) == 0
    assert "accepted  ROI_good" in capsys.readouterr().out


def test_the_command_fails_if_nothing_is_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "poor.root"
    with uproot.recreate(path) as root:
        root["ROI_a"] = (GOOD[:3], EDGES[:4])
    assert main.main(["--bumpnet-check", str(path)]) == 1
    assert "1 histograms, 0 accepted, 1 rejected" in capsys.readouterr().out


def test_the_command_takes_the_numbers_of_a_configuration(file: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "parsing_task_config: {release_years: [demo]}\n"
        "histogram_creation_task_config: {bumpnet_acceptance: {min_bins: 41}}\n"
    )
    assert main.main(["--bumpnet-check", str(file), "--config", str(config)]) == 1


@pytest.mark.parametrize("content", [None, b"", b"root", b"not a ROOT file" * 100])
def test_what_is_no_root_file_is_told_in_one_sentence(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.root"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"expected a (readable )?ROOT file"):
        check(path, Acceptance())
    assert main.main(["--bumpnet-check", str(path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_truncated_file_is_told_in_one_sentence(file: Path) -> None:
    # Histograms are near the beginning; a file whose end alone is lost can still be judged.
    file.write_bytes(file.read_bytes()[:600])
    with pytest.raises(DataError, match="expected a readable ROOT file"):
        check(file, Acceptance())


@pytest.mark.parametrize(
    "others", [["--run-dir", "x"], ["--tasks", "parsing"], ["--dry-run"], ["--plots-only"]]
)
def test_the_check_is_a_command_of_its_own(
    others: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["--bumpnet-check", str(file), *others]) == 2
    assert "--bumpnet-check" in capsys.readouterr().err
