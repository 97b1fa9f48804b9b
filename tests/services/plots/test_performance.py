"""Figures of the work: what stages, chunks and jobs took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.config import Config
from schemas.inputs import Sample
from schemas.reports import SliceReport
from services import pipeline
from services.plots import performance
from services.plots.contents import Contents
from services.plots.performance import ChunkWork, StageWork
from services.plots.style import style
from services.run_directory import RunDirectory
from tests.factory import make_config, run_pipeline, write_nanoaod
from tests.services.plots.drawing import (
    MASSES,
    OF_EVENTS,
    Run,
    bars,
    drawn,
    legend,
    pairs,
    row_names,
)


def slice_report(index: int, seconds: float, **changes: Any) -> SliceReport:
    numbers = {
        "stage": "parsing",
        "slice_index": index,
        "slice_total": 2,
        "chunks": (),
        "inputs": "",
        "content": "",
        "seconds": seconds,
        "peak_memory_bytes": index * 10**8,
        "samples": (Sample.DATA,),
        "taken": {"files": 2, "events": 300},
        "made": {"events": 200},
        "lost": {},
    }
    return SliceReport(**{**numbers, **changes})


def test_a_stage_of_two_jobs_has_its_sums() -> None:
    work = performance._work_of("parsing", [slice_report(1, 1.0), slice_report(2, 3.0)])  # noqa: SLF001
    expected = StageWork("parsing", (1.0, 3.0), {"files": 1.0, "events": 150.0}, 2 * 10**8)
    assert work == expected


def test_a_stage_that_kept_chunks_has_no_rate() -> None:
    of_slices = [slice_report(1, 1.0), slice_report(2, 1.0, kept=1)]
    assert performance._work_of("parsing", of_slices).rates == {}  # noqa: SLF001


def test_stages_are_drawn_with_seconds_rates_and_memory() -> None:
    works = [
        StageWork("fetching", (0.5,), {}, None),
        StageWork("post_processing", (1.0, 3.0), {"masses": 1234.5}, 2 * 10**8),
    ]
    with style():
        figure = performance.draw_stages(works, "run")
    in_seconds, in_rates, in_memory = figure.axes
    assert row_names(in_seconds) == ["fetching", "post processing"]
    assert bars(in_seconds, "all jobs together") == [0.5, 4.0]
    texts = [text.get_text().strip() for text in in_seconds.texts]
    assert texts == ["0.5", "4 in 2 jobs, slowest 3"]
    assert bars(in_rates, "masses") == [1234.5]
    assert [text.get_text() for text in in_rates.texts] == ["1,234"]
    assert [patch.get_width() for patch in in_memory.patches] == [200.0]
    assert legend(figure) == ["masses", "slowest job", "all jobs together"]


def test_a_run_of_one_job_has_the_stages_that_it_did(of_pairs: Run) -> None:
    works = performance.stage_works(Contents(*of_pairs))
    assert [work.name for work in works] == [
        "fetching",
        "parsing",
        "mass_calculating",
        "post_processing",
        "histogram_creation",
    ]
    assert [[*work.rates] for work in works] == [
        [],
        ["files", "events"],
        ["events", "masses"],
        ["masses"],
        ["masses", "histograms"],
    ]


def test_a_run_of_which_a_job_is_missing_is_shown_so_far(tmp_path: Path) -> None:
    for number in range(2):
        write_nanoaod(tmp_path / f"{number}.root", muons=pairs(MASSES))
    blocks = {
        "parsing_task_config": {
            "local_files": {"cms-nanoaod": [str(tmp_path / "?.root")]},
            "chunk_input_bytes": 1,
        },
        "run_metadata": {"batch_job_index": 2, "total_batch_jobs": 2},
    }
    config = make_config(blocks, tmp_path)
    figures = drawn((config, run_pipeline(config, tmp_path / "run")))
    assert [*figures] == list(OF_EVENTS)
    assert "What the stages took, so far" in figures["stages"].get_suptitle()
    assert row_names(figures["stages"].axes[0]) == ["fetching", "parsing"]
    assert bars(figures["events"].axes[0], "events read") == [len(MASSES)]


def test_what_another_run_did_is_not_counted(of_pairs: Run, tmp_path: Path) -> None:
    blocks = {
        "tasks": {"do_parsing": False},
        "mass_calculation_task_config": {"input_dir": str(of_pairs[1].parsed_data)},
    }
    config = make_config(blocks, tmp_path)
    run = config, run_pipeline(config, tmp_path / "run")
    works = performance.stage_works(Contents(*run))
    assert [work.name for work in works] == [
        "mass_calculating",
        "post_processing",
        "histogram_creation",
    ]
    assert "parsing, events read" not in performance.chunk_works(Contents(*run))
    # Its events are this run's all the same.
    assert "events" in drawn(run)


def test_every_chunk_is_a_point() -> None:
    chunks = {"parsing": [ChunkWork(100, 2.0, 10**8), ChunkWork(0, 0.1, 10**7)]}
    with style():
        figure = performance.draw_chunks(chunks, {}, "")
    in_seconds, in_memory = figure.axes
    # A logarithm has no place for nothing.
    assert in_seconds.lines[0].get_xydata().tolist() == [[100, 2.0], [1, 0.1]]
    assert in_memory.lines[0].get_xydata().tolist() == [[100, 100.0], [1, 10.0]]


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of two jobs and its merge."""
    folder = tmp_path_factory.mktemp("merged")
    for number in range(2):
        write_nanoaod(folder / f"{number}.root", muons=pairs(MASSES), first_event=100 * number)
    parsing = {"local_files": {"cms-nanoaod": [str(folder / "?.root")]}, "chunk_input_bytes": 1}

    def config_of(index: int | None) -> Config:
        metadata = {"batch_job_index": index, "total_batch_jobs": 2}
        blocks = {"parsing_task_config": parsing, "run_metadata": metadata}
        return make_config(blocks, folder)

    run_pipeline(config_of(1), folder / "run")
    paths: RunDirectory = run_pipeline(config_of(2), folder / "run")
    config = config_of(None)
    pipeline.merge_run(config, paths)
    return config, paths


def test_a_merged_run_has_all_figures_of_its_whole(merged: Run) -> None:
    names = {path.stem[3:] for path in merged[1].plots.glob("*.png")}
    assert names == {
        "stages",
        "chunks",
        "events",
        "cut_flow",
        "multiplicities",
        "pt",
        "eta",
        "final_states",
        "combinations",
        "largest_channels",
        "bumpnet",
    }
    figures = drawn(merged)
    [axes] = figures["events"].axes
    assert bars(axes, "events read") == [22]
    assert "in the histogram" in legend(figures["largest_channels"])


def test_a_merged_run_shows_its_jobs_and_the_merging(merged: Run) -> None:
    figures = drawn(merged)
    assert row_names(figures["stages"].axes[0])[-1] == "merging"
    of_jobs = figures["chunks"].axes[2]
    assert [line.get_xdata().tolist() for line in of_jobs.lines] == [[1, 2]] * 4


def test_a_merge_that_is_out_of_date_is_not_shown(merged: Run) -> None:
    contents = Contents(*merged)
    assert contents.merged is not None
    path = merged[1].merge_report
    kept = path.read_text()
    path.write_text(kept.replace(contents.merged.inputs, "0" * 64))
    try:
        assert Contents(*merged).merged is None
        assert "bumpnet" not in drawn(merged)
    finally:
        path.write_text(kept)
