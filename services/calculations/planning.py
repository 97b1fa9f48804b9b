"""The plan: summed spectra and the configuration -> what becomes of every channel."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from schemas.config import KnownResonance, PostProcessing
from schemas.inputs import Sample
from schemas.labels import Channel, Combination
from schemas.plan import ChannelPlan, Plan, ResonanceTest
from services.calculations.objects import Integers
from services.calculations.resonances import look_for, removal, rules_for
from services.calculations.spectra import Cuts, Grid, Spectra, by_name, decide_cuts


def make_plan(
    processing: PostProcessing, spectra: Mapping[Sample, Spectra]
) -> tuple[dict[Sample, dict[str, Cuts]], Plan]:
    """Decide the cuts of every channel from the spectra of the whole run, and describe them."""
    grid = Grid.of(processing)

    @cache  # a few hundred combinations in thousands of channels
    def rules_of(combination: Combination) -> tuple[KnownResonance, ...]:
        return rules_for(combination, processing.known_resonances)

    cuts: dict[Sample, dict[str, Cuts]] = {}
    channels: dict[Sample, dict[str, ChannelPlan]] = {}
    for sample, of_sample in spectra.items():
        cuts[sample] = {}
        channels[sample] = {}
        for position, name in enumerate(of_sample.channels):
            spectrum = of_sample.dense(position, grid)
            rules = rules_of(Channel.parse(name).combination)
            tests = tuple(look_for(spectrum, rule, grid) for rule in rules)
            floor, vetoes = removal(tests, grid)
            decided = decide_cuts(spectrum, processing, floor=floor, vetoes=vetoes)
            cuts[sample][name] = decided
            channels[sample][name] = _describe(spectrum, tests, decided, grid)
    return cuts, Plan(
        bin_width_gev=grid.width, max_mass_gev=processing.max_mass_gev, channels=channels
    )


def _describe(
    spectrum: Integers, tests: tuple[ResonanceTest, ...], cuts: Cuts, grid: Grid
) -> ChannelPlan:
    runs = cuts.runs(grid)
    last = runs.last_stored(spectrum)
    return ChannelPlan(
        population=int(spectrum.sum()),
        resonances=tests,
        floor_gev=cuts.floor * grid.width if cuts.floor else None,
        vetoes_gev=tuple((low * grid.width, high * grid.width) for low, high in cuts.vetoes),
        peak_gev=None if cuts.peak is None else cuts.peak * grid.width,
        low_gev=cuts.low * grid.width,
        high_gev=None if cuts.high is None else cuts.high * grid.width,
        last_gev=0.0 if last is None else (last + 1) * grid.width,
        classes=by_name(runs.count(spectrum)),
        dropped="no peak" if cuts.peak is None else None,
    )
