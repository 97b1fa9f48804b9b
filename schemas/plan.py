"""The plan: what is decided for every channel, once for the whole run. plan.json."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from schemas.inputs import Sample
from schemas.reports import ClassCounts


class ChannelPlan(BaseModel):
    """Decisions on one channel. Edges in GeV, on the grid."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    entries: int
    """Masses before post-processing: the population of the final state."""
    peak_gev: float | None
    """Lower edge of the peak's bin; null where the channel is dropped."""
    low_gev: float
    """Main entries lie from here."""
    high_gev: float | None
    """Main entries lie below; null where no tail was split off."""
    last_gev: float
    """Upper edge of the last filled bin of the grid."""
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
