"""Mass histograms <-> ROOT files, as TH1 with the statistics that ROOT expects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from uproot.writing.identify import to_TAxis, to_TH1x

from schemas.errors import DataError
from services.calculations.kinematics import Floats
from services.calculations.objects import Array, Integers


@dataclass(frozen=True)
class MassHistogram:
    """Counts of unweighted masses, shape (n_bins,), in bins from `low` to `high` in GeV.

    Without `edges`, shape (n_bins + 1,), all bins have the same width. The sums run over the masses
    themselves, not over bin centres.
    """

    name: str
    title: str
    low: float
    high: float
    counts: Integers
    sum_m: float
    sum_m2: float
    edges: Floats | None = None


# ROOT's class follows from the type of the contents.
CONTENT_TYPES = {"TH1D": np.float64, "TH1F": np.float32}
# float32 has 24 bits: larger numbers of entries are rounded.
LARGEST_EXACT = {"TH1D": 2**53, "TH1F": 2**24}


def write_histograms(
    path: Path, histograms: Iterable[MassHistogram], about: str, kind: str = "TH1D"
) -> None:
    """Write a ROOT file of histograms, with a text `about` that says where they come from."""
    with uproot.recreate(path) as file:
        for histogram in histograms:
            file[histogram.name] = _to_root(histogram, kind)
        file["about"] = about


def _to_root(histogram: MassHistogram, kind: str) -> object:
    n_bins = len(histogram.counts)
    contents = np.zeros(n_bins + 2, dtype=CONTENT_TYPES[kind])
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
            fXbins=histogram.edges,
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
                edges = np.asarray(axis.member("fXbins"), dtype=np.float64)
                found[name] = MassHistogram(
                    name=name,
                    title=stored.member("fTitle"),
                    low=axis.member("fXmin"),
                    high=axis.member("fXmax"),
                    counts=np.rint(stored.values()).astype(np.int64),
                    sum_m=stored.member("fTsumwx"),
                    sum_m2=stored.member("fTsumwx2"),
                    edges=edges if len(edges) else None,
                )
    except Exception as error:
        # The library parses untrusted bytes: damage raises errors of many kinds, also its own.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        msg = f"{path}: expected the histograms of a run, found {reason}; make them again"
        raise DataError(msg) from error
    return found


def read_contents(path: Path) -> Iterator[tuple[str, Array]]:
    """Yield every one-dimensional histogram of anybody's ROOT file: key and bin contents.

    Contents, shape (n_bins,), are without underflow and overflow. Folders are looked into; of a
    key that was written several times the last one counts.

    Raises:
        DataError: the file is missing, is not ROOT, or is damaged.
    """
    if not path.is_file():
        msg = f"{path}: expected a ROOT file, found none; correct the path"
        raise DataError(msg)
    try:
        with uproot.open(path) as file:
            for key, kind in file.classnames(recursive=True, cycle=False).items():
                if _TH1.fullmatch(kind):
                    yield key, file[key].values(flow=False)
    except Exception as error:  # The library raises errors of any kind on damaged bytes.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        msg = (
            f"{path}: expected a readable ROOT file, found damage or another format "
            f"({type(error).__name__}: {reason}); give another file"
        )
        raise DataError(msg) from error


# TH1F, TH1D, ...; a TProfile is none, and TH1K is no histogram of bins.
_TH1 = re.compile(r"TH1[CSILFD]")


def first_difference(files: Iterable[Path], other: Path, without_prefix: str) -> str | None:
    """Return, in words, where some files together differ from another one; None if nowhere.

    Compared are keys, edges, contents and entries of the histograms; those of the files whose key
    has a certain prefix are left out.

    Raises:
        DataError: a file is missing, is not ROOT, or is damaged.
    """
    theirs = _open(other)
    with theirs:
        missing = {key for key, kind in _histogram_keys(theirs)}
        for path in files:
            with _open(path) as ours:
                for key, kind in _histogram_keys(ours):
                    if key.startswith(without_prefix):
                        continue
                    if key not in missing:
                        return f"{key}, which it has not"
                    missing.discard(key)
                    found = _difference(ours[key], theirs[key], kind)
                    if found:
                        return f"{key} with other {found}"
    return f"no {min(missing)}" if missing else None


def _open(path: Path) -> Any:
    try:
        return uproot.open(path)
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        msg = f"{path}: expected a ROOT file of histograms, found {reason}; make it again"
        raise DataError(msg) from error


def _histogram_keys(file: Any) -> list[tuple[str, str]]:
    return [item for item in file.classnames(cycle=False).items() if _TH1.fullmatch(item[1])]


def _difference(ours: Any, theirs: Any, kind: str) -> str | None:
    if not np.array_equal(ours.axis().edges(), theirs.axis().edges()):
        return "edges"
    if ours.member("fEntries") != theirs.member("fEntries"):
        return "entries"
    left, right = ours.values(flow=True), theirs.values(flow=True)
    # Where the class cannot hold a number exactly, the order of adding shows in the last digits.
    exact = left <= LARGEST_EXACT.get(kind, 0)
    if not np.array_equal(left[exact], right[exact]) or not np.allclose(left, right, rtol=1e-6):
        return "contents"
    return None
