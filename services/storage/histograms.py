"""Mass histograms <-> ROOT files, as TH1D with the statistics that ROOT expects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uproot
from uproot.writing.identify import to_TAxis, to_TH1x

from schemas.errors import DataError
from services.calculations.objects import Integers


@dataclass(frozen=True)
class MassHistogram:
    """Counts of unweighted masses in bins of one width.

    `counts` has the shape (n_bins,); bin i is `low + i * width` to `low + (i + 1) * width` in GeV.
    The sums run over the masses themselves, not over bin centres.
    """

    name: str
    title: str
    low: float
    high: float
    counts: Integers
    sum_m: float
    sum_m2: float


def write_histograms(path: Path, histograms: Iterable[MassHistogram], about: str) -> None:
    """Write a ROOT file of histograms, with a text `about` that says where they come from."""
    with uproot.recreate(path) as file:
        for histogram in histograms:
            file[histogram.name] = _to_root(histogram)
        file["about"] = about


def _to_root(histogram: MassHistogram) -> object:
    n_bins = len(histogram.counts)
    contents = np.zeros(n_bins + 2)
    contents[1:-1] = histogram.counts
    entries = float(histogram.counts.sum())
    return to_TH1x(
        fName=None,
        fTitle=histogram.title,
        data=contents,
        fEntries=entries,
        fTsumw=entries,
        # Unweighted: the sum of squared weights is the number of entries, and no Sumw2 is stored.
        fTsumw2=entries,
        fTsumwx=histogram.sum_m,
        fTsumwx2=histogram.sum_m2,
        fSumw2=None,
        fXaxis=to_TAxis(
            fName="xaxis",
            fTitle="m [GeV]",
            fNbins=n_bins,
            fXmin=histogram.low,
            fXmax=histogram.high,
        ),
    )


def read_histograms(path: Path, names: Iterable[str]) -> dict[str, MassHistogram]:
    """Read histograms by name.

    Raises:
        DataError: the file is missing or damaged, or has no such histogram.
    """
    found = {}
    try:
        with uproot.open(path) as file:
            for name in names:
                stored = file[name]
                axis = stored.member("fXaxis")
                found[name] = MassHistogram(
                    name=name,
                    title=stored.member("fTitle"),
                    low=axis.member("fXmin"),
                    high=axis.member("fXmax"),
                    counts=np.rint(stored.values()).astype(np.int64),
                    sum_m=stored.member("fTsumwx"),
                    sum_m2=stored.member("fTsumwx2"),
                )
    except Exception as error:
        # The library parses untrusted bytes: damage raises errors of many kinds, also its own.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        msg = f"{path}: expected the histograms of a run, found {reason}; make them again"
        raise DataError(msg) from error
    return found
