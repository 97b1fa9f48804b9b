"""The block of post-processing: what is removed from each spectrum."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.config.blocks import Block, Items, PositiveGeV, bins_covering, is_multiple
from schemas.labels import CombinationPattern


def _rising(window: tuple[float, float]) -> tuple[float, float]:
    low, high = window
    if not 0 <= low < high < math.inf:
        msg = "expected [low, high] in GeV with 0 <= low < high"
        raise ValueError(msg)
    return window


WindowGeV = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_rising)]


def _names_combination(text: str) -> str:
    CombinationPattern.parse(text)
    return text


CombinationLabel = Annotated[str, AfterValidator(_names_combination)]


class KnownResonance(Block):
    """A particle whose peak would hide what lies below or beside it, and what is done about it."""

    name: str = Field(pattern=r"^\S+$")
    """What tables call it, without spaces."""
    mass_gev: PositiveGeV
    """Where its peak is, in GeV."""
    window_gev: WindowGeV
    """What its peak covers, [low, high] in GeV; widened to edges of the grid."""
    test_window_gev: WindowGeV
    """Where it is looked for; left out: window_gev. Widened to edges of the grid."""
    combinations: Items[CombinationLabel] = Field(min_length=1)
    """In which combinations, of any final state: `e0e1` is that one, `2e` any two electrons."""
    action: Literal["floor", "veto"]
    """`floor` removes everything below the window's upper edge, `veto` the window."""
    only_if_detected: bool = True
    """Act only where it is detected; false acts always."""
    min_significance: float = Field(5.0, ge=0)
    """Detected is an excess n - B of the test window of more than so many sqrt(B) ..."""
    min_excess: float = Field(0.3, ge=0)
    """... and of more than this fraction of B, the mean of the neighbouring windows."""

    @model_validator(mode="before")
    @classmethod
    def _tested_where_it_is(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("test_window_gev") is None and "window_gev" in data:
            return data | {"test_window_gev": data["window_gev"]}
        return data

    @model_validator(mode="after")
    def _around_its_mass(self) -> Self:
        for key in ("window_gev", "test_window_gev"):
            low, high = getattr(self, key)
            if not low <= self.mass_gev <= high:
                msg = (
                    f"{self.name}: mass_gev ({self.mass_gev}) is outside {key} ([{low}, {high}]); "
                    "a window must hold the peak it is meant for"
                )
                raise ValueError(msg)
        return self

    @property
    def patterns(self) -> tuple[CombinationPattern, ...]:
        """What `combinations` says."""
        return tuple(CombinationPattern.parse(label) for label in self.combinations)


# Masses: Particle Data Group 2024. A lepton pair has its turn-on where the Z is, so the Z must also
# stand out by a fraction; the Higgs boson is a small peak on a large background.
_Z = KnownResonance(
    name="Z",
    mass_gev=91.19,
    window_gev=(70.0, 110.0),
    test_window_gev=(80.0, 100.0),
    combinations=("e0e1", "m0m1"),
    action="floor",
    min_excess=0.3,
)


_H = KnownResonance(
    name="H",
    mass_gev=125.2,
    window_gev=(120.0, 130.0),
    test_window_gev=(120.0, 130.0),
    combinations=("g0g1", "e0e1e2e3", "m0m1m2m3", "e0e1m0m1"),
    action="veto",
    min_excess=0.01,
)


class PostProcessing(Block):
    """What is removed from each spectrum, and on which grid that is decided."""

    input_dir: str
    """Folder of the masses."""
    output_dir: str
    """Folder of the masses after post-processing."""
    peak_detection_bin_width_gev: PositiveGeV = 10.0
    """Bin width of the grid on which peaks and cuts are decided, in GeV."""
    max_mass_gev: PositiveGeV = 10000.0
    """End of the grid in GeV; masses from here on are overflow."""
    known_resonances: Items[KnownResonance] = (_Z, _H)
    """Known peaks that are looked for, and removed where they are found; [] is none."""
    remove_turn_on: bool = True
    """Remove everything below the peak."""
    split_outliers: bool = True
    """Split off what lies beyond the first empty bin above the peak."""

    @model_validator(mode="after")
    def _whole_grid(self) -> Self:
        if not is_multiple(self.max_mass_gev, self.peak_detection_bin_width_gev):
            msg = (
                f"max_mass_gev ({self.max_mass_gev}) is not a multiple of "
                f"peak_detection_bin_width_gev ({self.peak_detection_bin_width_gev}); the grid "
                "must end on a bin edge"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _resonances_on_grid(self) -> Self:
        width = self.peak_detection_bin_width_gev
        names = [rule.name for rule in self.known_resonances]
        for name in names:
            if names.count(name) > 1:
                msg = f"known_resonances: {name} is named twice; give each rule its own name"
                raise ValueError(msg)
        for rule in self.known_resonances:
            highest = max(rule.window_gev[1], rule.test_window_gev[1])
            if highest > self.max_mass_gev:
                msg = (
                    f"known_resonances: {rule.name}: a window ends at {highest}, beyond "
                    f"max_mass_gev ({self.max_mass_gev}); move the window or the end of the grid"
                )
                raise ValueError(msg)
            first, stop = bins_covering(rule.test_window_gev, width)
            if first == 0 and stop * width >= self.max_mass_gev:
                msg = (
                    f"known_resonances: {rule.name}: test_window_gev covers the whole grid, which "
                    "leaves nothing beside it to compare with; make it narrower"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _resonances_agree(self) -> Self:
        width = self.peak_detection_bin_width_gev
        for one, other in combinations(self.known_resonances, 2):
            (low, high), (start, stop) = (
                bins_covering(rule.window_gev, width) for rule in (one, other)
            )
            shared = [
                f"{a}" if a == b else f"{a} and {b}"
                for a in one.patterns
                for b in other.patterns
                if a.shares(b)
            ]
            if one.action != other.action and shared and low < stop and start < high:
                msg = (
                    f"known_resonances: the windows of {one.name} ({one.action}) and {other.name} "
                    f"({other.action}) overlap, on the grid of {width} GeV, in {shared[0]}; give "
                    "both the same action, or windows or combinations that do not meet"
                )
                raise ValueError(msg)
        return self
