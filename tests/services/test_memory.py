from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
# Every second array is let go of: what remains lies between the holes.
KEEPING_EVERY_SECOND = """
import re, sys
import numpy as np
from services.memory import give_back_freed

if sys.argv[1] == "give back":
    give_back_freed()
np.ones(30_000_000, dtype=np.int8)
arrays = [np.ones(8_000_000, dtype=np.int8) for _ in range(40)]
del arrays[::2]
print(re.search(r"VmRSS:\\s+([0-9]+)", open("/proc/self/status").read())[1])
"""


def resident_bytes(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", KEEPING_EVERY_SECOND, how],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return 1024 * int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell what is resident")
def test_arrays_that_are_freed_go_back_to_the_system() -> None:
    held = 20 * 8_000_000
    assert resident_bytes("give back") < held + 100_000_000
