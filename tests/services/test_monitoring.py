from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from services.monitoring import peak_memory_bytes

CHECKOUT = Path(__file__).parents[2]
BYTES = 200_000_000


def test_the_peak_stays_when_the_memory_is_given_back() -> None:
    held = np.ones(BYTES, dtype=np.int8)
    del held
    assert peak_memory_bytes() > BYTES


def test_the_peak_of_a_process_is_not_that_of_the_one_that_started_it() -> None:
    held = np.ones(BYTES, dtype=np.int8)
    code = "from services.monitoring import peak_memory_bytes; print(peak_memory_bytes())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert 0 < int(done.stdout) < len(held)
