"""Spectra on the grid: counting, adding, and cuts worked out by hand."""

from itertools import chain, pairwise
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import PostProcessing
from schemas.reports import ClassCounts
from services.calculations.spectra import (
    CLASSES,
    Cuts,
    EntriesByRun,
    Grid,
    Spectra,
    SpectrumSum,
    Vetoes,
    add_spectra,
    by_name,
    decide_cuts,
)
from services.storage.arrays import write_spectra

GRID = Grid(width=10.0, n_bins=8)


def processing(*, remove_turn_on: bool = True, split_outliers: bool = True) -> PostProcessing:
    return PostProcessing(
        input_dir="in",
        output_dir="out",
        remove_turn_on=remove_turn_on,
        split_outliers=split_outliers,
    )


def spectrum(*counts: int) -> npt.NDArray[np.int64]:
    """Return a spectrum of eight bins and the overflow, filled from its start."""
    return np.array([*counts, *[0] * (9 - len(counts))], dtype=np.int64)


def sparse(*spectra: npt.NDArray[np.int64]) -> Spectra:
    """Return spectra, shape (9,) each, as they are kept."""
    filled = [np.flatnonzero(counts) for counts in spectra]
    return Spectra(
        tuple(f"2e_{number}m/e0e1" for number in range(len(spectra))),
        np.cumsum([0, *map(len, filled)]),
        np.concatenate([np.zeros(0, dtype=np.int64), *filled]).astype(np.int32),
        np.concatenate([np.zeros(0, dtype=np.int64), *(s[s > 0] for s in spectra)]),
    )


def decide(counts: npt.NDArray[np.int64], config: PostProcessing) -> Cuts:
    """Return the cuts of one channel in which nothing is known."""
    return decide_cuts(counts[np.newaxis, :-1], [(0, ())], config)[0]


def by_run(counts: npt.NDArray[np.int64], cuts: Cuts) -> EntriesByRun:
    return EntriesByRun.of(sparse(counts), [cuts.runs(GRID)], GRID)


# The grid


@pytest.mark.parametrize(
    ("mass", "number"),
    [
        (0.0, 0),
        (9.999, 0),
        (10.0, 1),
        (79.9, 7),
        (80.0, 8),
        (1e30, 8),
        (float("inf"), 8),
        (float("nan"), 8),
    ],
)
def test_a_mass_lies_in_the_bin_that_begins_at_or_below_it(mass: float, number: int) -> None:
    assert GRID.bins(np.array([mass], dtype=np.float32)).tolist() == [number]


def test_bins_are_those_of_the_stored_mass_in_double_precision() -> None:
    # 0.7 as float32 is 0.699999988, just below seven tenths; divided in float32 it would be 7.
    masses = np.array([0.1, 0.3, 0.7], dtype=np.float32)
    assert (masses / np.float32(0.1)).astype(int).tolist() == [1, 3, 7]
    assert Grid(0.1, 10).bins(masses).tolist() == [1, 3, 6]


def test_the_grid_of_the_defaults_has_a_thousand_bins() -> None:
    assert Grid.of(processing()) == Grid(10.0, 1000)


def test_counting_keeps_the_overflow_last() -> None:
    masses = np.array([5, 6, 25, 80, 1000], dtype=np.float32)
    assert GRID.count(masses).tolist() == [2, 0, 1, 0, 0, 0, 0, 0, 2]


def test_no_masses_are_an_empty_spectrum() -> None:
    assert GRID.count(np.zeros(0, dtype=np.float32)).tolist() == [0] * 9


# Sums

some_masses = st.lists(st.floats(0, 100, width=32), max_size=6)
additions = st.lists(st.tuples(st.sampled_from(["2e/e0e1", "10j/j0j1", "2e/e0"]), some_masses))


def summed(parts: list[tuple[str, list[float]]]) -> Spectra:
    total = SpectrumSum()
    for channel, masses in parts:
        total.add_masses([channel], np.array([masses], dtype=np.float32), GRID)
    return total.total()


@given(additions)
def test_a_sum_has_every_mass_once(parts: list[tuple[str, list[float]]]) -> None:
    total = summed(parts)
    assert list(total.channels) == sorted({channel for channel, _ in parts})
    for position, channel in enumerate(total.channels):
        all_masses = list(chain.from_iterable(m for name, m in parts if name == channel))
        expected = [0] * 9
        for mass in all_masses:
            expected[min(int(mass // 10), 8)] += 1
        assert total.dense(position, GRID).tolist() == expected
        assert total.entries()[channel] == len(all_masses)


@given(additions, st.randoms(use_true_random=False))
def test_sums_do_not_depend_on_the_order(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[tuple[str, list[float]]],
    random: Random,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    permuted = parts.copy()
    random.shuffle(permuted)
    write_spectra(folder / "one.npz", summed(parts), GRID)
    write_spectra(folder / "other.npz", summed(permuted), GRID)
    assert (folder / "one.npz").read_bytes() == (folder / "other.npz").read_bytes()


@given(st.lists(additions, max_size=4))
def test_adding_sums_is_summing_everything(slices: list[list[tuple[str, list[float]]]]) -> None:
    in_parts = add_spectra([summed(parts) for parts in reversed(slices)])
    at_once = summed(list(chain.from_iterable(slices)))
    assert in_parts.channels == at_once.channels
    for name in ("first", "bins", "counts"):
        np.testing.assert_array_equal(getattr(in_parts, name), getattr(at_once, name))


def test_the_same_sum_is_the_same_bytes_at_any_time(tmp_path: Path) -> None:
    total = summed([("2e/e0e1", [91.0, 92.0]), ("2m/m0m1", [3.0])])
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    write_spectra(first, total, GRID)
    write_spectra(second, total, GRID)
    assert first.read_bytes() == second.read_bytes()


def test_sums_stay_right_when_they_are_compacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpectrumSum, "_COMPACT_AT", 2)
    total = summed([("a", [5.0, 15.0]), ("b", [5.0]), ("a", [5.0]), ("b", [25.0, 26.0])])
    assert total.dense(0, GRID).tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0]
    assert total.dense(1, GRID).tolist() == [1, 0, 2, 0, 0, 0, 0, 0, 0]


def test_no_additions_are_an_empty_sum() -> None:
    assert SpectrumSum().total().entries() == {}


# Blocks of channels

dense = st.lists(st.integers(0, 3), min_size=9, max_size=9).map(lambda c: spectrum(*c))


@given(st.lists(dense, max_size=7), st.integers(1, 70))
def test_blocks_have_every_channel_once(spectra: list[npt.NDArray[np.int64]], n_bins: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.calculations.spectra._BINS_AT_ONCE", n_bins)
        blocks = list(sparse(*spectra).blocks(GRID))
    assert all(len(block.channels) <= max(1, n_bins // 8) for block in blocks)
    assert [name for block in blocks for name in block.channels] == [*sparse(*spectra).channels]
    found = [block.dense(i, GRID).tolist() for block in blocks for i in range(len(block.channels))]
    assert found == [counts.tolist() for counts in spectra]


@given(st.lists(dense, min_size=1, max_size=4))
def test_what_is_inside_is_the_grid_without_overflow_and_what_is_empty_behind(
    spectra: list[npt.NDArray[np.int64]],
) -> None:
    inside = sparse(*spectra).inside(GRID)
    whole = np.zeros((len(spectra), 8), dtype=np.int64)
    whole[:, : inside.shape[1]] = inside
    assert whole.tolist() == [counts[:-1].tolist() for counts in spectra]


# Cuts

CUTS = {
    "turn-on, then falling": (spectrum(1, 4, 9, 5, 2), Cuts(peak=2, low=2, high=None)),
    "falling from the first bin": (spectrum(9, 5, 2), Cuts(peak=0, low=0, high=None)),
    "tail behind an empty bin": (spectrum(1, 9, 5, 0, 2), Cuts(peak=1, low=1, high=3)),
    "only the first empty bin counts": (
        spectrum(1, 9, 5, 0, 2, 0, 1),
        Cuts(peak=1, low=1, high=3),
    ),
    "empty bins below the peak split nothing": (
        spectrum(1, 0, 0, 9, 5),
        Cuts(peak=3, low=3, high=None),
    ),
    "empty bin right above the peak would leave one bin": (
        spectrum(1, 9, 0, 5, 2),
        Cuts(peak=1, low=1, high=None),
    ),
    "two bins are enough": (spectrum(0, 9, 1, 0, 5), Cuts(peak=1, low=1, high=3)),
    "of two equal highest bins the right one counts": (
        spectrum(1, 9, 3, 9, 5),
        Cuts(peak=3, low=3, high=None),
    ),
    "flat": (spectrum(1, 1, 1, 1, 1, 1, 1, 1), Cuts(peak=7, low=7, high=None)),
    "peak in the last bin": (spectrum(1, 2, 3, 4, 5, 6, 7, 8), Cuts(peak=7, low=7, high=None)),
    "one filled bin": (spectrum(0, 0, 0, 3), Cuts(peak=3, low=3, high=None)),
    "nothing": (spectrum(), Cuts(peak=None, low=0, high=None)),
    "everything in overflow": (
        spectrum(0, 0, 0, 0, 0, 0, 0, 0, 7),
        Cuts(peak=None, low=0, high=None),
    ),
    "overflow is no peak": (spectrum(1, 2, 0, 0, 0, 0, 0, 0, 99), Cuts(peak=1, low=1, high=None)),
    "nothing but emptiness behind": (spectrum(1, 9, 5, 0, 0), Cuts(peak=1, low=1, high=None)),
}


@pytest.mark.parametrize(("counts", "cuts"), CUTS.values(), ids=CUTS)
def test_cuts_are_those_worked_out_by_hand(counts: npt.NDArray[np.int64], cuts: Cuts) -> None:
    assert decide(counts, processing()) == cuts


def test_the_turn_on_may_stay() -> None:
    decided = decide(spectrum(1, 9, 5, 0, 2), processing(remove_turn_on=False))
    assert decided == Cuts(peak=1, low=0, high=3)


def test_outliers_may_stay() -> None:
    decided = decide(spectrum(1, 9, 5, 0, 2), processing(split_outliers=False))
    assert decided == Cuts(peak=1, low=1, high=None)


def test_every_entry_is_in_the_first_class_that_applies() -> None:
    counts = spectrum(1, 2, 9, 5, 0, 3, 0, 1, 4)
    cuts = decide(counts, processing())
    classes = by_name(by_run(counts, cuts).per_class()[0].tolist())
    assert classes == ClassCounts(turn_on=3, main=14, tail=4, overflow=4)


def test_a_channel_without_a_peak_has_overflow_only() -> None:
    counts = spectrum(0, 0, 0, 0, 0, 0, 0, 0, 7)
    cuts = decide(counts, processing())
    classes = by_name(by_run(counts, cuts).per_class()[0].tolist())
    assert classes == ClassCounts(overflow=7)


spectra = st.lists(st.integers(0, 5), min_size=9, max_size=9).map(lambda c: spectrum(*c))


@given(spectra, st.booleans(), st.booleans())
def test_every_entry_has_one_class(
    counts: npt.NDArray[np.int64],
    remove_turn_on: bool,
    split_outliers: bool,
) -> None:
    config = processing(remove_turn_on=remove_turn_on, split_outliers=split_outliers)
    cuts = decide(counts, config)
    classes = cuts.runs(GRID).class_of_bin().tolist()
    assert len(classes) == 9
    by_hand = [
        sum(n for n, c in zip(counts.tolist(), classes, strict=True) if c == k) for k in range(6)
    ]
    assert by_run(counts, cuts).per_class().tolist() == [by_hand]
    assert sum(by_hand) == counts.sum()


all_cuts = st.builds(
    Cuts,
    peak=st.none(),
    low=st.integers(0, 8),
    high=st.none() | st.integers(0, 8),
    floor=st.integers(0, 8),
    vetoes=st.lists(st.integers(0, 8), min_size=2, max_size=4, unique=True).map(
        lambda edges: tuple(zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False))
    ),
)


@given(all_cuts)
def test_the_first_class_that_applies_to_a_bin_is_its_class(cuts: Cuts) -> None:
    expected = np.full(9, CLASSES.index("main"))
    # From the last class to the first, so that the first that applies is what stays.
    if cuts.high is not None:
        expected[cuts.high :] = CLASSES.index("tail")
    expected[: cuts.low] = CLASSES.index("turn_on")
    for first, stop in cuts.vetoes:
        expected[first:stop] = CLASSES.index("veto")
    expected[: cuts.floor] = CLASSES.index("floor")
    expected[8] = CLASSES.index("overflow")
    runs = cuts.runs(GRID)
    assert runs.class_of_bin().tolist() == expected.tolist()
    assert all(one != other for one, other in pairwise(runs.classes))


# Grids whose edges are no float32, and masses at, next to and between edges.
grids = st.builds(Grid, st.sampled_from([0.1, 0.3, 2.5, 10.0, 1 / 3]), st.just(8))
near_edges = st.tuples(st.integers(0, 9), st.integers(-2, 2))


def stepped(edge: float, steps: int) -> np.float32:
    """Return the number so many float32 numbers above or below the one nearest to `edge`."""
    bits = np.float32(edge).view(np.int32) + steps
    return np.float32(max(0, int(bits))) if bits <= 0 else np.int32(bits).view(np.float32)


@given(grids, all_cuts, st.lists(near_edges | st.floats(0, 100, width=32), max_size=20))
def test_splitting_masses_is_looking_up_the_class_of_the_bin_of_each(
    grid: Grid, cuts: Cuts, where: list[tuple[int, int] | float]
) -> None:
    masses = np.array(
        [stepped(w[0] * grid.width, w[1]) if isinstance(w, tuple) else w for w in where]
        + [np.nan, np.inf],
        dtype=np.float32,
    )
    runs = cuts.runs(grid)
    classes = runs.class_of_bin()[grid.bins(masses)]
    split = runs.split(masses)
    assert split.counts == np.bincount(classes, minlength=6).tolist()
    main = masses[classes == CLASSES.index("main")]
    is_outlier = (classes == CLASSES.index("tail")) | (classes == CLASSES.index("overflow"))
    expected = {"main": main, "outliers": masses[is_outlier]}
    assert split.stored.keys() == {ending for ending, of in expected.items() if len(of)}
    for ending, found in split.stored.items():
        np.testing.assert_array_equal(found, expected[ending])


def test_the_last_stored_bin_is_the_last_filled_one_of_main_and_tail() -> None:
    cuts = Cuts(peak=2, low=2, high=4, vetoes=((5, 8),))
    assert by_run(spectrum(9, 9, 9, 1, 3, 7, 7, 0, 1), cuts).last_stored() == [4]
    assert by_run(spectrum(9, 9, 9, 1, 0, 7), cuts).last_stored() == [3]
    assert by_run(spectrum(9, 9, 0, 0, 0, 7, 0, 0, 1), cuts).last_stored() == [None]


@given(st.lists(st.tuples(spectra, all_cuts), max_size=6))
def test_entries_by_run_are_those_of_each_bin_of_each_channel(
    channels: list[tuple[npt.NDArray[np.int64], Cuts]],
) -> None:
    of_channels = [cuts.runs(GRID) for _, cuts in channels]
    found = EntriesByRun.of(sparse(*(counts for counts, _ in channels)), of_channels, GRID)
    last_stored = found.last_stored()
    for number, (counts, _) in enumerate(channels):
        entries = [0] * len(CLASSES)
        last = None
        for number_of_bin, place in enumerate(of_channels[number].class_of_bin().tolist()):
            entries[place] += counts[number_of_bin]
            if counts[number_of_bin] and CLASSES[place] in ("main", "tail"):
                last = number_of_bin
        assert found.per_class()[number].tolist() == entries
        assert last_stored[number] == last
    assert len(last_stored) == len(channels)


def slow_cuts(counts: list[int], floor: int, vetoes: Vetoes, config: PostProcessing) -> Cuts:
    """Return the cuts of one channel, bin by bin, as the definition reads."""
    kept = [
        number
        for number in range(floor, len(counts))
        if not any(first <= number < stop for first, stop in vetoes)
    ]
    filled = [number for number in kept if counts[number]]
    if not filled:
        return Cuts(None, floor, None, floor, vetoes)
    peak = max(filled, key=lambda number: (counts[number], number))
    low = peak if config.remove_turn_on else floor
    empty = [number for number in kept if number > peak and not counts[number]]
    high = empty[0] if config.split_outliers and empty and empty[0] < filled[-1] else None
    if high is not None and len([number for number in kept if low <= number < high]) < 2:
        high = None
    return Cuts(peak, low, high, floor, vetoes)


@given(
    st.lists(st.tuples(spectra, all_cuts), min_size=1, max_size=6),
    st.booleans(),
    st.booleans(),
    st.integers(0, 5),
)
def test_the_cuts_of_many_channels_are_those_of_each(
    channels: list[tuple[npt.NDArray[np.int64], Cuts]],
    remove_turn_on: bool,
    split_outliers: bool,
    n_empty: int,
) -> None:
    config = processing(remove_turn_on=remove_turn_on, split_outliers=split_outliers)
    removed = [(cuts.floor, cuts.vetoes) for _, cuts in channels]
    entries = np.array([counts[:-1] for counts, _ in channels])
    expected = [
        slow_cuts(counts.tolist(), *of_channel, config)
        for counts, of_channel in zip(entries, removed, strict=True)
    ]
    assert decide_cuts(entries, removed, config) == expected
    longer = np.pad(entries, ((0, 0), (0, n_empty)))
    assert decide_cuts(longer, removed, config) == expected


@pytest.mark.parametrize("width", [0.1, 0.3, 1 / 3, 2.5, 10.0])
def test_the_lowest_mass_of_a_bin_is_in_it_and_the_number_below_is_not(width: float) -> None:
    grid = Grid(width, 2000)
    lowest = grid.lowest_masses()[1:]
    numbers = np.arange(1, 2001)
    assert lowest.dtype == np.float32
    np.testing.assert_array_equal(grid.bins(lowest), numbers)
    np.testing.assert_array_equal(grid.bins(np.nextafter(lowest, np.float32(0))), numbers - 1)


@given(spectra)
def test_the_main_part_falls_from_its_first_bin_the_rightmost_highest(
    counts: npt.NDArray[np.int64],
) -> None:
    cuts = decide(counts, processing())
    if cuts.peak is not None:
        main = counts[:-1][cuts.low : cuts.high]
        assert main[0] == max(counts[:-1])
        assert (main[1:] < main[0]).all()
