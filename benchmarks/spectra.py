"""Sum the spectra of very many channels: seconds, memory and size on disk.

    python benchmarks/spectra.py [CHANNELS] [SLICES]

Every slice has every channel, each with 50 filled bins.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from schemas.config import PostProcessing
from services.calculations.spectra import Grid, Spectra, add_spectra
from services.monitoring import peak_memory_bytes
from services.storage.arrays import read_spectra, write_spectra

SEED = 20_120_704
FILLED_BINS = 50


def slice_of(number: int, n_channels: int) -> Spectra:
    """Return the spectra of one slice."""
    rng = np.random.default_rng([SEED, number])
    channels = tuple(f"{i // 100:04}e_4m_9j_2g/j{i % 100:02}" for i in range(n_channels))
    first_bin = rng.integers(0, 100, n_channels, dtype=np.int32)
    bins = (first_bin[:, None] + np.arange(FILLED_BINS, dtype=np.int32)).ravel()
    counts = rng.integers(1, 1000, len(bins))
    return Spectra(channels, np.arange(n_channels + 1) * FILLED_BINS, bins, counts)


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("channels", nargs="?", type=int, default=300_000)
    parser.add_argument("slices", nargs="?", type=int, default=4)
    options = parser.parse_args(arguments)
    grid = Grid.of(PostProcessing(input_dir="", output_dir=""))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.npz" for number in range(options.slices)]
        entries = 0
        for number, file in enumerate(files):
            spectra = slice_of(number, options.channels)
            entries += int(spectra.counts.sum())
            write_spectra(file, spectra, grid)
        del spectra
        size = files[0].stat().st_size
        before = peak_memory_bytes()
        started = time.perf_counter()
        total = add_spectra(read_spectra(file, grid) for file in files)
        seconds = time.perf_counter() - started
    assert int(total.counts.sum()) == entries
    print(
        f"{options.channels:,} channels in {options.slices} slices of {size / 1e6:,.0f} MB: "
        f"{seconds:.1f} s, {peak_memory_bytes() / 1e6:,.0f} MB ({before / 1e6:,.0f} MB before)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
