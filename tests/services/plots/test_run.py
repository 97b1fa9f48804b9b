"""All figures of a run: which there are, how they look, and what they leave."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from schemas.errors import StorageError
from schemas.inputs import Slice
from services import pipeline, plots, run_directory
from services.plots.style import save, style
from services.run_directory import RunDirectory
from tests.factory import make_config, run_pipeline, write_nanoaod
from tests.services.plots.drawing import (
    LATER,
    MASSES,
    OF_CHANNELS,
    OF_EVENTS,
    Run,
    drawn,
    files,
    make_run,
    named,
    pairs,
    texts,
    without,
)


def test_a_run_ends_with_its_figures(of_pairs: Run) -> None:
    assert files(of_pairs) == [
        f"{name}.{kind}"
        for name in (
            "01_stages",
            "03_events",
            "04_cut_flow",
            "05_multiplicities",
            "06_pt",
            "07_eta",
            "08_final_states",
            "09_combinations",
            "10_largest_channels",
            "13_bumpnet",
        )
        for kind in ("pdf", "png")
    ]
    state = of_pairs[1].state_file(Slice()).read_text()
    assert '"state": "COMPLETED"' in state


def test_the_demo_has_all_figures_of_one_chunk_in_reading_order(
    demo_figures: dict[str, Figure],
) -> None:
    assert list(demo_figures) == [name for name in plots.FIGURES if name != "chunks"]


def test_every_figure_names_the_run_and_says_that_its_events_are_generated(
    demo_figures: dict[str, Figure],
) -> None:
    for figure in demo_figures.values():
        assert "atlas_opendata (generated, not data)" in figure.get_suptitle()


def test_axes_are_labelled(demo_figures: dict[str, Figure]) -> None:
    for name, figure in demo_figures.items():
        for axes in figure.axes:
            if axes.get_visible() and name not in ("cut_flow", "combinations"):
                assert axes.get_xlabel()
                assert axes.get_ylabel() or axes.containers


def test_nothing_is_cut_off_and_no_part_overlaps_another(of_demo: Run) -> None:
    with style():
        for _, figure in plots.figures(*of_demo):
            figure.draw_without_rendering()
            page = figure.bbox.padded(1.0)
            shown = [axes for axes in figure.axes if axes.get_visible()]
            boxes = [axes.get_tightbbox() for axes in shown]
            boxes += [legend.get_window_extent() for legend in figure.legends]
            boxes += [text.get_window_extent() for text in figure.texts]
            for i, box in enumerate(boxes):
                assert page.contains(*box.min)
                assert page.contains(*box.max)
                assert not box.count_overlaps(boxes[i + 1 :])
            for axes in shown:
                assert_texts_have_room(axes)


def assert_texts_have_room(axes: Axes) -> None:
    """Assert that texts in axes lie in the frame and, with a point to spare, beside one another."""
    extents = [text.get_window_extent() for text in axes.texts if text.get_text()]
    for extent in extents:
        assert axes.bbox.x0 - 2.0 <= extent.x0
        assert extent.x1 <= axes.bbox.x1 + 2.0
    inner = [extent.padded(-1.5) for extent in extents]
    rows = [(label, label.get_window_extent()) for label in axes.get_yticklabels()]
    inner += [
        Bbox(box).padded(-1.5)
        for label, box in rows
        if label.get_text() and axes.bbox.y0 <= (box.y0 + box.y1) / 2.0 <= axes.bbox.y1
    ]
    for i, box in enumerate(inner):
        assert not box.count_overlaps(inner[i + 1 :])


def test_simulation_has_its_own_figures_and_is_called_so(tmp_path: Path) -> None:
    figures = drawn(make_run(tmp_path, simulation=True))
    assert [*figures] == named(OF_CHANNELS, "_mc")
    for figure in figures.values():
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
    run = config, run_pipeline(config, tmp_path / "run")
    with caplog.at_level(logging.INFO):
        names = {*drawn(run)}
    # What was read of it is drawn.
    assert names == {*OF_CHANNELS, "chunks", "multiplicities_mc", "pt_mc", "eta_mc"}
    assert "no channel of mc is drawn" in caplog.text
    assert "no final state of mc is drawn" in caplog.text


def test_collision_data_have_no_note(of_pairs: Run) -> None:
    for figure in drawn(of_pairs).values():
        assert "(" not in figure.get_suptitle()


@pytest.mark.parametrize("left_out", [LATER, LATER[1:]], ids=["masses", "plan"])
def test_without_masses_or_plan_final_states_alone_are_drawn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, left_out: Sequence[str]
) -> None:
    with caplog.at_level(logging.INFO):
        figures = drawn(make_run(tmp_path, tasks=without(*left_out)))
    assert [*figures] == list(OF_EVENTS)
    figure = figures["final_states"]
    assert "combination" not in texts(figure)
    assert figure.legends == []
    assert f"expected the slice reports of {left_out[0]}, found none" in caplog.text


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
    assert "no events are drawn: no chunk has been parsed" in caplog.text
    assert not empty.plots.exists()


def make_empty(paths: RunDirectory) -> RunDirectory:
    root = paths.root / "empty"
    folders = ("plots", "processing_input", "masses_input", "processed", "histograms", "logs")
    return replace(paths, **dict.fromkeys(folders, root))


def test_the_same_run_gives_the_same_bytes(of_pairs: Run) -> None:
    config, paths = of_pairs
    before = {name: (paths.plots / name).read_bytes() for name in files(of_pairs)}
    # Neither a user's own style nor an earlier figure may show.
    with mpl.rc_context({"font.size": 31.0, "text.color": "red"}):
        plots.run(config, paths, Slice())
    assert len(before) == 2 * len(OF_CHANNELS)
    assert {name: (paths.plots / name).read_bytes() for name in before} == before
    assert files(of_pairs) == list(before)


def test_a_figure_that_cannot_be_made_any_more_is_removed_and_nothing_else(tmp_path: Path) -> None:
    config, paths = make_run(tmp_path, tasks=without(*LATER))
    paths.plots.mkdir()
    for name in (
        "06_pt.png",
        "12_largest_local_excesses_mc.pdf",
        "10_largest_channels_of_mine.png",
    ):
        (paths.plots / name).touch()
    for report in paths.parsed_data.glob("*.json"):
        report.unlink()
    plots.run(config, paths, Slice())
    assert files((config, paths)) == [
        "01_stages.pdf",
        "01_stages.png",
        "10_largest_channels_of_mine.png",
    ]


def test_a_saved_figure_is_as_large_as_it_was_made(of_pairs: Run, tmp_path: Path) -> None:
    with style():
        figure = drawn(of_pairs)["events"]
        size = figure.get_size_inches().tolist()
        png, pdf = save(figure, tmp_path, "x", Slice())
    height, width, _ = plt.imread(png).shape
    assert (width, height) == tuple(int(110 * inches) for inches in size)
    assert pdf.read_bytes().startswith(b"%PDF")


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
