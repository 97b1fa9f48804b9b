"""What `identical` means between two runs."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import uproot

from schemas.config import load
from schemas.inputs import Sample
from schemas.reports import Distributions, SliceReport
from services.calculations.spectra import Grid, Spectra, add_spectra
from services.run_directory import RunDirectory
from services.storage import reports
from services.storage.arrays import read_spectra


def histogram_contents(path: Path) -> dict[str, tuple[object, ...]]:
    """Return class, edges, contents, entries and moments per key of a ROOT file of histograms."""
    # Many runs are compared with the same one, whose histograms take long to read.
    return _contents(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _contents(path: Path, _written: int) -> dict[str, tuple[object, ...]]:
    found = {}
    with uproot.open(path) as file:
        for key, kind in file.classnames(cycle=False).items():
            if kind.startswith("TH1"):
                stored = file[key]
                moments = [stored.member(name) for name in ("fTsumw", "fTsumwx", "fTsumwx2")]
                found[key] = (
                    kind,
                    stored.axis().edges().tolist(),
                    stored.values(flow=True).tolist(),
                    stored.member("fEntries"),
                    moments,
                )
    return found


def summed_spectra(run: RunDirectory, sample: Sample) -> Spectra:
    """Return the mass spectra of a sample in the whole run, over all slices."""
    grid = Grid.of(load(run.config_file).post_processing_task_config)
    found = run.masses.glob(f"slice_*_spectra{sample.suffix}.npz")
    return add_spectra(read_spectra(path, grid) for path in sorted(found))


def summed_distributions(run: RunDirectory) -> dict[str, Distributions]:
    """Return what the objects of each source and sample look like, over all slices."""
    total: dict[str, Distributions] = {}
    for path in run.masses_input.glob("slice_*.json"):
        for source, part in reports.read(path, SliceReport).distributions.items():
            total[source] = total.get(source, Distributions()) + part
    return total


def result_files(run: RunDirectory) -> list[str]:
    """Return the names of the files of histograms, without those of single jobs."""
    names = {path.name for path in run.histograms.glob("*.root")}
    return sorted(names - {path.name for path in run.histograms.glob("batch_*.root")})


def assert_identical(one: RunDirectory, other: RunDirectory) -> None:
    """Assert that two runs gave the same plan, table, spectra and histograms."""
    for path in (one.plan_file, one.channel_table):
        twin = path.relative_to(one.root)
        assert path.read_bytes() == (other.root / twin).read_bytes(), twin
    assert summed_distributions(one) == summed_distributions(other)
    for sample in Sample:
        mine, theirs = (summed_spectra(run, sample) for run in (one, other))
        assert mine.channels == theirs.channels
        for name in ("first", "bins", "counts"):
            assert np.array_equal(getattr(mine, name), getattr(theirs, name)), (sample, name)
    files = result_files(one)
    assert files == result_files(other)
    assert files
    for name in files:
        left, right = (histogram_contents(run.histograms / name) for run in (one, other))
        assert left.keys() == right.keys()
        for key, (*exact, moments) in left.items():
            *other_exact, other_moments = right[key]
            assert exact == other_exact, key
            np.testing.assert_allclose(moments, other_moments, rtol=1e-12)
