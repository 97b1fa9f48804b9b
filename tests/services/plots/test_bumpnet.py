"""The figure of what BumpNet can be given: numbers per verdict."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from schemas.config import HistogramCreation
from schemas.inputs import Sample
from schemas.plan import ChannelPlan
from schemas.reports import ClassCounts, HistogramReport, Output
from services.plots import bumpnet
from services.plots.bumpnet import Judged
from services.plots.style import style
from tests.services.plots.drawing import drawn, make_run, row_names


def plan(main: int, high_gev: float | None) -> ChannelPlan:
    return ChannelPlan(
        population=main + 9,
        peak_gev=60.0,
        low_gev=60.0,
        high_gev=high_gev,
        last_gev=900.0,
        classes=ClassCounts(main=main, tail=9),
        dropped=None,
    )


REPORT = HistogramReport(
    sample=Sample.DATA,
    channels=2,
    histograms=4,
    roi_copies=1,
    rejected={
        "mass_e0e1_cat_2ex_0mx_width_10.0": "24 bins, fewer than 25",
        "mass_m0m1_cat_0ex_2mx_width_5.0": "sum 50, below 100",
        "mass_m0m1_cat_0ex_2mx_width_10.0": "20 bins, fewer than 25",
    },
    masses_in=450,
    entries={"5.0": 450, "10.0": 450},
    overflow=0,
    outputs=(Output(name="x", size=1, xxh128=""),),
)
KEPT = {"2e_0m/e0e1": plan(400, 300.0), "0e_2m/m0m1": plan(50, None)}
WIDTHS = HistogramCreation(input_dir="x", output_dir="x", bin_width_gev=(5.0, 10.0))


def test_every_histogram_is_judged_once() -> None:
    assert bumpnet.judge_all(KEPT, REPORT, WIDTHS) == [
        Judged("accepted", 400, 240.0),
        Judged("bins: fewer than 25", 400, 240.0),
        Judged("sum: below 100", 50, 840.0),
        Judged("bins: fewer than 25", 50, 840.0),
    ]


def test_outliers_that_are_filled_are_counted() -> None:
    config = WIDTHS.model_copy(update={"exclude_outliers": False})
    assert bumpnet.judge_all(KEPT, REPORT, config)[0] == Judged("accepted", 409, 840.0)


def test_verdicts_have_numbers_and_shares() -> None:
    judged = bumpnet.judge_all(KEPT, REPORT, WIDTHS)
    with style():
        figure = bumpnet.draw_verdicts(judged, WIDTHS, "run")
    in_numbers, in_entries, in_range = figure.axes
    assert row_names(in_numbers) == ["accepted", "bins: fewer than 25", "sum: below 100"]
    assert [text.get_text() for text in in_numbers.texts] == [
        "1 (25.0%)",
        "2 (50.0%)",
        "1 (25.0%)",
    ]
    stacked = [patch.get_data().values.sum() for patch in in_entries.patches]
    assert stacked == [4, 1]
    [accepted] = [line for line in in_range.lines if line.get_label() == "accepted"]
    assert accepted.get_xydata().tolist() == [[240.0, 400.0]]
    assert "BumpNet: 1 of 4 histograms accepted" in figure.get_suptitle()


def test_the_demo_has_the_verdicts_of_its_report(demo_figures: dict[str, Figure]) -> None:
    assert "62 of 107 histograms accepted" in demo_figures["bumpnet"].get_suptitle()


def test_without_copies_for_bumpnet_there_is_nothing_to_show(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path, histogram_creation_task_config={"use_bumpnet_naming": False})
    with caplog.at_level(logging.INFO):
        assert "bumpnet" not in drawn(run)
    assert "no histogram was judged" in caplog.text
