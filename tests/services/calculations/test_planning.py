"""The plan: hand-worked channels, and what must hold for every channel."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import KnownResonance, PostProcessing
from schemas.inputs import Sample
from schemas.plan import ChannelPlan
from schemas.reports import ClassCounts
from services.calculations.objects import Array
from services.calculations.planning import make_plan
from services.calculations.spectra import CLASSES, Grid, Spectra, SpectrumSum, add_spectra

WIDTH = 10.0
N_BINS = 30
CHANNEL = "2e_0m/e0e1"


def processing(**changes: Any) -> PostProcessing:
    values: dict[str, Any] = {
        "input_dir": "",
        "output_dir": "",
        "peak_detection_bin_width_gev": WIDTH,
        "max_mass_gev": N_BINS * WIDTH,
    }
    return PostProcessing(**(values | changes))


def veto(low: float, high: float, **changes: Any) -> KnownResonance:
    values: dict[str, Any] = {
        "name": f"veto_from_{low}",
        "mass_gev": (low + high) / 2,
        "window_gev": (low, high),
        "combinations": ("e0e1",),
        "action": "veto",
        "only_if_detected": False,
    }
    return KnownResonance(**(values | changes))


def centres(bins: dict[int, int]) -> Array:
    """Return so many masses in the middle of the bin from each lower edge in GeV."""
    masses = [np.full(n, low + WIDTH / 2) for low, n in bins.items()]
    return np.concatenate([np.zeros(0), *masses]).astype(np.float32)


def summed(config: PostProcessing, chunks: list[dict[str, Array]]) -> Spectra:
    parts = []
    for chunk in chunks:
        total = SpectrumSum()
        for name, masses in chunk.items():
            total.add_masses([name], np.array([masses]), Grid.of(config))
        parts.append(total.total())
    return add_spectra(parts)


def plan_of(bins: dict[int, int], config: PostProcessing | None = None) -> ChannelPlan:
    config = config or processing()
    spectra = summed(config, [{CHANNEL: centres(bins)}])
    _, plan = make_plan(config, {Sample.DATA: spectra})
    return plan.channels[Sample.DATA][CHANNEL]


def test_a_z_peak_with_a_falling_tail_leaves_what_falls_above_it() -> None:
    found = plan_of({60: 20, 70: 40, 80: 300, 90: 400, 100: 30, 110: 25, 120: 20, 130: 9, 150: 2})
    (z,) = found.resonances
    # 60 + 55 in the neighbours: 57.5 expected, 700 found.
    assert (z.name, z.entries, z.background, z.detected) == ("Z", 700, 57.5, True)
    assert found.population == 846
    assert (found.floor_gev, found.peak_gev, found.low_gev) == (110.0, 110.0, 110.0)
    assert (found.high_gev, found.last_gev, found.end_gev) == (140.0, 160.0, 140.0)
    # Removed up to 110: 20 + 40 + 300 + 400 + 30.
    assert found.classes == ClassCounts(main=54, tail=2, floor=790)
    assert found.dropped is None


def test_a_smooth_spectrum_keeps_its_peak_where_a_z_would_be() -> None:
    found = plan_of({60: 80, 70: 90, 80: 100, 90: 90, 100: 80, 110: 70, 120: 60})
    assert [test.removed for test in found.resonances] == [False]
    assert (found.floor_gev, found.peak_gev, found.high_gev) == (None, 80.0, None)
    assert found.classes == ClassCounts(main=400, turn_on=170)


def test_a_peak_in_the_last_bin_is_kept_with_that_bin_alone() -> None:
    found = plan_of({120: 3, 130: 4, 290: 9})
    assert (found.peak_gev, found.low_gev, found.high_gev) == (290.0, 290.0, None)
    assert found.end_gev == 300.0
    assert found.classes == ClassCounts(main=9, turn_on=7)


def test_one_bin_is_a_spectrum() -> None:
    found = plan_of({120: 5})
    assert (found.low_gev, found.high_gev, found.end_gev) == (120.0, None, 130.0)
    assert found.classes == ClassCounts(main=5)


def test_of_two_equal_highest_bins_the_right_one_counts() -> None:
    found = plan_of({120: 3, 130: 7, 140: 6, 150: 7, 160: 2})
    assert found.peak_gev == 150.0
    assert found.classes == ClassCounts(main=9, turn_on=16)


def test_an_empty_bin_inside_a_veto_splits_nothing_off() -> None:
    config = processing(known_resonances=(veto(140, 160),))
    found = plan_of({120: 9, 130: 7, 140: 5, 160: 4, 170: 3}, config)
    assert found.vetoes_gev == ((140.0, 160.0),)
    assert (found.high_gev, found.end_gev) == (None, 180.0)
    assert found.classes == ClassCounts(main=23, veto=5)


def test_an_empty_bin_after_a_veto_splits_the_tail_off() -> None:
    config = processing(known_resonances=(veto(140, 160),))
    found = plan_of({120: 9, 130: 7, 140: 5, 170: 3}, config)
    assert found.high_gev == 160.0
    assert found.classes == ClassCounts(main=16, tail=3, veto=5)


def test_a_vetoed_bin_is_not_left_when_it_is_asked_how_many_bins_are() -> None:
    config = processing(known_resonances=(veto(130, 140),))
    # Cut at 140, only the peak's bin would be left.
    found = plan_of({120: 9, 130: 5, 150: 3}, config)
    assert (found.high_gev, found.end_gev) == (None, 160.0)


def test_a_veto_takes_the_peak() -> None:
    config = processing(known_resonances=(veto(120, 130),))
    found = plan_of({110: 2, 120: 99, 130: 5, 140: 4}, config)
    assert found.peak_gev == 130.0
    assert found.classes == ClassCounts(main=9, veto=99, turn_on=2)


def test_a_main_range_does_not_end_in_a_veto() -> None:
    config = processing(known_resonances=(veto(140, 160),))
    found = plan_of({120: 9, 130: 7, 140: 5}, config)
    assert (found.high_gev, found.last_gev) == (None, 140.0)


def test_a_tail_that_would_leave_one_bin_is_not_split_off() -> None:
    found = plan_of({120: 9, 150: 7})
    assert (found.high_gev, found.end_gev) == (None, 160.0)
    assert found.classes == ClassCounts(main=16)


def test_everything_in_overflow_drops_the_channel() -> None:
    found = plan_of({300: 4, 900: 2})
    assert (found.peak_gev, found.dropped) == (None, "no peak")
    assert found.classes == ClassCounts(overflow=6)
    assert found.population == 6


def test_everything_below_a_resonance_drops_the_channel() -> None:
    found = plan_of({80: 50, 90: 50})
    assert (found.floor_gev, found.dropped) == (110.0, "no peak")
    assert found.classes == ClassCounts(floor=100)


def test_overflow_comes_before_everything_else() -> None:
    found = plan_of({120: 9, 130: 4, 300: 3})
    assert found.high_gev is None
    assert found.classes == ClassCounts(main=13, overflow=3)


def test_the_floor_comes_before_the_veto() -> None:
    rules = (
        veto(70, 110, action="floor"),
        veto(30, 50),
    )
    found = plan_of({30: 2, 90: 5, 120: 4}, processing(known_resonances=rules))
    assert found.classes == ClassCounts(main=4, floor=7)


def test_without_removal_of_the_turn_on_everything_above_the_floor_stays() -> None:
    config = processing(remove_turn_on=False)
    assert plan_of({120: 3, 130: 7, 140: 2}, config).classes == ClassCounts(main=12)
    assert plan_of({80: 99, 120: 3, 130: 7}, config).low_gev == 110.0


def test_a_resonance_is_tested_in_its_combinations_only() -> None:
    config = processing()
    spectra = summed(config, [{"2e_0m/e0m0": centres({80: 50, 120: 3})}])
    _, plan = make_plan(config, {Sample.DATA: spectra})
    found = plan.channels[Sample.DATA]["2e_0m/e0m0"]
    assert (found.resonances, found.peak_gev) == ((), 80.0)


# What must hold for every channel. Bins are drawn with many empty ones among them.
COUNTS = st.lists(st.sampled_from([0, 0, 1, 2, 3, 5, 40]), min_size=N_BINS, max_size=N_BINS)
OVERFLOW = st.integers(0, 3)


@st.composite
def configurations(draw: st.DrawFn) -> PostProcessing:
    edges = sorted(draw(st.sets(st.integers(0, N_BINS), min_size=4, max_size=4)))
    rules = []
    for number, (low, high) in enumerate(pairwise(edges)):
        if high - low < N_BINS and draw(st.booleans()):
            rules.append(
                veto(
                    low * WIDTH,
                    high * WIDTH,
                    name=f"rule_{number}",
                    action=draw(st.sampled_from(["floor", "veto"])),
                    only_if_detected=draw(st.booleans()),
                    min_significance=draw(st.sampled_from([0.0, 2.0, 5.0])),
                    combinations=(draw(st.sampled_from(["e0e1", "2e", "m0m1"])),),
                )
            )
    return processing(
        known_resonances=tuple(rules),
        remove_turn_on=draw(st.booleans()),
        split_outliers=draw(st.booleans()),
    )


def all_masses(counts: list[int], overflow: int) -> Array:
    bins = {int(number * WIDTH): n for number, n in enumerate([*counts, overflow])}
    return centres(bins)


def slow_class(mass: float, plan: ChannelPlan) -> str:
    """Return the class of one mass, as the definition reads."""
    if mass >= N_BINS * WIDTH:
        return "overflow"
    if plan.floor_gev is not None and mass < plan.floor_gev:
        return "floor"
    if any(low <= mass < high for low, high in plan.vetoes_gev):
        return "veto"
    if mass < plan.low_gev:
        return "turn_on"
    if plan.high_gev is not None and mass >= plan.high_gev:
        return "tail"
    return "main"


@given(COUNTS, OVERFLOW, configurations())
def test_the_classes_are_those_of_each_mass_and_add_up(
    counts: list[int], overflow: int, config: PostProcessing
) -> None:
    masses = all_masses(counts, overflow)
    if not len(masses):
        return
    cuts, plan = make_plan(config, {Sample.DATA: summed(config, [{CHANNEL: masses}])})
    decided = plan.channels[Sample.DATA][CHANNEL]
    found = [slow_class(mass, decided) for mass in masses.tolist()]
    by_hand = ClassCounts(**{name: found.count(name) for name in ClassCounts.model_fields})
    assert decided.classes == by_hand
    assert decided.classes.total == decided.population == len(masses)
    grid = Grid.of(config)
    of_bin = cuts[Sample.DATA][CHANNEL].runs(grid).class_of_bin()
    assert [CLASSES[place] for place in of_bin[grid.bins(masses)]] == found


@given(COUNTS, configurations())
def test_the_cuts_are_those_of_the_definition(counts: list[int], config: PostProcessing) -> None:
    if not sum(counts):
        return
    decided = plan_of({int(number * WIDTH): n for number, n in enumerate(counts)}, config)
    vetoed = {
        number
        for number in range(N_BINS)
        if any(low <= (number + 0.5) * WIDTH < high for low, high in decided.vetoes_gev)
    }
    floor = int((decided.floor_gev or 0.0) / WIDTH)
    left = [n if i >= floor and i not in vetoed else 0 for i, n in enumerate(counts)]
    if not any(left):
        assert decided.dropped == "no peak"
        return
    peak = max(number for number in range(N_BINS) if left[number] == max(left))
    assert decided.peak_gev == peak * WIDTH
    low = peak if config.remove_turn_on else floor
    assert decided.low_gev == low * WIDTH
    empty = [i for i in range(peak, N_BINS) if left[i] == 0 and i not in vetoed]
    high = None
    if config.split_outliers and empty and any(left[empty[0] :]):
        bins_left = [number for number in range(low, empty[0]) if number not in vetoed]
        high = empty[0] * WIDTH if len(bins_left) >= 2 else None
    assert decided.high_gev == high
    assert decided.last_gev == max(i + 1 for i in range(low, N_BINS) if left[i]) * WIDTH


@given(
    COUNTS,
    OVERFLOW,
    configurations(),
    st.randoms(use_true_random=False),
    st.integers(1, 5),
)
def test_the_plan_does_not_depend_on_chunks_or_their_order(
    counts: list[int], overflow: int, config: PostProcessing, random: Any, n_chunks: int
) -> None:
    masses = all_masses(counts, overflow).tolist()
    random.shuffle(masses)
    chunks: list[dict[str, Array]] = []
    for number in range(n_chunks):
        part = masses[number::n_chunks]
        if part:
            chunks.append({CHANNEL: np.array(part, dtype=np.float32)})
    random.shuffle(chunks)
    whole = [{CHANNEL: all_masses(counts, overflow)}] if masses else []
    _, from_chunks = make_plan(config, {Sample.DATA: summed(config, chunks)})
    _, from_whole = make_plan(config, {Sample.DATA: summed(config, whole)})
    assert from_chunks.model_dump_json() == from_whole.model_dump_json()


@given(COUNTS, COUNTS, configurations())
def test_another_channel_changes_nothing(
    counts: list[int], others: list[int], config: PostProcessing
) -> None:
    alone = {CHANNEL: all_masses(counts, 1)}
    more = {"0e_0m/e0e1": all_masses(others, 2), "3e_0m/m0m1": all_masses(others, 0)}
    _, plan_alone = make_plan(config, {Sample.DATA: summed(config, [alone])})
    _, plan_more = make_plan(
        config,
        {
            Sample.DATA: summed(config, [alone | more]),
            Sample.SIMULATION: summed(config, [{CHANNEL: all_masses(others, 1)}]),
        },
    )
    found = plan_more.channels[Sample.DATA][CHANNEL]
    assert found == plan_alone.channels[Sample.DATA][CHANNEL]


@given(COUNTS, OVERFLOW, configurations(), st.sampled_from([0.25, 0.5, 2.0, 64.0]))
def test_scaling_grid_and_masses_scales_the_edges(
    counts: list[int], overflow: int, config: PostProcessing, scale: float
) -> None:
    masses = all_masses(counts, overflow)
    if not len(masses):
        return

    def scaled(edge: float | None) -> float | None:
        return None if edge is None else edge * scale

    rules = tuple(
        rule.model_copy(
            update={
                "mass_gev": rule.mass_gev * scale,
                "window_gev": tuple(edge * scale for edge in rule.window_gev),
                "test_window_gev": tuple(edge * scale for edge in rule.test_window_gev),
            }
        )
        for rule in config.known_resonances
    )
    other = config.model_copy(
        update={
            "peak_detection_bin_width_gev": WIDTH * scale,
            "max_mass_gev": N_BINS * WIDTH * scale,
            "known_resonances": rules,
        }
    )
    bigger = (masses * scale).astype(np.float32)
    _, plan = make_plan(config, {Sample.DATA: summed(config, [{CHANNEL: masses}])})
    _, scaled_plan = make_plan(other, {Sample.DATA: summed(other, [{CHANNEL: bigger}])})
    one = plan.channels[Sample.DATA][CHANNEL]
    two = scaled_plan.channels[Sample.DATA][CHANNEL]
    for name in ("floor_gev", "peak_gev", "low_gev", "high_gev", "last_gev"):
        assert getattr(two, name) == scaled(getattr(one, name))
    assert two.vetoes_gev == tuple((low * scale, high * scale) for low, high in one.vetoes_gev)
    assert two.classes == one.classes


# Turn-ons of a lepton pair: densities over masses in GeV that are highest at `peak`.
def gamma(power: int) -> Any:
    return lambda m, peak: m**power * np.exp(-power * m / peak)


def log_normal(m: Array, peak: float) -> Array:
    return np.exp(-0.5 * (np.log(m / peak) / 0.4) ** 2)


def threshold(softness: float) -> Any:
    """Return a spectrum that falls as m^-3 above a threshold of this width in units of the peak."""
    # Where the derivative vanishes: 3 * softness of the rise is still missing at the peak.
    edge = 1 + softness * np.log(3 * softness / (1 - 3 * softness))

    def density(m: Array, peak: float) -> Array:
        rise = 1 / (1 + np.exp(-(m - edge * peak) / (softness * peak)))
        return np.where(m > 30, m**-3.0 * rise, 0.0)

    return density


SMOOTH = {
    "gamma distribution of power 4": gamma(4),
    "gamma distribution of power 9": gamma(9),
    "log-normal distribution": log_normal,
    "soft threshold": threshold(0.15),
}


def plan_of_a_million(density: Any, peak: float) -> ChannelPlan:
    fine = np.arange(20_000) / 20 + 0.025
    shares = density(fine, peak).reshape(-1, 200).sum(axis=1)
    counts = np.rint(shares / shares.sum() * 1e6).astype(np.int64)
    filled = np.flatnonzero(counts)
    spectra = Spectra(
        (CHANNEL,), np.array([0, len(filled)]), filled.astype(np.int32), counts[filled]
    )
    config = PostProcessing(input_dir="", output_dir="")
    _, plan = make_plan(config, {Sample.DATA: spectra})
    return plan.channels[Sample.DATA][CHANNEL]


@pytest.mark.parametrize("shape", SMOOTH)
@pytest.mark.parametrize("peak", range(60, 96))
def test_a_turn_on_where_the_z_is_is_not_taken_for_it(shape: str, peak: int) -> None:
    decided = plan_of_a_million(SMOOTH[shape], float(peak))
    (z,) = decided.resonances
    assert z.entries > 100_000
    assert not z.detected
    assert decided.floor_gev is None
    # What lies below the turn-on's own peak is all that is removed.
    assert decided.peak_gev is not None
    assert abs(decided.peak_gev + WIDTH / 2 - peak) <= WIDTH


@pytest.mark.xfail(
    reason="The background is the mean of both neighbours. Where one lies before a sharp "
    "threshold, as with pt cuts of 32 to 40 GeV on both leptons, a smooth spectrum exceeds it."
)
def test_a_sharp_threshold_where_the_z_is_is_not_taken_for_it() -> None:
    assert not plan_of_a_million(threshold(0.08), 88.0).resonances[0].detected
