"""Figures of a run: which there are, and what they show."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Annotation, Text

from schemas import config as configuration
from schemas.config import Config
from schemas.errors import DataError, StorageError
from schemas.inputs import Sample, Slice
from schemas.plan import ChannelPlan
from schemas.reports import ClassCounts
from services import pipeline, plots, run_directory
from services.calculations.spectra import CLASSES, Grid
from services.catalogs import demo
from services.run_directory import RunDirectory
from services.storage.histograms import MassHistogram
from tests.factory import make_config, run_pipeline, write_nanoaod

SHIPPED = Path(__file__).parents[2] / "config.yaml"

Run = tuple[Config, RunDirectory]

# On a grid of 10 GeV: turn-on below 60, main part 60-90, nothing in 90-100, one outlier.
MASSES = [55.0, *[65.0] * 4, *[75.0] * 3, *[85.0] * 2, 105.0]


def pairs(masses: Sequence[float]) -> list[list[tuple[float, ...]]]:
    """Return two muons back to back per event: pt of half the mass each."""
    return [[(mass / 2, 0.0, 0.0), (mass / 2, 0.0, np.pi)] for mass in masses]


def make_run(
    folder: Path,
    masses: Sequence[float] = MASSES,
    *,
    simulation: bool = False,
    draws: bool = False,
    **blocks: Any,
) -> Run:
    file = write_nanoaod(folder / "pairs.root", simulation=simulation, muons=pairs(masses))
    blocks["parsing_task_config"] = {"local_files": {"cms-nanoaod": [str(file)]}}
    config = make_config(blocks, folder)
    return config, run_pipeline(config, folder / "run", draws=draws)


def drawn(run: Run) -> dict[str, Figure]:
    return dict(plots.figures(*run))


def files(run: Run) -> list[str]:
    return sorted(path.name for path in run[1].plots.glob("*.p*"))


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def steps(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    """Return contents and edges of a spectrum."""
    [patch] = [p for p in axes.patches if isinstance(p, StepPatch) and p.get_label() == label]
    return patch.get_data().values.tolist(), patch.get_data().edges.tolist()


def both(*names: str) -> list[str]:
    return sorted(f"{name}.{kind}" for name in names for kind in ("pdf", "png"))


@pytest.fixture(scope="module")
def of_demo(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of the shipped configuration."""
    alone = {"parallel_processes": 1}
    config = configuration.load(
        SHIPPED, {"parsing_task_config": alone, "mass_calculation_task_config": alone}
    )
    return config, run_pipeline(config, tmp_path_factory.mktemp("demo") / "run", draws=True)


@pytest.fixture(scope="module")
def demo_figures(of_demo: Run) -> dict[str, Figure]:
    return drawn(of_demo)


@pytest.fixture(scope="module")
def of_pairs(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("pairs"))


def test_a_run_ends_with_its_figures(of_demo: Run) -> None:
    names = ("01_largest_channels", "02_largest_local_excesses", "03_final_states")
    assert files(of_demo) == both(*names)
    state = of_demo[1].state_file(Slice()).read_text()
    assert '"state": "COMPLETED"' in state


def test_every_figure_of_generated_events_says_so(demo_figures: dict[str, Figure]) -> None:
    assert len(demo_figures) == 3
    for figure in demo_figures.values():
        assert "generated, not data" in figure.get_suptitle()


def test_the_hidden_resonance_is_the_largest_excess(demo_figures: dict[str, Figure]) -> None:
    axes = demo_figures["02_largest_local_excesses"].axes[0]
    assert axes.get_title() == f"{demo.RESONANCE_COMBINATION} in {demo.RESONANCE_FINAL_STATE}"
    [mark] = [text for text in axes.texts if isinstance(text, Annotation)]
    assert mark.xy[0] == pytest.approx(demo.RESONANCE_MASS_GEV, abs=demo.RESONANCE_SIGMA_GEV)


def test_excesses_are_called_a_guide_to_the_eye(demo_figures: dict[str, Figure]) -> None:
    caption = demo_figures["02_largest_local_excesses"].legends[0].get_title().get_text()
    assert "A guide to the eye and no discovery statistics" in caption
    assert "look-elsewhere effect" in caption


def test_largest_channels_come_first_with_their_entries(demo_figures: dict[str, Figure]) -> None:
    entries = []
    for axes in demo_figures["01_largest_channels"].axes:
        first_line = axes.texts[0].get_text().splitlines()[0]
        entries.append(int(first_line.removesuffix(" masses").replace(",", "")))
    assert len(entries) == 6
    assert entries == sorted(entries, reverse=True)


def test_nothing_is_cut_off_and_no_part_overlaps_another(of_demo: Run) -> None:
    with plots._style():  # noqa: SLF001 - fonts and sizes are what is tested
        for _, figure in plots.figures(*of_demo):
            figure.draw_without_rendering()
            page = figure.bbox.padded(1.0)
            boxes = [axes.get_tightbbox() for axes in figure.axes]
            boxes += [legend.get_window_extent() for legend in figure.legends]
            [heading] = [t for t in figure.texts if t.get_text() == figure.get_suptitle()]
            boxes.append(heading.get_window_extent())
            for i, box in enumerate(boxes):
                assert page.contains(*box.min)
                assert page.contains(*box.max)
                assert not box.count_overlaps(boxes[i + 1 :])


def test_spectrum_and_histogram_are_drawn_on_the_grid(of_pairs: Run) -> None:
    [axes] = drawn(of_pairs)["01_largest_channels"].axes
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
    [axes] = drawn(run)["01_largest_channels"].axes
    assert steps(axes, "in the histogram") == ([4, 3, 2], [60, 70, 80, 90])


def test_what_the_histogram_holds_is_shown_even_if_it_is_more_than_the_main_part(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path, histogram_creation_task_config={"exclude_outliers": False})
    [axes] = drawn(run)["01_largest_channels"].axes
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
    assert list(plots.regions(decided(**edges), Grid(10.0, 1000), 11)) == expected


def test_every_class_but_main_and_overflow_has_a_look() -> None:
    assert {"main", "overflow", *plots.LOOKS} == set(CLASSES)


def test_a_resonance_that_is_removed_is_shaded(demo_figures: dict[str, Figure]) -> None:
    figure = demo_figures["01_largest_channels"]
    assert "resonance and below: removed" in legend(figure)
    [axes] = [axes for axes in figure.axes if axes.get_title() == "m0m1 in 0e_2m_0j_0g"]
    contents, edges = steps(axes, "in the histogram")
    # The Z is cut at 110 GeV, and what follows falls.
    assert edges[0] == 110
    assert contents[0] == max(contents)


def test_bins_of_growing_width_are_shown_per_bin_of_the_grid() -> None:
    edges = np.array([0.0, 5.0, 25.0, 75.0])
    histogram = MassHistogram("h", "", 0.0, 75.0, np.array([3, 8, 10]), 0.0, 0.0, edges)
    shown, per_bin = plots.per_width(histogram, 10.0)
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
    assert "in the histogram" in legend(drawn(run)["01_largest_channels"])


def test_the_legend_names_what_is_drawn_once(of_pairs: Run) -> None:
    expected = ["in the histogram", "all masses", "turn-on: removed", "outliers: split off"]
    assert legend(drawn(of_pairs)["01_largest_channels"]) == expected


def test_overflow_is_counted_beside_the_spectrum(tmp_path: Path) -> None:
    [axes] = drawn(make_run(tmp_path, [*MASSES, 10000.5, 12000.0]))["01_largest_channels"].axes
    assert axes.texts[0].get_text() == "13 masses\n2 overflow"


def test_simulation_has_its_own_figures_and_is_called_so(tmp_path: Path) -> None:
    run = make_run(tmp_path, simulation=True, draws=True)
    assert files(run) == both("01_largest_channels_mc", "03_final_states_mc")
    for figure in drawn(run).values():
        assert "simulation, unweighted" in figure.get_suptitle()


def test_a_sample_of_which_nothing_is_left_has_no_figure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_nanoaod(tmp_path / "data.root", muons=pairs(MASSES))
    # One muon where two are asked for.
    simulated = write_nanoaod(tmp_path / "mc.root", simulation=True, muons=[[(50.0, 0.0, 0.0)]])
    parsing = {
        "local_files": {"cms-nanoaod": [str(data), str(simulated)]},
        "particle_counts": {"muons": {"min": 2}},
    }
    config = make_config({"parsing_task_config": parsing}, tmp_path)
    with caplog.at_level(logging.INFO):
        paths = run_pipeline(config, tmp_path / "run", draws=True)
    assert files((config, paths)) == both("01_largest_channels", "03_final_states")
    assert "no channel of mc is drawn" in caplog.text
    assert "no final state of mc is drawn" in caplog.text


def test_collision_data_have_no_note(of_pairs: Run) -> None:
    for figure in drawn(of_pairs).values():
        assert "(" not in figure.get_suptitle()


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
        run = make_run(tmp_path, masses, draws=True)
    assert files(run) == both("01_largest_channels", "03_final_states")
    assert "no excess of data is drawn" in caplog.text


def test_final_states_are_ranked_with_their_combinations(demo_figures: dict[str, Figure]) -> None:
    [axes] = demo_figures["03_final_states"].axes
    widths = [patch.get_width() for patch in axes.patches]
    assert len(widths) == 25
    assert widths == sorted(widths, reverse=True)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    shown = dict(zip(labels, [text.get_text() for text in axes.texts], strict=True))
    # One combination of two objects, three of three (two pairs and all), none of one.
    assert shown["0e_0m_1j_1g"].endswith(" · 1 combination")
    assert shown["2e_0m_1j_0g"].endswith(" · 3 combinations")
    assert shown["0e_0m_1j_0g"].endswith(" · 0 combinations")


LATER = ("mass_calculating", "post_processing", "histogram_creation")


def without(*tasks: str) -> dict[str, bool]:
    return {f"do_{task}": False for task in tasks}


@pytest.mark.parametrize("left_out", [LATER, LATER[1:]], ids=["masses", "plan"])
def test_without_masses_or_plan_final_states_alone_are_drawn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, left_out: Sequence[str]
) -> None:
    with caplog.at_level(logging.INFO):
        run = make_run(tmp_path, draws=True, tasks=without(*left_out))
    assert files(run) == both("03_final_states")
    figure = drawn(run)["03_final_states"]
    assert "combination" not in texts(figure)
    assert figure.legends == []
    assert f"nothing is drawn of {left_out[0]}: " in caplog.text


def test_without_histograms_the_spectrum_and_its_cuts_are_drawn(tmp_path: Path) -> None:
    run = make_run(tmp_path, tasks=without("histogram_creation"))
    figure = drawn(run)["01_largest_channels"]
    assert legend(figure) == ["all masses", "turn-on: removed", "outliers: split off"]


def test_a_plan_of_another_configuration_is_not_drawn(
    of_pairs: Run, caplog: pytest.LogCaptureFixture
) -> None:
    config, paths = of_pairs
    other = config.post_processing_task_config.model_copy(update={"remove_turn_on": False})
    changed = config.model_copy(update={"post_processing_task_config": other})
    with caplog.at_level(logging.INFO):
        assert list(drawn((changed, paths))) == ["03_final_states"]
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
        pipeline.run(changed, paths, Slice())
    assert files((changed, paths)) == both("03_final_states")
    assert "the plan is out of date" in caplog.text


def test_histograms_of_another_configuration_are_not_drawn(of_pairs: Run) -> None:
    config, paths = of_pairs
    other = config.histogram_creation_task_config.model_copy(update={"bin_width_gev": (5.0,)})
    changed = config.model_copy(update={"histogram_creation_task_config": other})
    assert "in the histogram" not in legend(drawn((changed, paths))["01_largest_channels"])


def test_a_job_of_several_leaves_the_figures_to_the_whole(tmp_path: Path) -> None:
    file = write_nanoaod(tmp_path / "pairs.root", muons=pairs(MASSES))
    blocks = {
        "parsing_task_config": {"local_files": {"cms-nanoaod": [str(file)]}},
        "run_metadata": {"batch_job_index": 1, "total_batch_jobs": 2},
    }
    paths = run_pipeline(make_config(blocks, tmp_path), tmp_path / "run", draws=True)
    assert not paths.plots.exists()


def test_an_empty_run_has_no_figures(of_pairs: Run, caplog: pytest.LogCaptureFixture) -> None:
    config, paths = of_pairs
    empty = make_empty(paths)
    with caplog.at_level(logging.INFO):
        assert plots.run(config, empty, Slice()) == ()
    assert "nothing is drawn of parsing: " in caplog.text
    assert not empty.plots.exists()


def make_empty(paths: RunDirectory) -> RunDirectory:
    root = paths.root / "empty"
    return replace(paths, plots=root / "plots", processing_input=root, masses_input=root)


def test_the_same_run_gives_the_same_bytes(of_demo: Run) -> None:
    config, paths = of_demo
    before = {path.name: path.read_bytes() for path in paths.plots.iterdir()}
    # Neither a user's own style nor an earlier figure may show.
    with mpl.rc_context({"font.size": 31.0, "text.color": "red"}):
        plots.run(config, paths, Slice())
    assert {path.name: path.read_bytes() for path in paths.plots.iterdir()} == before


def test_nothing_of_matplotlib_is_left_changed(of_pairs: Run) -> None:
    with mpl.rc_context({"font.size": 31.0}):
        before = dict(mpl.rcParams)
        plots.run(*of_pairs, Slice())
        assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []


def test_figures_that_cannot_be_written_fail_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = write_nanoaod(tmp_path / "pairs.root", muons=pairs(MASSES))
    blocks = {"parsing_task_config": {"local_files": {"cms-nanoaod": [str(file)]}}}
    config = make_config(blocks, tmp_path)
    paths = run_directory.open_run(config, tmp_path / "run", datetime.now(UTC))
    with pytest.raises(StorageError, match="cannot be written"):
        pipeline.run(config, replace(paths, plots=tmp_path / "file"), Slice())
    assert '"state": "FAILED"' in paths.state_file(Slice()).read_text()


def test_a_damaged_histogram_file_is_not_passed_over(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run[1].histogram_file(Sample.DATA).write_bytes(b"not ROOT")
    with pytest.raises(DataError, match="expected the histograms of a run"):
        drawn(run)
