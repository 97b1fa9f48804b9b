"""One channel of an open run: what was decided of it, its masses and its spectra."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from bumphunt.stored import RANGE_BYTES, Part, StoredRun, storage_of
from schemas.config import Config, is_multiple
from schemas.errors import ConfigError, DataError
from schemas.inputs import Sample
from schemas.labels import Channel, Combination, FinalState, mass_histogram_name
from schemas.plan import ChannelPlan, ResonanceTest
from services.calculations.binning import RESOLUTION_LABEL, Axis, axes, fixed_axis
from services.calculations.filling import Bins, Counts

if TYPE_CHECKING:
    import hist


@dataclass(frozen=True)
class RunChannel:
    """One combination in one final state of an open run. `str()` of it is its name."""

    name: str
    """For example `2e_0m_0j_0g/e0e1`."""
    sample: Sample
    population: int
    """Masses before post-processing: the events of the final state."""
    plan: ChannelPlan | None = field(repr=False)
    """What post-processing decided: edges in GeV, entries per class; None before it."""
    rejected: dict[str, str] | None
    """Why BumpNet does not take the histogram, by bin width; None where that is not known."""
    _stored: StoredRun = field(repr=False, compare=False)

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    @property
    def final_state(self) -> FinalState:
        """The multiplicities."""
        return Channel.parse(self.name).final_state

    @property
    def combination(self) -> Combination:
        """The objects whose mass this is."""
        return Channel.parse(self.name).combination

    @property
    def dropped(self) -> str | None:
        """Why it has no main part; None of a channel that has one."""
        return None if self.plan is None else self.plan.dropped

    @property
    def resonances(self) -> tuple[ResonanceTest, ...]:
        """The known resonances that were looked for, with what was found and done."""
        return () if self.plan is None else self.plan.resonances

    @property
    def accepted(self) -> bool | None:
        """Whether BumpNet takes a histogram, of any bin width; None where that is not known."""
        if self.rejected is None:
            return None
        return any(width not in self.rejected for width in _widths(self._stored.config))

    def masses(self, part: Part = "all") -> npt.NDArray[np.float32]:
        """Return the masses in GeV, shape (n,), in the order of the events.

        `all` is what was computed, `main` and `outliers` what post-processing made of it; what it
        removed is in neither. It is one array, whatever the chunks and jobs.

        Raises:
            BarrierError: the stage that makes them is not complete.
            DataError: a file is damaged.
        """
        pieces = [np.zeros(0, dtype=np.float32), *self._pieces(part)]
        return np.concatenate(pieces)

    def spectrum(
        self, part: Literal["all", "main"] = "main", bin_width_gev: float | None = None
    ) -> hist.Hist[Any]:
        """Return the histogram of the masses: axis `mass`, in GeV, and whole numbers of entries.

        Bins are those of the run's first histogram, or of the width that is asked for. `main`
        covers the main part, `all` the whole grid from 0; masses beyond the grid are overflow.

        Raises:
            BarrierError: the stage that makes the masses is not complete.
            ConfigError: the width does not divide that of the grid.
            DataError: the channel has no main part, or a file is damaged.
        """
        import hist

        axis, grid = self._axis(part, bin_width_gev), self._stored.grid
        bins = Bins((axis,), ((0, axis.n_bins),), planned=self.population)
        counts = Counts.empty(bins)
        for masses in self._pieces(part):
            counts.fill(masses, bins, grid)
        # Equal steps from the first edge would not meet the others in their last digit.
        drawn = hist.axis.Variable(axis.edges, name="mass", label="m [GeV]")
        filled = hist.Hist(drawn, storage=hist.storage.Int64(), name=self.name, label="entries")
        filled.view(flow=True)[1:] = [*counts.of_axes[0], counts.overflow]
        return filled

    def check_books(self, part: Part, n_read: int) -> None:
        """Raise DataError unless there are as many masses as the plan, or the spectra, say."""
        n_expected = self.population
        if part != "all" and self.plan is not None:
            classes = self.plan.classes
            n_expected = classes.main if part == "main" else classes.outliers
        if n_read != n_expected:
            folder = self._stored.folder(storage_of(part)[0])
            msg = (
                f"{folder}: expected {n_expected:,} masses ({part}) of {self.name}, found "
                f"{n_read:,}: the run was changed and is not finished; continue it, then open it "
                "again"
            )
            raise DataError(msg)

    def _pieces(self, part: Part) -> Iterator[npt.NDArray[np.float32]]:
        stage, ending = storage_of(part)
        n_read = 0
        for arrays in self._stored.arrays(stage, self.sample):
            for masses in arrays.read(f"{self.name}{ending}", RANGE_BYTES):
                n_read += len(masses)
                yield masses
        self.check_books(part, n_read)

    def _axis(self, part: str, bin_width_gev: float | None) -> Axis:
        grid, plan = self._stored.grid, self.plan
        end_gev = grid.width * grid.n_bins
        within = (0.0, end_gev)
        if part == "main":
            if plan is None or plan.dropped is not None:
                why = (
                    "post-processing has not begun" if plan is None else f"dropped, {plan.dropped}"
                )
                msg = (
                    f"{self._stored.paths.root}: {self.name} has no main part ({why}); take "
                    "spectrum('all')"
                )
                raise DataError(msg)
            within = (plan.low_gev, plan.end_gev)
        if bin_width_gev is None:
            histograms = self._stored.config.histogram_creation_task_config
            return axes(self.combination, histograms, end_gev, within)[0]
        if bin_width_gev <= 0 or not is_multiple(grid.width, bin_width_gev):
            msg = (
                f"spectrum: expected a bin width that divides the grid's ({grid.width} GeV), found "
                f"{bin_width_gev}; choose one that does"
            )
            raise ConfigError(msg)
        return fixed_axis(bin_width_gev, *within)


def channel_of(stored: StoredRun, sample: Sample, name: str) -> RunChannel:
    """Return a channel that the run has."""
    plan = None if stored.plan is None else stored.plan.channels[sample][name]
    population = stored.populations[sample][name] if plan is None else plan.population
    return RunChannel(name, sample, population, plan, _rejected(stored, sample, name, plan), stored)


def _rejected(
    stored: StoredRun, sample: Sample, name: str, plan: ChannelPlan | None
) -> dict[str, str] | None:
    histograms = stored.config.histogram_creation_task_config
    verdicts = stored.verdicts.get(sample)
    if verdicts is None or plan is None or not histograms.use_bumpnet_naming:
        return None
    widths = _widths(stored.config)
    if plan.dropped is not None:
        return dict.fromkeys(widths, f"dropped: {plan.dropped}")
    channel, template = Channel.parse(name), histograms.name_template
    names = {width: mass_histogram_name(channel, width, template=template) for width in widths}
    return {w: verdicts.rejected[n] for w, n in names.items() if n in verdicts.rejected}


def _widths(config: Config) -> tuple[str, ...]:
    """Return what the names of histograms say of their bins."""
    histograms = config.histogram_creation_task_config
    if histograms.binning == "fixed":
        return tuple(str(width) for width in histograms.bin_width_gev)
    return (RESOLUTION_LABEL,)
