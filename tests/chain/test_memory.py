"""What a worker holds is bounded by the configuration, not by the input."""

from __future__ import annotations

import pytest

from benchmarks.measuring import Setting
from benchmarks.memory import MEASURED, OneSize, measure_size
from benchmarks.samples import make_sample

THRESHOLD_BYTES = 1_000_000
# Even the smaller sample fills what may be held many times over, and even its files do.
FEW_EVENTS = 50_000
N_FILES = 2
EVENTS_PER_BASKET = 5000
MOST_GROWTH = 1.1


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> tuple[OneSize, OneSize]:
    """Make the stages of two runs of one chunk, each stage in a process of its own."""
    folder = tmp_path_factory.mktemp("memory")
    setting = Setting(folder / "samples", folder)
    few, many = (
        measure_size(
            setting, make_sample(folder, n, N_FILES, EVENTS_PER_BASKET), n, THRESHOLD_BYTES
        )
        for n in (FEW_EVENTS, 10 * FEW_EVENTS)
    )
    return few, many


@pytest.mark.slow
@pytest.mark.parametrize("stage", MEASURED)
def test_ten_times_the_input_needs_no_more_memory(
    sizes: tuple[OneSize, OneSize], stage: str
) -> None:
    few, many = (size.peak_bytes[stage] for size in sizes)
    assert many < MOST_GROWTH * few
