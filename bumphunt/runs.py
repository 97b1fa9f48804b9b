"""An open run: its channels, events, reports, and arrays for other tools."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from pydantic import BaseModel

from bumphunt.channels import RunChannel, channel_of
from bumphunt.stored import CHUNK_REPORTS, PARSING, RANGE_BYTES, Part, StoredRun, storage_of
from schemas import config as configuration
from schemas.config import Config
from schemas.errors import ConfigError, DataError, did_you_mean
from schemas.inputs import Sample, Slice
from schemas.particles import BY_NAME
from schemas.plan import Plan
from schemas.statistics import Statistics
from services import run_directory
from services.calculations.kinematics import order_by_pt
from services.calculations.objects import Events
from services.contents import origin_note
from services.pipeline import STAGES
from services.run_directory import events_file
from services.storage import reports
from services.storage.arrays import ArrayFolder
from services.storage.atomic import appearing, storage_errors
from services.storage.parsed import read_events

# How many near names an error offers.
_NAMED = 3


def open_run(path: Path | str) -> Run:
    """Return the run at a directory, of a single job or merged, finished or not.

    It is a snapshot: open the run again to see what has been done since.

    Raises:
        ConfigError: there is no run, or its configuration is damaged.
    """
    root = Path(path).expanduser().absolute()
    if not run_directory.is_run(root):
        msg = f"{root}: expected a run's directory (it has a config.yaml), found none; correct it"
        raise ConfigError(msg)
    config = configuration.load(root / "config.yaml")
    return Run(StoredRun(config, run_directory.layout(root, config)))


@dataclass(frozen=True)
class Run:
    """An open run.

    Of a stage that the run does not do itself, what it was told to read is taken. Collision data
    (`sample="data"`) and simulation (`sample="mc"`) are never mixed.
    """

    _stored: StoredRun = field(repr=False)

    @property
    def root(self) -> Path:
        """The run's directory."""
        return self._stored.paths.root

    @property
    def config(self) -> Config:
        """The configuration that the run was begun with."""
        return self._stored.config

    @property
    def plan(self) -> Plan | None:
        """What was decided for every channel; None where post-processing has not begun."""
        return self._stored.plan

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What there are events of: `data`, `mc`, or both."""
        found = {sample for report in self._stored.slices(PARSING) for sample in report.samples}
        return tuple(sample for sample in Sample if sample in found)

    def origin(self, sample: str = "data") -> str:
        """Return what must be said wherever such events are shown; nothing for collision data.

        Raises:
            BarrierError: parsing is not complete.
        """
        chosen = _sample(sample)
        of_sample = {r.source for r in self._stored.chunk_reports(PARSING) if r.sample is chosen}
        return origin_note(of_sample, chosen)

    def channels(self, sample: str = "data") -> tuple[RunChannel, ...]:
        """Return all channels of a sample, in the order of their names.

        Raises:
            BarrierError: the masses are not complete.
        """
        chosen = _sample(sample)
        of_plan = None if self.plan is None else self.plan.channels.get(chosen, {})
        names = self._stored.populations[chosen] if of_plan is None else of_plan
        return tuple(channel_of(self._stored, chosen, name) for name in names)

    def channel(self, name: str, sample: str = "data") -> RunChannel:
        """Return one channel, for example `2e_0m_0j_0g/e0e1`.

        Raises:
            BarrierError: the masses are not complete.
            DataError: the run has no such channel.
        """
        found = {channel.name: channel for channel in self.channels(sample)}
        if name not in found:
            close = difflib.get_close_matches(name, found, n=_NAMED)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "see channels()"
            msg = (
                f"{self.root}: expected one of its {len(found):,} channels of {sample}, "
                f"found {name!r}; {hint}"
            )
            raise DataError(msg)
        return found[name]

    def events(
        self,
        sample: str = "data",
        *,
        types: Collection[str] = tuple(BY_NAME),
        n_bytes: int = RANGE_BYTES,
    ) -> Iterator[ak.Array]:
        """Yield the selected events in ranges of about `n_bytes`, so that memory is bounded.

        Each range is an array of records, shape (n_events,): run, lumi and event, and for each of
        the `types` (`Electrons`, `Jets`, ...) its objects as four-momenta of the library vector,
        shape (n_events, var), leading first: pt and mass in GeV, float64. Events are in the order
        of the files, whatever the chunks.

        Raises:
            BarrierError: parsing is not complete.
            DataError: a file is damaged, or there is no such type.
        """
        for name in types:
            if name not in BY_NAME:
                msg = f"events: {name!r} is not a type of object{did_you_mean(name, BY_NAME)}"
                raise DataError(msg)
        folder = self._stored.folder(PARSING)
        for chunk in self._stored.chunks(PARSING, _sample(sample)):
            # Four-momenta take twice the bytes that are stored.
            for found in read_events(events_file(folder, chunk), types, max(1, n_bytes // 2)):
                yield _with_vectors(found)

    def reports(self) -> dict[str, dict[str, Any]]:
        """Return what each complete stage reports, by its name, as dictionaries.

        `slices` are the sums of each job, `chunks` (not of histograms) the reports of the chunks,
        and `merged`, of a merged run's histograms alone, what was added up.
        """
        stored, found = self._stored, dict[str, dict[str, Any]]()
        for stage in STAGES:
            if not stage.output or not stored.is_complete(stage):
                continue
            of_stage: dict[str, Any] = {"slices": _dumped(stored.slices(stage))}
            if stage.name in CHUNK_REPORTS:
                of_stage["chunks"] = _dumped(stored.chunk_reports(stage))
            elif merged := stored.merged():
                of_stage["merged"] = merged.model_dump(mode="json")
            found[stage.name] = of_stage
        return found

    def statistics(self) -> dict[str, Any]:
        """Return the sums over all jobs, by stage: what `logs/aggregated_stats.json` says.

        Raises:
            DataError: the run is not finished, or not merged.
        """
        path = self._stored.paths.aggregated_statistics
        return reports.read(path, Statistics).model_dump(mode="json")

    def export(self, folder: Path | str, part: Part = "all", sample: str = "data") -> list[Path]:
        """Write the masses of each channel to `{folder}/{final state}/{combination}.npy`.

        They are float32, shape (n,), in GeV. The folder must be absent or empty; it appears when
        everything is in it. A channel without masses of that part gets no file. Return the files.

        Raises:
            BarrierError: the stage that makes them is not complete.
            ConfigError: the folder is not empty.
            StorageError: the files cannot be written.
        """
        target = Path(folder).expanduser().absolute()
        with storage_errors(target, "read"):
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                msg = f"{target}: expected an absent or empty folder, found files; name another"
                raise ConfigError(msg)
        stage, ending = storage_of(part)
        channels = self.channels(sample)
        with (
            appearing(target, Slice(), folder=True) as temporary,
            ArrayFolder(temporary) as exported,
        ):
            for arrays in self._stored.arrays(stage, _sample(sample)):
                for name in (name for name in arrays.names if name.endswith(ending)):
                    for masses in arrays.read(name, RANGE_BYTES):
                        exported.append(name.removesuffix(ending), masses)
                        if exported.held_bytes >= RANGE_BYTES:
                            exported.flush()
            exported.flush()
            written = exported.lengths()
            for channel in channels:
                channel.check_books(part, written.get(channel.name, 0))
        return [target / f"{name}.npy" for name in sorted(written)]


def _dumped(found: Iterable[BaseModel]) -> list[dict[str, Any]]:
    return [report.model_dump(mode="json") for report in found]


def _sample(name: str) -> Sample:
    if name not in [*Sample]:
        msg = f"sample: {name!r} is neither of data and mc{did_you_mean(name, [*Sample])}"
        raise DataError(msg)
    return Sample(name)


def _with_vectors(events: Events) -> ak.Array:
    """Return events as records, their objects ranked by pt and with the behaviour of vectors."""
    import vector

    columns: dict[str, Any] = {"run": events.run, "lumi": events.lumi, "event": events.event}
    for name, objects in events.objects.items():
        order = order_by_pt(objects.offsets, objects.columns["pt"])
        flat = {q: column[order].astype(np.float64) for q, column in objects.columns.items()}
        columns[name] = ak.unflatten(vector.zip(flat), objects.counts)
    return ak.zip(columns, depth_limit=1)
