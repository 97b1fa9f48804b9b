"""pt, eta and multiplicity in fixed bins, against counting with fractions, value by value."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.reports import Distribution, Distributions, ObjectDistributions
from services.calculations import distributions
from services.calculations.distributions import (
    ETA,
    MULTIPLICITY,
    PT_GEV,
    DistributionSum,
    FixedAxis,
)
from services.calculations.objects import Events, Objects, offsets_of, populations

# The objects of an event as (pt, eta).
Rows = list[list[tuple[float, float]]]

floats = st.floats(width=32, allow_subnormal=False)
edges = st.integers(-300, 300).map(lambda k: k / 4)
# The next number below 0 is too small to be divided.
beside_edges = edges.filter(bool).map(
    lambda edge: float(np.nextafter(np.float32(edge), np.float32(-1e9)))
)
values = st.one_of(floats, edges, beside_edges)


def bin_of(value: float, axis: FixedAxis) -> str | int:
    """Return where a value belongs: worked out with exact fractions."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "above" if value > 0 else "below"
    place = math.floor(Fraction(value) / Fraction(axis.width)) - axis.first
    if place < 0:
        return "below"
    return place if place < axis.n_bins else "above"


def expected(of_values: Sequence[float], axis: FixedAxis) -> Distribution:
    found = Counter(bin_of(value, axis) for value in of_values)
    filled = [place for place in found if isinstance(place, int)]
    return Distribution(
        bins=tuple(found[place] for place in range(max(filled, default=-1) + 1)),
        below=found["below"],
        above=found["above"],
        not_a_number=found["not a number"],
    )


def events_of(muons: Rows, jets: Rows) -> Events:
    def objects(rows: Rows) -> Objects:
        flat = np.array([item for row in rows for item in row], dtype=np.float32).reshape(-1, 2)
        counts = np.array([len(row) for row in rows], dtype=np.int64)
        return Objects(offsets_of(counts), {"pt": flat[:, 0], "eta": flat[:, 1]})

    ones = np.ones(len(muons), dtype=np.uint32)
    return Events(ones, ones, ones, {"Muons": objects(muons), "Jets": objects(jets)})


def counted(read: Events, kept: Events) -> Distributions:
    total = DistributionSum()
    total.add(read, kept)
    return total.total(populations(kept))


def expected_of(rows: Rows) -> ObjectDistributions:
    return ObjectDistributions(
        pt=expected([pt for row in rows for pt, _ in row], PT_GEV),
        eta=expected([eta for row in rows for _, eta in row], ETA),
        multiplicity=expected([len(row) for row in rows], MULTIPLICITY),
    )


jagged = st.lists(st.lists(st.tuples(values, values), max_size=22), max_size=6)


@given(st.lists(values), st.sampled_from([PT_GEV, ETA, MULTIPLICITY]))
def test_every_value_is_counted_where_it_belongs(of_values: list[float], axis: FixedAxis) -> None:
    counts = axis.count(np.array(of_values, dtype=np.float32))
    assert distributions._distribution(counts) == expected(of_values, axis)  # noqa: SLF001
    assert counts.sum() == len(of_values)


@pytest.mark.parametrize(
    ("pt", "found"),
    [
        (4.9999995, Distribution(bins=(1,))),
        (5.0, Distribution(bins=(0, 1))),
        (499.99997, Distribution(bins=(*[0] * 99, 1))),
        (500.0, Distribution(above=1)),
        (3e38, Distribution(above=1)),
        (math.inf, Distribution(above=1)),
        (-16384.0, Distribution(below=1)),
        (-math.inf, Distribution(below=1)),
        (math.nan, Distribution(not_a_number=1)),
    ],
    ids=str,
)
def test_an_odd_pt_has_its_place(pt: float, found: Distribution) -> None:
    events = events_of([[(pt, 0.0)]], [[]])
    assert counted(events, events).before["Muons"].pt == found


def test_a_range_of_many_blocks_is_counted_like_its_parts() -> None:
    rng = np.random.default_rng(7)
    pt = rng.exponential(100.0, 100_001).astype(np.float32)
    parts = sum((PT_GEV.count(part) for part in np.array_split(pt, 13)), start=np.int64(0))
    assert np.array_equal(PT_GEV.count(pt), parts)
    counts = rng.poisson(2.0, 100_001)
    objects = Objects(offsets_of(counts), {"pt": pt[:0], "eta": pt[:0]})
    total = DistributionSum()
    total.add(Events(pt, pt, pt, {"Jets": objects}), Events(pt, pt, pt, {}))
    found = total.total({}).before["Jets"].multiplicity
    assert found == expected(counts.tolist(), MULTIPLICITY)


@given(st.data())
def test_pieces_add_up_to_the_whole_in_any_order(data: st.DataObject) -> None:
    muons = data.draw(jagged)
    jets = data.draw(st.lists(st.just([(30.0, 1.0)] * 2), min_size=len(muons), max_size=len(muons)))
    is_kept = data.draw(st.lists(st.booleans(), min_size=len(muons), max_size=len(muons)))
    cut = data.draw(st.integers(0, len(muons)))
    pieces = []
    for part in (slice(0, cut), slice(cut, None)):
        read = events_of(muons[part], jets[part])
        pieces.append((read, read.where(np.array(is_kept[part], dtype=bool))))
    of_files, of_chunk, reported = [], DistributionSum(), Distributions()
    for read, kept in reversed(pieces):
        of_file = DistributionSum()
        of_file.add(read, kept)
        of_files.append(of_file)
        of_chunk.absorb(of_file)
        reported += of_file.total(populations(kept))
    everything = events_of(muons, jets)
    kept = everything.where(np.array(is_kept, dtype=bool))
    whole = counted(everything, kept)
    assert of_chunk.total(populations(kept)) == whole == reported
    chosen = [row for row, keep in zip(muons, is_kept, strict=True) if keep]
    assert whole.before["Muons"] == expected_of(muons)
    assert whole.after["Muons"] == expected_of(chosen)


def test_what_was_taken_over_is_not_changed_by_what_follows() -> None:
    events = events_of([[(10.0, 0.0)]], [[]])
    of_file, of_chunk = DistributionSum(), DistributionSum()
    of_file.add(events, events)
    of_chunk.absorb(of_file)
    of_chunk.absorb(of_file)
    assert of_file.total(populations(events)) == counted(events, events)


def test_a_reported_distribution_is_filled_up_with_empty_bins() -> None:
    dense = distributions.dense(Distribution(bins=(3, 0, 1), above=7), ETA)
    assert dense.tolist() == [3, 0, 1, *[0] * 37]
    assert len(ETA.edges) == 41
    assert (ETA.edges[0], ETA.edges[-1]) == (-5, 5)
