"""The plan: summed spectra and the configuration -> what becomes of every channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from schemas.config import KnownResonance, PostProcessing
from schemas.inputs import Sample
from schemas.labels import Channel, Combination
from schemas.plan import ChannelPlan, Plan, ResonanceTest
from services.calculations.resonances import look_for, removal, rules_for
from services.calculations.spectra import Cuts, EntriesByRun, Grid, Spectra, by_name, decide_cuts


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
        for block in of_sample.blocks(grid):
            tests = [
                tuple(
                    look_for(block.dense(position, grid), rule, grid)
                    for rule in rules_of(Channel.parse(name).combination)
                )
                for position, name in enumerate(block.channels)
            ]
            removed = [removal(of_channel, grid) for of_channel in tests]
            decided = decide_cuts(block.inside(grid), removed, processing)
            cuts[sample] |= zip(block.channels, decided, strict=True)
            channels[sample] |= zip(
                block.channels, _describe(block, tests, decided, grid), strict=True
            )
    return cuts, Plan(
        bin_width_gev=grid.width, max_mass_gev=processing.max_mass_gev, channels=channels
    )


def _describe(
    spectra: Spectra,
    tests: Sequence[tuple[ResonanceTest, ...]],
    decided: Sequence[Cuts],
    grid: Grid,
) -> Iterator[ChannelPlan]:
    by_run = EntriesByRun.of(spectra, [cuts.runs(grid) for cuts in decided], grid)
    last_stored = by_run.last_stored()
    per_class = by_run.per_class().tolist()
    for cuts, of_channel, last, counts in zip(decided, tests, last_stored, per_class, strict=True):
        yield ChannelPlan(
            population=sum(counts),
            resonances=of_channel,
            floor_gev=cuts.floor * grid.width if cuts.floor else None,
            vetoes_gev=tuple((low * grid.width, high * grid.width) for low, high in cuts.vetoes),
            peak_gev=None if cuts.peak is None else cuts.peak * grid.width,
            low_gev=cuts.low * grid.width,
            high_gev=None if cuts.high is None else cuts.high * grid.width,
            last_gev=0.0 if last is None else (last + 1) * grid.width,
            classes=by_name(counts),
            dropped="no peak" if cuts.peak is None else None,
        )
