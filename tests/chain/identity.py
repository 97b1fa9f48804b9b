"""What `identical` means between two runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import uproot

from services.run_directory import RunDirectory


def histogram_contents(path: Path) -> dict[str, tuple[object, ...]]:
    """Return class, edges, contents, entries and moments per key of a ROOT file of histograms."""
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


def assert_identical(one: RunDirectory, other: RunDirectory) -> None:
    """Assert that two runs gave the same plan, table, spectra and histograms."""
    for path in (one.plan_file, one.channel_table):
        twin = path.relative_to(one.root)
        assert path.read_bytes() == (other.root / twin).read_bytes(), twin
    for path in sorted(one.masses.glob("slice_*_spectra*.npz")):
        assert path.read_bytes() == (other.masses / path.name).read_bytes(), path.name
    files = sorted(path.name for path in one.histograms.glob("*.root"))
    assert files == sorted(path.name for path in other.histograms.glob("*.root"))
    assert files
    for name in files:
        left, right = (histogram_contents(run.histograms / name) for run in (one, other))
        assert left.keys() == right.keys()
        for key, (*exact, moments) in left.items():
            *other_exact, other_moments = right[key]
            assert exact == other_exact, key
            np.testing.assert_allclose(moments, other_moments, rtol=1e-12)
