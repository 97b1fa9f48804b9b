"""The alternative that the benchmarks compare with does the same work."""

from __future__ import annotations

from pathlib import Path

from benchmarks.idiomatic import histograms, n_moved, pipeline_counts
from benchmarks.runs import FETCHING, MASSES, PARSING, new_run
from benchmarks.samples import make_sample

MIN_EVENTS = 5


def test_awkward_vector_and_hist_count_the_same_masses(tmp_path: Path) -> None:
    paths = make_sample(tmp_path / "samples", n_events=1500, n_files=2)
    run = new_run(paths, tmp_path / "run", MIN_EVENTS)
    run.seconds("wall", (FETCHING, PARSING, MASSES))
    ours = pipeline_counts(run)
    assert len(ours) > 10
    # A mass beside the edge of a bin may fall to the other side: it is stored as float32.
    assert n_moved(ours, histograms(paths, run.config)) <= 1
