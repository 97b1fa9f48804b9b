"""Summing the spectra of very many channels; every slice has each, with 50 filled bins."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measuring import Setting, Spread, alone
from benchmarks.results import Result, Row
from schemas.config import PostProcessing
from services.calculations.spectra import Grid, Spectra, add_spectra
from services.storage.arrays import read_spectra, write_spectra

SEED = 20_120_704
FILLED_BINS = 50
CHANNELS = 300_000
SLICES = 4


def slice_of(number: int, n_channels: int) -> Spectra:
    """Return the spectra of one slice."""
    rng = np.random.default_rng([SEED, number])
    channels = tuple(f"{i // 100:04}e_4m_9j_2g/j{i % 100:02}" for i in range(n_channels))
    first_bin = rng.integers(0, 100, n_channels, dtype=np.int32)
    bins = (first_bin[:, None] + np.arange(FILLED_BINS, dtype=np.int32)).ravel()
    counts = rng.integers(1, 1000, len(bins))
    return Spectra(channels, np.arange(n_channels + 1) * FILLED_BINS, bins, counts)


def add_files(files: Sequence[Path], n_entries: int) -> None:
    """Add the spectra of all slices; they must have so many entries."""
    grid = Grid.of(PostProcessing(input_dir="", output_dir=""))
    total = add_spectra(read_spectra(file, grid) for file in files)
    assert int(total.counts.sum()) == n_entries


def measure(setting: Setting) -> Result:
    """Return seconds and memory of adding all slices of a run."""
    n_channels = setting.size(CHANNELS)
    grid = Grid.of(PostProcessing(input_dir="", output_dir=""))
    with tempfile.TemporaryDirectory(dir=setting.runs) as folder:
        files = [Path(folder) / f"{number}.npz" for number in range(SLICES)]
        n_entries = 0
        for number, file in enumerate(files):
            spectra = slice_of(number, n_channels)
            n_entries += int(spectra.counts.sum())
            write_spectra(file, spectra, grid)
        size = files[0].stat().st_size
        added = alone(add_files, files, n_entries)
    what = f"adding {SLICES} slices of {n_channels:,} channels"
    rows = (
        Row(what, Spread.of([added.seconds[setting.clock]]), "s"),
        Row(f"{what}, peak memory", Spread.of([added.peak_bytes / 1e6]), "MB"),
    )
    return Result(rows, {"bytes of a slice": size})
