"""Our sums against those of ROOT's `hadd`, where there is one."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from schemas.errors import DataError
from services.storage.histograms import first_difference

log = logging.getLogger(__name__)

COPY_PREFIX = "ROI_"


def check_with_hadd(hadd: str, parts: Sequence[Path], ours: Sequence[Path]) -> None:
    """Let `hadd` merge the jobs' ROOT files, and compare the result with our file or files.

    The copies for BumpNet are left out: they are made of the sums.

    Raises:
        DataError: `hadd` fails, or a key, edge, content or number of entries differs.
    """
    with TemporaryDirectory(prefix="hadd-") as folder:
        target = Path(folder) / "sum.root"
        done = subprocess.run(
            [hadd, "-f", str(target), *map(str, parts)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
            msg = (
                f"{hadd}: expected it to merge {len(parts)} files of {parts[0].parent}, it ended "
                f"with exit code {done.returncode}: {last[0]}; mend it, or take it off PATH to "
                "merge without its check"
            )
            raise DataError(msg)
        difference = first_difference(ours, target, COPY_PREFIX)
    if difference:
        msg = (
            f"{ours[0]}: expected the sums that {hadd} makes of the same {len(parts)} files, found "
            f"{difference}; the merged file was removed"
        )
        raise DataError(msg)
    log.info("merging: %s makes the same sums of %d files", hadd, len(parts))
