"""Sums of spectra: exact, in one order of channels and bins, whatever the pieces."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.calculations.spectra import Grid, Spectra, SpectrumSum, add_spectra

GRID = Grid(1.0, 20)
NAMES = ("0e/j0j1", "10e/j0j1", "1e/j0j1", "2e/e0e1")
CHUNKS = st.lists(
    st.dictionaries(st.sampled_from(NAMES), st.lists(st.integers(0, 20), min_size=1)), max_size=6
)


def spectra(chunk: dict[str, list[int]]) -> Spectra:
    total = SpectrumSum()
    for name, bins in chunk.items():
        total.add_masses([name], np.array([bins], dtype=np.float32) + np.float32(0.5), GRID)
    return total.total()


def as_counts(total: Spectra) -> dict[str, dict[int, int]]:
    found = {}
    for position, name in enumerate(total.channels):
        dense = total.dense(position, GRID).tolist()
        found[name] = {number: n for number, n in enumerate(dense) if n}
    return found


@given(CHUNKS, st.randoms(use_true_random=False))
def test_sums_are_those_of_counting_by_hand(
    chunks: list[dict[str, list[int]]], random: st.DataObject
) -> None:
    by_hand: dict[str, Counter[int]] = {}
    for chunk in chunks:
        for name, bins in chunk.items():
            by_hand.setdefault(name, Counter()).update(bins)
    total = add_spectra(spectra(chunk) for chunk in chunks)
    assert as_counts(total) == by_hand
    assert list(total.channels) == sorted(by_hand)
    shuffled = sorted(chunks, key=lambda _: random.random())
    other = add_spectra(spectra(chunk) for chunk in shuffled)
    for one, two in (
        (total.first, other.first),
        (total.bins, other.bins),
        (total.counts, other.counts),
    ):
        assert one.dtype == two.dtype
        assert one.tobytes() == two.tobytes()


def test_more_channels_than_one_block_are_all_summed() -> None:
    # Channel i has i entries in its bin in one part, and every third one entry more in another.
    names = [f"{i:05}e/j0j1" for i in range(25_001)]
    first = np.arange(len(names) + 1)
    bins = np.arange(len(names), dtype=np.int32) % 20
    one = Spectra(tuple(names), first, bins, np.arange(1, len(names) + 1))
    third = names[::3]
    other = Spectra(
        tuple(third), np.arange(len(third) + 1), bins[::3], np.ones_like(first[: len(third)])
    )
    total = add_spectra([one, other])
    assert total.channels == tuple(names)
    expected = {name: i + 1 + (i % 3 == 0) for i, name in enumerate(names)}
    assert total.entries() == expected
    assert np.array_equal(total.bins, bins)


def test_a_sum_can_be_taken_and_added_to_again() -> None:
    total = SpectrumSum()
    total.add_masses(["2e/e0e1"], np.array([[3.5]]), GRID)
    total.add_masses(["1e/j0j1"], np.array([[4.5, 25.0]]), GRID)
    assert as_counts(total.total()) == {"1e/j0j1": {4: 1, 20: 1}, "2e/e0e1": {3: 1}}
    total.add_masses(["2e/e0e1"], np.array([[3.5, 5.5]]), GRID)
    assert as_counts(total.total()) == {"1e/j0j1": {4: 1, 20: 1}, "2e/e0e1": {3: 2, 5: 1}}
