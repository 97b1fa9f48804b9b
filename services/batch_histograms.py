"""A job's histograms <-> batch_{i}.npz: the exact counts, which add up to those of the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from schemas.config import Config, digest
from schemas.errors import DataError
from schemas.inputs import Slice
from schemas.reports import HistogramReport, Output
from services.calculations.binning import Axis
from services.calculations.filling import Counts, Moments
from services.histogram_writing import SampleHistograms, write_main
from services.run_directory import RunDirectory
from services.storage import reports
from services.storage.atomic import appearing, require_space, storage_errors

_DAMAGE = (BadZipFile, EOFError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


def write_batch(
    config: Config, paths: RunDirectory, part: Slice, made: SampleHistograms, plan: Output
) -> HistogramReport:
    """Write what a slice counted of one sample: batch_{i}.npz, and batch_{i}.root for `hadd`.

    Raises:
        DataError: there are not as many masses as the chunks' reports say.
        StorageError: a file cannot be written.
    """
    made.check_stored()
    require_space(paths.histograms, made.nbytes)
    counts_file = paths.batch_counts(part, made.sample)
    with appearing(counts_file, part) as temporary:
        write_counts(temporary, config, made, plan)
    root_file = paths.batch_histograms(part, made.sample)
    with appearing(root_file, part) as temporary:
        write_main(temporary, config, made)
    counted = made.main.counts.values()
    return HistogramReport(
        sample=made.sample,
        channels=len(made.main.bins),
        histograms=sum(len(bins.axes) for bins in made.main.bins.values()),
        unprocessed=sum(len(bins.axes) for bins in made.unprocessed.bins.values()),
        masses_in=sum(counts.masses for counts in counted),
        entries=made.main.entries(),
        overflow=sum(counts.overflow for counts in counted),
        bytes_in=sum(output.size for output in made.inputs),
        outputs=(reports.describe(counts_file), reports.describe(root_file)),
    ).check(made.stored)


def _rows(made: SampleHistograms) -> Iterator[tuple[str, Axis, Counts, int]]:
    """Yield one row per histogram: its name here, its bins, its channel's counts, which axis."""
    for kind, filled in (("main", made.main), ("unprocessed", made.unprocessed)):
        for name in sorted(filled.bins):
            for number, axis in enumerate(filled.bins[name].axes):
                yield f"{kind} {name} {axis.label}", axis, filled.counts[name], number


def _digest_of_edges(axis: Axis) -> bytes:
    return hashlib.sha256(axis.edges.astype("<f8").tobytes()).hexdigest().encode()


def write_counts(path: Path, config: Config, made: SampleHistograms, plan: Output) -> None:
    """Write the counts without the empty bins; row i has the entries `first[i]:first[i + 1]`.

    `sums` are, per row, those of m and of m^2 in GeV over all masses in bins, and over the longest
    stretch without a veto. `masses` came in, `overflow` of them are in no bin.
    """
    about = {
        "sample": made.sample.value,
        "configuration_digest": digest(config),
        "plan": plan.model_dump(),
        "sources": sorted(made.sources),
        "stored": made.stored,
        "inputs": [output.model_dump() for output in sorted(made.inputs, key=lambda o: o.name)],
    }
    names, edges, n_bins, bins, counts, sums, totals = [], [], [], [], [], [], []
    for name, axis, of_channel, number in _rows(made):
        filled = np.flatnonzero(of_channel.of_axes[number])
        whole, stretch = of_channel.whole, of_channel.of_stretches[number]
        names.append(name.encode())
        edges.append(_digest_of_edges(axis))
        n_bins.append((axis.n_bins, len(filled)))
        bins.append(filled)
        counts.append(of_channel.of_axes[number][filled])
        sums.append((whole.sum_m, whole.sum_m2, stretch.sum_m, stretch.sum_m2))
        totals.append((of_channel.masses, of_channel.overflow))
    sizes = np.array(n_bins, dtype=np.int64).reshape(-1, 2)
    none = np.zeros(0, dtype=np.int64)
    with path.open("wb") as file:
        np.savez(
            file,
            about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
            names=np.array(names, dtype=np.bytes_),
            edges_sha256=np.array(edges, dtype=np.bytes_),
            n_bins=sizes[:, 0],
            first=np.concatenate(([0], np.cumsum(sizes[:, 1]))),
            bins=np.concatenate([none, *bins]).astype(np.int32),
            counts=np.concatenate([none, *counts]),
            sums=np.array(sums, dtype=np.float64).reshape(-1, 4),
            totals=np.array(totals, dtype=np.int64).reshape(-1, 2),
        )


def add_counts(
    total: SampleHistograms, path: Path, described: Output, config: Config, plan: Output
) -> None:
    """Add the counts of one job's file to those of the run.

    `described` is what the job's report says of the file.

    Raises:
        DataError: the file is missing or damaged, is that of another configuration, plan or
            sample, or has other bins.
        StorageError: it cannot be read.
    """
    stored = _read(path)
    about = json.loads(bytes(stored["about"]))
    for what, expected, found in (
        ("the sample", total.sample.value, about["sample"]),
        ("counts of the configuration", digest(config), about["configuration_digest"]),
        ("counts by the plan", plan.xxh128, about["plan"]["xxh128"]),
    ):
        if expected != found:
            msg = (
                f"{path}: expected {what} {expected[:16]}, found {found[:16]}; nothing was added "
                "up: remove this file, so that it is made again"
            )
            raise DataError(msg)
    rows = list(_rows(total))
    names = [name.decode() for name in stored["names"].tolist()]
    expected_names = [name for name, *_ in rows]
    if names != expected_names:
        stray = sorted({*names} ^ {*expected_names})
        _refuse_bins(path, stray[0] if stray else "another order of rows")
    for row, (name, axis, *_) in enumerate(rows):
        if (stored["n_bins"][row], stored["edges_sha256"][row]) != (
            axis.n_bins,
            _digest_of_edges(axis),
        ):
            _refuse_bins(path, name)
    if reports.describe(path) != described:
        msg = (
            f"{path}: expected the file that the job's report describes, found another one; "
            "remove it, so that it is made again"
        )
        raise DataError(msg)
    _add_rows(rows, stored)
    total.sources.update(about["sources"])
    total.inputs += [Output(**output) for output in about["inputs"]]
    total.stored += about["stored"]


def _add_rows(rows: list[tuple[str, Axis, Counts, int]], stored: dict[str, Any]) -> None:
    first = stored["first"].tolist()
    for row, (_, _, of_channel, number) in enumerate(rows):
        filled = slice(first[row], first[row + 1])
        # Each bin is there once, so that this adds to each.
        of_channel.of_axes[number][stored["bins"][filled]] += stored["counts"][filled]
        sum_m, sum_m2, of_stretch, of_stretch2 = stored["sums"][row].tolist()
        of_channel.of_stretches[number] += Moments.of_sums(of_stretch, of_stretch2)
        if number == 0:
            # What the rows of a channel have in common.
            of_channel.whole += Moments.of_sums(sum_m, sum_m2)
            masses, overflow = stored["totals"][row].tolist()
            of_channel.masses += masses
            of_channel.overflow += overflow


def _refuse_bins(path: Path, name: str) -> None:
    msg = (
        f"{path}: expected the histograms and edges of this run's plan and configuration, found "
        f"others ({name}); nothing was added up: remove this file, so that it is made again"
    )
    raise DataError(msg)


def _read(path: Path) -> dict[str, Any]:
    try:
        with (
            storage_errors(path, "read"),
            path.open("rb") as file,
            np.load(file, allow_pickle=False) as stored,
        ):
            return {name: stored[name] for name in stored.files}
    except _DAMAGE as error:
        msg = f"{path}: expected the counts of a job, found damage ({error}); make them again"
        raise DataError(msg) from error
