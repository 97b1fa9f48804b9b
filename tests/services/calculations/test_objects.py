"""Jagged objects as flat arrays, against lists of lists."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.labels import FinalState
from services.calculations.objects import (
    Events,
    Objects,
    add_counts,
    concatenate,
    count_multiplicities,
    offsets_of,
    places_of,
    populations,
    project_populations,
)

Rows = list[list[float]]


def objects_of(rows: Rows) -> Objects:
    flat = np.array([value for row in rows for value in row], dtype=np.float32)
    return Objects(offsets_of(np.array([len(row) for row in rows], dtype=np.int64)), {"pt": flat})


def rows_of(objects: Objects) -> Rows:
    starts, stops = objects.offsets[:-1].tolist(), objects.offsets[1:].tolist()
    pt = objects.columns["pt"].tolist()
    return [pt[start:stop] for start, stop in zip(starts, stops, strict=True)]


def events_of(muons: Rows, jets: Rows, first_event: int = 0) -> Events:
    number = np.arange(first_event, first_event + len(muons), dtype=np.uint64)
    ones = np.ones(len(muons), dtype=np.uint32)
    return Events(ones, ones, number, {"Muons": objects_of(muons), "Jets": objects_of(jets)})


jagged = st.lists(st.lists(st.integers(0, 100).map(float), max_size=4), max_size=8)


@given(jagged)
def test_offsets_lead_back_to_the_events(rows: Rows) -> None:
    objects = objects_of(rows)
    assert rows_of(objects) == rows
    assert objects.counts.tolist() == [len(row) for row in rows]
    assert objects.n_objects == sum(len(row) for row in rows)


@given(jagged)
def test_keeping_objects_leaves_the_events(rows: Rows) -> None:
    objects = objects_of(rows)
    kept = objects.keep(objects.columns["pt"] > 50)
    assert rows_of(kept) == [[value for value in row if value > 50] for row in rows]


@given(jagged)
def test_keeping_events_keeps_all_their_objects(rows: Rows) -> None:
    mask = np.array([len(row) % 2 == 1 for row in rows], dtype=bool)
    assert rows_of(objects_of(rows).in_events(mask)) == [row for row in rows if len(row) % 2]


@given(jagged, st.data())
def test_a_range_of_events_has_its_objects(rows: Rows, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    found = objects_of(rows).between(start, stop)
    assert found.offsets[0] == 0
    assert rows_of(found) == rows[start:stop]


def test_events_keep_identity_and_objects_together() -> None:
    events = events_of([[1.0], [], [2.0, 3.0]], [[], [9.0], [8.0]], first_event=7)
    kept = events.where(np.array([True, False, True]))
    assert kept.event.tolist() == [7, 9]
    assert rows_of(kept.objects["Muons"]) == [[1.0], [2.0, 3.0]]
    assert rows_of(kept.objects["Jets"]) == [[], [8.0]]
    assert len(kept) == 2


@given(st.lists(st.lists(st.tuples(*[st.lists(st.just(5.0), max_size=3)] * 2)), min_size=1))
def test_ranges_are_put_one_behind_the_other(ranges: list[list[tuple[list[float], ...]]]) -> None:
    muons = [[event[0] for event in part] for part in ranges]
    jets = [[event[1] for event in part] for part in ranges]
    whole = concatenate([events_of(*pair) for pair in zip(muons, jets, strict=True)])
    assert rows_of(whole.objects["Muons"]) == [row for part in muons for row in part]
    assert rows_of(whole.objects["Jets"]) == [row for part in jets for row in part]
    assert len(whole) == sum(len(part) for part in muons)


def test_memory_is_that_of_all_arrays() -> None:
    objects = objects_of([[1.0], [2.0, 3.0]])
    assert objects.nbytes == 3 * 8 + 3 * 4
    events = events_of([[1.0], [2.0, 3.0]], [[], []])
    assert events.nbytes == (2 * 4 + 2 * 4 + 2 * 8) + (3 * 8 + 3 * 4) + (3 * 8 + 0)


def test_multiplicities_are_counted_and_sorted() -> None:
    columns = [np.array([2, 0, 2, 10]), np.array([1, 1, 1, 0])]
    assert count_multiplicities(columns) == [((0, 1), 1), ((2, 1), 2), ((10, 0), 1)]


def test_absurd_multiplicities_are_counted_too() -> None:
    columns = [np.array([10**7, 0, 10**7])] * 3
    assert count_multiplicities(columns) == [((0,) * 3, 1), ((10**7,) * 3, 2)]


def test_no_events_have_no_multiplicities() -> None:
    assert count_multiplicities([np.zeros(0, dtype=np.int64)] * 2) == []


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=20))
def test_every_event_is_in_one_population(multiplicities: list[tuple[int, int]]) -> None:
    muons = [[1.0] * n for n, _ in multiplicities]
    jets = [[1.0] * n for _, n in multiplicities]
    expected = Counter(f"0e_{m}m_{j}j_0g_0t_0b" for m, j in multiplicities)
    assert populations(events_of(muons, jets)) == expected


def test_populations_are_summed_over_types_that_are_not_named() -> None:
    full = {"0e_2m_1j_0g_0t_0b": 5, "0e_2m_3j_1g_0t_0b": 7, "1e_2m_0j_0g_0t_0b": 1}
    assert project_populations(full, ["Electrons", "Muons"]) == {
        FinalState.parse("0e_2m"): 12,
        FinalState.parse("1e_2m"): 1,
    }


def test_projected_populations_are_sorted_by_number_not_by_text() -> None:
    full = {"10e_0m_0j_0g_0t_0b": 1, "2e_0m_0j_0g_0t_0b": 1}
    assert [str(state) for state in project_populations(full, ["Electrons"])] == ["2e", "10e"]


@pytest.mark.parametrize(
    ("parts", "total"),
    [
        ([], {}),
        ([{"b": 1}, {"a": 2, "b": 3}], {"a": 2, "b": 4}),
        ([{}, {}], {}),
    ],
    ids=["nothing", "two", "empty"],
)
def test_counts_add_by_key(parts: list[dict[str, int]], total: dict[str, int]) -> None:
    assert add_counts(parts) == total
    assert list(add_counts(parts)) == sorted(total)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=8))
def test_places_are_those_of_the_objects_of_the_events(events: list[tuple[int, bool]]) -> None:
    expected, start = [], 0
    for n_objects, is_chosen in events:
        expected += range(start, start + n_objects) if is_chosen else []
        start += n_objects
    offsets = offsets_of(np.array([n for n, _ in events], dtype=np.int64))
    chosen = np.flatnonzero(np.array([is_chosen for _, is_chosen in events], dtype=bool))
    assert places_of(offsets, chosen).tolist() == expected
