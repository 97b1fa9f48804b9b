"""The plan: what is decided for every channel, once for the whole run. plan.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from schemas.inputs import Sample
from schemas.reports import ClassCounts


class ResonanceTest(BaseModel):
    """One known resonance in one channel. Windows in GeV, on the grid."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    action: Literal["floor", "veto"]
    window_gev: tuple[float, float]
    """What is removed, or below whose upper edge everything is."""
    test_window_gev: tuple[float, float]
    """Where it was looked for."""
    entries: int
    """Masses in the test window."""
    background: float
    """Masses expected there without a peak, from the neighbouring windows; at least 1."""
    significance: float
    """(entries - background) / sqrt(background)."""
    excess: float
    """(entries - background) / background."""
    detected: bool
    """Whether both are large enough."""
    removed: bool
    """Whether it was acted on; false is left in."""


class ChannelPlan(BaseModel):
    """Decisions on one channel. Edges in GeV, on the grid."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    population: int
    """Masses before post-processing: the events of the final state."""
    resonances: tuple[ResonanceTest, ...] = ()
    """The known resonances that were looked for, in the order of the rules."""
    floor_gev: float | None = None
    """Everything below is removed, because of a resonance; null where nothing is."""
    vetoes_gev: tuple[tuple[float, float], ...] = ()
    """Windows that are removed, rising; they do not touch one another."""
    peak_gev: float | None
    """Lower edge of the peak's bin; null where the channel is dropped."""
    low_gev: float
    """The turn-on edge: main entries lie from here."""
    high_gev: float | None
    """The outlier edge: main entries lie below; null where no tail was split off."""
    last_gev: float
    """Upper edge of the last bin of the grid that has main entries or a tail."""
    classes: ClassCounts
    """Entries per class."""
    dropped: str | None
    """Why the channel has no main entries; null for a kept one."""

    @property
    def end_gev(self) -> float:
        """Where the main range ends: the cut, or the last filled bin."""
        return self.last_gev if self.high_gev is None else self.high_gev


class Plan(BaseModel):
    """The decisions on all channels. It holds no time and no host: same sums, same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    bin_width_gev: float
    """Bin width of the grid."""
    max_mass_gev: float
    """End of the grid."""
    channels: dict[Sample, dict[str, ChannelPlan]]
    """Per sample, the channels in the order of their names."""

    def kept(self, sample: Sample) -> dict[str, ChannelPlan]:
        """Return the channels of a sample that have main entries."""
        of_sample = self.channels.get(sample, {})
        return {name: plan for name, plan in of_sample.items() if plan.dropped is None}
