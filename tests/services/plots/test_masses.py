"""Figures of mass spectra: which channels there are, and what is shown of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from schemas.errors import DataError
from schemas.inputs import Sample, Slice
from schemas.labels import Channel
from schemas.plan import ChannelPlan, ResonanceTest
from schemas.reports import ClassCounts
from services import pipeline
from services.calculations.spectra import CLASSES, Grid
from services.catalogs import demo
from services.plots import masses
from services.plots.style import style
from services.storage.histograms import MassHistogram
from tests.services.plots.drawing import (
    LATER,
    MASSES,
    OF_CHANNELS,
    OF_EVENTS,
    Run,
    drawn,
    legend,
    make_run,
    steps,
    without,
)


def test_the_hidden_resonance_is_the_largest_excess(demo_figures: dict[str, Figure]) -> None:
    axes = demo_figures["largest_local_excesses"].axes[0]
    assert axes.get_title() == f"{demo.RESONANCE_COMBINATION} in {demo.RESONANCE_FINAL_STATE}"
    [mark] = [text for text in axes.texts if isinstance(text, Annotation)]
    assert mark.xy[0] == pytest.approx(demo.RESONANCE_MASS_GEV, abs=demo.RESONANCE_SIGMA_GEV)


def test_excesses_are_called_a_guide_to_the_eye(demo_figures: dict[str, Figure]) -> None:
    caption = demo_figures["largest_local_excesses"].legends[0].get_title().get_text()
    assert "A guide to the eye and no discovery statistics" in caption
    assert "look-elsewhere effect" in caption


def test_largest_channels_come_first_with_their_entries(demo_figures: dict[str, Figure]) -> None:
    entries = []
    for axes in demo_figures["largest_channels"].axes:
        first_line = axes.texts[0].get_text().splitlines()[0]
        entries.append(int(first_line.removesuffix(" masses").replace(",", "")))
    assert len(entries) == 6
    assert entries == sorted(entries, reverse=True)


def test_spectrum_and_histogram_are_drawn_on_the_grid(of_pairs: Run) -> None:
    [axes] = drawn(of_pairs)["largest_channels"].axes
    assert axes.get_title() == "m0m1 in 0e_2m_0j_0g"
    assert axes.get_xlabel() == "m [GeV]"
    assert axes.get_ylabel() == "masses / 10 GeV"
    contents, edges = steps(axes, "all masses")
    assert contents == [0, 0, 0, 0, 0, 1, 4, 3, 2, 0, 1]
    assert edges == [10.0 * k for k in range(12)]
    assert steps(axes, "in the histogram") == ([4, 3, 2], [60, 70, 80, 90])
    assert axes.get_xlim() == (0, 110)


def test_narrow_histogram_bins_are_added_up_to_the_grid(tmp_path: Path) -> None:
    run = make_run(tmp_path, histogram_creation_task_config={"bin_width_gev": [2.5]})
    [axes] = drawn(run)["largest_channels"].axes
    assert steps(axes, "in the histogram") == ([4, 3, 2], [60, 70, 80, 90])


def test_what_the_histogram_holds_is_shown_even_if_it_is_more_than_the_main_part(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path, histogram_creation_task_config={"exclude_outliers": False})
    [axes] = drawn(run)["largest_channels"].axes
    assert steps(axes, "in the histogram")[0] == [4, 3, 2, 0, 1]


def decided(**edges: Any) -> ChannelPlan:
    return ChannelPlan(
        **{"peak_gev": 60.0, "low_gev": 60.0, "high_gev": None, "last_gev": 110.0} | edges,
        population=11,
        classes=ClassCounts(main=11),
        dropped=None,
    )


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        pytest.param({"low_gev": 0.0}, [], id="all main"),
        pytest.param({"high_gev": 90.0}, [("turn_on", 0, 6), ("tail", 9, 11)], id="both ends"),
        pytest.param(
            {"floor_gev": 30.0, "low_gev": 60.0}, [("floor", 0, 3), ("turn_on", 3, 6)], id="floor"
        ),
        pytest.param(
            {"vetoes_gev": ((20.0, 30.0), (80.0, 100.0))},
            [("turn_on", 0, 2), ("veto", 2, 3), ("turn_on", 3, 6), ("veto", 8, 10)],
            id="vetoes in turn-on and main part",
        ),
    ],
)
def test_regions_are_what_lies_outside_the_main_part(
    edges: dict[str, Any], expected: list[tuple[str, int, int]]
) -> None:
    assert list(masses.regions(decided(**edges), Grid(10.0, 1000), 11)) == expected


def test_every_class_but_main_and_overflow_has_a_look() -> None:
    assert {"main", "overflow", *masses.LOOKS} == set(CLASSES)


def test_a_resonance_that_is_removed_is_shaded(demo_figures: dict[str, Figure]) -> None:
    figure = demo_figures["largest_channels"]
    assert "resonance and below: removed" in legend(figure)
    [axes] = [axes for axes in figure.axes if axes.get_title() == "m0m1 in 0e_2m_0j_0g"]
    contents, edges = steps(axes, "in the histogram")
    # The Z is cut at 110 GeV, and what follows falls.
    assert edges[0] == 110
    assert contents[0] == max(contents)


def test_bins_of_growing_width_are_shown_per_bin_of_the_grid() -> None:
    edges = np.array([0.0, 5.0, 25.0, 75.0])
    histogram = MassHistogram("h", "", 0.0, 75.0, np.array([3, 8, 10]), 0.0, 0.0, edges)
    shown, per_bin = masses.per_width(histogram, 10.0)
    assert shown.tolist() == edges.tolist()
    # 3 in half a bin of the grid, 8 in two, 10 in five.
    assert per_bin.tolist() == [6, 4, 2]


@pytest.mark.parametrize(
    "histograms", [{"binning": "resolution"}, {"single_output_file": False}], ids=str
)
def test_histograms_are_found_however_they_are_written(
    tmp_path: Path, histograms: dict[str, Any]
) -> None:
    run = make_run(tmp_path, histogram_creation_task_config=histograms)
    assert "in the histogram" in legend(drawn(run)["largest_channels"])


def test_the_legend_names_what_is_drawn_once(of_pairs: Run) -> None:
    assert legend(drawn(of_pairs)["largest_channels"]) == [
        "in the histogram",
        "all masses",
        "turn-on: removed",
        "outliers: split off",
        "known resonance, not detected",
    ]


def test_overflow_is_counted_beside_the_spectrum(tmp_path: Path) -> None:
    [axes] = drawn(make_run(tmp_path, [*MASSES, 10000.5, 12000.0]))["largest_channels"].axes
    assert axes.texts[0].get_text() == "13 masses\n2 overflow"


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param(range(9, 0, -1), id="a straight fall"),
        pytest.param(range(8, 0, -1), id="too few bins to look at"),
    ],
)
def test_a_channel_without_excess_is_not_shown_as_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, counts: range
) -> None:
    masses = [55.0 + 10 * k for k, count in enumerate(counts) for _ in range(count)]
    with caplog.at_level(logging.INFO):
        assert [*drawn(make_run(tmp_path, masses))] == list(OF_CHANNELS)
    assert "no excess of data is drawn" in caplog.text


def test_without_histograms_the_spectrum_and_its_cuts_are_drawn(tmp_path: Path) -> None:
    run = make_run(tmp_path, tasks=without("histogram_creation"))
    figure = drawn(run)["largest_channels"]
    assert legend(figure)[:3] == ["all masses", "turn-on: removed", "outliers: split off"]


def test_a_plan_of_another_configuration_is_not_drawn(
    of_pairs: Run, caplog: pytest.LogCaptureFixture
) -> None:
    config, paths = of_pairs
    other = config.post_processing_task_config.model_copy(update={"remove_turn_on": False})
    changed = config.model_copy(update={"post_processing_task_config": other})
    with caplog.at_level(logging.INFO):
        assert list(drawn((changed, paths))) == list(OF_EVENTS)
    assert "the plan is out of date; run post_processing" in caplog.text


def test_masses_on_another_grid_do_not_fail_a_run_that_only_parses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, paths = make_run(tmp_path)
    grid = {"peak_detection_bin_width_gev": 20.0}
    other = config.post_processing_task_config.model_copy(update=grid)
    only_parsing = config.tasks.model_copy(update=without(*LATER))
    changed = config.model_copy(
        update={"post_processing_task_config": other, "tasks": only_parsing}
    )
    with caplog.at_level(logging.INFO):
        pipeline.run(changed, paths, Slice(), draws=False)
        assert [*drawn((changed, paths))] == list(OF_EVENTS)
    assert "the plan is out of date" in caplog.text


def test_histograms_of_another_configuration_are_not_drawn(of_pairs: Run) -> None:
    config, paths = of_pairs
    other = config.histogram_creation_task_config.model_copy(update={"bin_width_gev": (5.0,)})
    changed = config.model_copy(update={"histogram_creation_task_config": other})
    assert "in the histogram" not in legend(drawn((changed, paths))["largest_channels"])


def test_a_damaged_histogram_file_is_not_passed_over(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run[1].histogram_file(Sample.DATA).write_bytes(b"not ROOT")
    with pytest.raises(DataError, match="expected the histograms of a run"):
        drawn(run)


def test_a_known_resonance_has_a_line_and_its_name(demo_figures: dict[str, Figure]) -> None:
    figure = demo_figures["detected_resonances"]
    axes = figure.axes[0]
    assert axes.get_title() == "m0m1 in 0e_2m_0j_0g"
    [line] = [line for line in axes.lines if line.get_label() == "known resonance, detected"]
    assert line.get_xdata() == [91.19, 91.19]
    [name] = [text for text in axes.texts if isinstance(text, Annotation)]
    assert (name.get_text(), name.xy[0]) == ("Z", 91.19)


def test_detected_resonances_come_by_their_significance(demo_figures: dict[str, Figure]) -> None:
    shown = [
        float(axes.texts[0].get_text().splitlines()[-1].partition(" = ")[2])
        for axes in demo_figures["detected_resonances"].axes
    ]
    assert shown == sorted(shown, reverse=True)
    assert "6 of 11" in demo_figures["detected_resonances"].get_suptitle()


def test_a_resonance_that_was_not_detected_is_drawn_as_such(of_pairs: Run) -> None:
    [axes] = drawn(of_pairs)["largest_channels"].axes
    [line] = [line for line in axes.lines if line.get_label() == "known resonance, not detected"]
    assert line.get_linestyle() == ":"


def a_test(name: str) -> ResonanceTest:
    return ResonanceTest(
        name=name,
        action="veto",
        window_gev=(70.0, 110.0),
        test_window_gev=(80.0, 100.0),
        entries=1,
        background=1.0,
        significance=0.0,
        excess=0.0,
        detected=False,
        removed=False,
    )


def test_names_that_would_run_into_one_another_are_written_together() -> None:
    known = [
        masses.Resonance(91.2, a_test("Z")),
        masses.Resonance(9.5, a_test("Upsilon")),
        masses.Resonance(3.1, a_test("J/psi")),
        masses.Resonance(5000.0, a_test("beyond the end")),
    ]
    axes = Figure().subplots()
    masses._mark_resonances(axes, known, 200.0)  # noqa: SLF001
    assert [text.get_text() for text in axes.texts] == ["J/psi, Upsilon", "Z"]


@pytest.mark.parametrize("n_bins", [1, 2, 40])
def test_a_channel_of_few_bins_and_a_long_name_is_drawn_inside_its_figure(n_bins: int) -> None:
    channel = Channel.parse("10e_10m_10j_10g_10t_10b/e0e1e2e3m0m1m2m3j0j1j2j3g0g1")
    spectrum = np.full(n_bins, 1000)
    whole = decided(low_gev=0.0, last_gev=10.0 * n_bins)
    picture = masses.Picture(channel, whole, 10.0, spectrum, ())
    with style():
        figure = masses.draw_channels([picture] * 3, "heading", "about", "caption " * 60)
        figure.draw_without_rendering()
    page = figure.bbox.padded(1.0)
    for box in [axes.get_tightbbox() for axes in figure.axes]:
        assert page.contains(*box.min)
        assert page.contains(*box.max)
    assert len(figure.legends) == 1
    assert page.contains(*figure.legends[0].get_window_extent().max)
    assert "\n" in figure.axes[0].get_title()
