"""Counts of masses -> ROOT files: names, copies for BumpNet, and where it all comes from."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any, Self

from schemas.config import Config, digest, is_multiple
from schemas.errors import ConfigError, DataError
from schemas.inputs import Sample, Slice
from schemas.labels import Channel, mass_histogram_name
from schemas.plan import Plan
from schemas.reports import HistogramReport, Output
from services.calculations.binning import Axis
from services.calculations.bumpnet import filled_range, judge
from services.calculations.filling import Bins, Counts, Moments, main_bins, unprocessed_bins
from services.calculations.objects import Integers
from services.contents import origin_note
from services.run_directory import RunDirectory
from services.storage import reports
from services.storage.atomic import appearing, require_space
from services.storage.histograms import LARGEST_EXACT, MassHistogram, write_histograms

log = logging.getLogger(__name__)

LICENCE = "CC0-1.0, as the open data it is made from"
_SOFTWARE = ("bumphunt-pipeline", "numpy", "awkward", "uproot")


@dataclass(frozen=True)
class Filled:
    """Histograms of one kind: their bins and what was counted, by channel."""

    bins: dict[str, Bins]
    counts: dict[str, Counts]

    @classmethod
    def empty(cls, bins: dict[str, Bins]) -> Filled:
        """Return histograms without entries."""
        return cls(bins, {name: Counts.empty(of_channel) for name, of_channel in bins.items()})

    def check(self, where: str) -> None:
        """Raise DataError unless every channel has the masses that the plan says."""
        for name, counts in self.counts.items():
            planned = self.bins[name].planned
            if counts.masses != planned:
                msg = (
                    f"{where}: the books do not balance: masses planned and read of {name}: "
                    f"{planned:,} against {counts.masses:,}"
                )
                raise DataError(msg)

    def entries(self) -> dict[str, int]:
        """Return the entries in bins, by the label of the bins."""
        total: dict[str, int] = {}
        for name, counts in self.counts.items():
            for axis, contents in zip(self.bins[name].axes, counts.of_axes, strict=True):
                total[axis.label] = total.get(axis.label, 0) + int(contents.sum())
        return total


@dataclass
class SampleHistograms:
    """Everything that is written of one sample, and what it was made from."""

    sample: Sample
    main: Filled
    unprocessed: Filled
    sources: set[str] = field(default_factory=set)
    inputs: list[Output] = field(default_factory=list)
    """The plan and the chunks that were read."""
    stored: int = 0
    """Masses that the reports of the chunks promise, over all channels."""

    def __iadd__(self, other: Self) -> Self:
        """Add what was counted of other chunks of the same sample."""
        for mine, theirs in ((self.main, other.main), (self.unprocessed, other.unprocessed)):
            for name, counts in theirs.counts.items():
                mine.counts[name] += counts
        self.sources |= other.sources
        self.inputs += other.inputs
        self.stored += other.stored
        return self

    @property
    def nbytes(self) -> int:
        """What the contents of all bins take, uncompressed."""
        return sum(
            contents.nbytes
            for filled in (self.main, self.unprocessed)
            for counts in filled.counts.values()
            for contents in counts.of_axes
        )

    def check_stored(self) -> None:
        """Raise DataError unless there are as many masses as the chunks' reports promise."""
        found = sum(counts.masses for counts in self.main.counts.values())
        if found != self.stored:
            msg = (
                f"histograms of {self.sample}: the books do not balance: masses stored and read: "
                f"{self.stored:,} against {found:,}"
            )
            raise DataError(msg)

    @property
    def remark(self) -> str:
        """What titles say of masses that are no collision data."""
        note = origin_note(self.sources, self.sample)
        return f" ({note})" if note else ""


def prepare(config: Config, plan: Plan, sample: Sample) -> SampleHistograms:
    """Return empty histograms of a sample; their edges come from plan and configuration alone."""
    histograms = config.histogram_creation_task_config
    for width in histograms.bin_width_gev if histograms.binning == "fixed" else ():
        if not is_multiple(plan.bin_width_gev, width):
            msg = (
                f"histogram_creation_task_config.bin_width_gev: {width} does not divide the bin "
                f"width of the plan that is read ({plan.bin_width_gev}); choose one that does"
            )
            raise ConfigError(msg)
    everything = (
        unprocessed_bins(plan, sample, histograms) if histograms.also_save_unprocessed else {}
    )
    return SampleHistograms(
        sample=sample,
        main=Filled.empty(main_bins(plan, sample, histograms)),
        unprocessed=Filled.empty(everything),
    )


def write_sample(
    config: Config, paths: RunDirectory, part: Slice, made: SampleHistograms
) -> HistogramReport:
    """Write the histograms of one sample to one file, or one per final state.

    Raises:
        DataError: a channel does not have the masses that the plan says.
        StorageError: a file cannot be written.
    """
    made.main.check(f"histograms of {made.sample}")
    made.unprocessed.check(f"unprocessed histograms of {made.sample}")
    require_space(paths.histograms, made.nbytes)
    histograms = config.histogram_creation_task_config
    names = sorted({*made.main.bins, *made.unprocessed.bins})
    groups: Iterable[tuple[str | None, Iterable[str]]] = [(None, names)]
    if not histograms.single_output_file:
        groups = groupby(names, key=lambda name: str(Channel.parse(name).final_state))
    writer = _Writer(config, made)
    about = _about(config, made)
    outputs = []
    for final_state, of_group in groups:
        path = paths.histogram_file(made.sample, final_state)
        with appearing(path, part) as temporary:
            content = writer.histograms(of_group)
            write_histograms(temporary, content, about, histograms.histogram_type)
        outputs.append(reports.describe(path))
    counted = made.main.counts.values()
    return HistogramReport(
        sample=made.sample,
        channels=len(made.main.bins),
        histograms=writer.n_main,
        roi_copies=writer.n_roi,
        rejected=writer.rejected,
        unprocessed=writer.n_unprocessed,
        rounded=writer.n_rounded,
        masses_in=sum(counts.masses for counts in counted),
        entries=writer.entries,
        overflow=sum(counts.overflow for counts in counted),
        bytes_in=sum(output.size for output in made.inputs),
        outputs=tuple(outputs),
    ).check(sum(bins.planned for bins in made.main.bins.values()))


def write_main(path: Path, config: Config, made: SampleHistograms) -> None:
    """Write the histograms of one sample without copies for BumpNet, which are made of sums."""
    writer = _Writer(config, made, copies=False)
    content = writer.histograms(sorted({*made.main.bins, *made.unprocessed.bins}))
    kind = config.histogram_creation_task_config.histogram_type
    write_histograms(path, content, _about(config, made), kind)


class _Writer:
    """Turns counts into named histograms, and keeps the books."""

    def __init__(self, config: Config, made: SampleHistograms, *, copies: bool = True) -> None:
        self._config = config.histogram_creation_task_config
        self._copies = copies and self._config.use_bumpnet_naming
        self._made = made
        self.n_main = 0
        self.n_roi = 0
        self.n_unprocessed = 0
        self.n_rounded = 0
        self.entries: dict[str, int] = {}
        self.rejected: dict[str, str] = {}

    def histograms(self, names: Iterable[str]) -> Iterator[MassHistogram]:
        """Yield the histograms of these channels."""
        main, unprocessed = self._made.main, self._made.unprocessed
        for name in names:
            channel = Channel.parse(name)
            if name in main.bins:
                yield from self._of_channel(channel, main.bins[name], main.counts[name])
            if name in unprocessed.bins:
                counts = unprocessed.counts[name]
                for axis, contents in zip(unprocessed.bins[name].axes, counts.of_axes, strict=True):
                    self.n_unprocessed += 1
                    yield self._histogram(channel, axis, contents, counts.whole, "raw_")

    def _of_channel(self, channel: Channel, bins: Bins, counts: Counts) -> Iterator[MassHistogram]:
        for axis, contents, stretch, of_stretch in zip(
            bins.axes, counts.of_axes, bins.stretches, counts.of_stretches, strict=True
        ):
            self.n_main += 1
            self.entries[axis.label] = self.entries.get(axis.label, 0) + int(contents.sum())
            yield self._histogram(channel, axis, contents, counts.whole)
            if not self._copies:
                continue
            first, stop = filled_range(contents, *stretch)
            reason = judge(contents[first:stop], self._config.bumpnet_acceptance).reason
            if reason is None:
                self.n_roi += 1
                # All entries of the stretch lie between its first and last filled bin.
                roi = axis.part(first, stop)
                yield self._histogram(channel, roi, contents[first:stop], of_stretch, "ROI_")
            else:
                self.rejected[self._name(channel, axis)] = reason

    def _name(self, channel: Channel, axis: Axis, prefix: str = "") -> str:
        template = self._config.name_template
        return mass_histogram_name(channel, axis.label, template=template, prefix=prefix)

    def _histogram(
        self, channel: Channel, axis: Axis, contents: Integers, moments: Moments, prefix: str = ""
    ) -> MassHistogram:
        kind = self._config.histogram_type
        self.n_rounded += bool(contents.max(initial=0) > LARGEST_EXACT[kind])
        return MassHistogram(
            name=self._name(channel, axis, prefix),
            title=f"{channel.combination} in {channel.final_state}{self._made.remark}",
            low=float(axis.edges[0]),
            high=float(axis.edges[-1]),
            counts=contents,
            sum_m=moments.sum_m,
            sum_m2=moments.sum_m2,
            edges=axis.edges if axis.width is None else None,
        )


def rounding_notes(config: Config, written: Sequence[HistogramReport]) -> tuple[str, ...]:
    """Return, in a sentence, how many histograms the ROOT class does not hold exactly."""
    rounded = sum(report.rounded for report in written)
    if not rounded:
        return ()
    kind = config.histogram_creation_task_config.histogram_type
    note = (
        f"{rounded:,} histograms have bins of more than {LARGEST_EXACT[kind]:,} entries, which "
        f"{kind} rounds; histogram_type: TH1D keeps them exact"
    )
    log.warning("histogram_creation: %s", note)
    return (note,)


def books(written: Sequence[HistogramReport]) -> dict[str, Any]:
    """Return what the histograms of all samples were made of, what was made, and what was lost."""
    return {
        "taken": {
            "channels": sum(report.channels for report in written),
            "masses": sum(report.masses_in for report in written),
        },
        "made": {
            "histograms": sum(report.histograms for report in written),
            "ROI copies": sum(report.roi_copies for report in written),
            "unprocessed": sum(report.unprocessed for report in written),
        },
        "lost": {
            "overflow": sum(report.overflow for report in written),
            "rejected for BumpNet": sum(len(report.rejected) for report in written),
        },
        "bytes_in": sum(report.bytes_in for report in written),
        "bytes_out": sum(output.size for report in written for output in report.outputs),
    }


def _about(config: Config, made: SampleHistograms) -> str:
    """Return what a file says of itself, as JSON.

    `run_digest` changes with anything that was read, `configuration_digest` with any key of the
    configuration that can change a result.
    """
    read = hashlib.sha256()
    for output in sorted(made.inputs, key=lambda output: output.name):
        read.update(f"{output.name} {output.xxh128}\n".encode())
    return json.dumps(
        {
            "content": f"invariant-mass histograms{made.remark}",
            "sources": sorted(made.sources),
            "sample": made.sample.value,
            "energies": "GeV",
            "licence": LICENCE,
            "run_digest": read.hexdigest(),
            "configuration_digest": digest(config),
            "software": software_versions(),
        },
        indent=1,
    )


def software_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that make the numbers."""
    found = {"python": platform.python_version()}
    for package in _SOFTWARE:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            # A checkout that is run without being installed.
            found[package] = "not installed"
    return found
