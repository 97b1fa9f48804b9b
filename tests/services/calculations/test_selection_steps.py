"""Selection, against a loop over events and objects that is slow and obvious."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import KinematicCut, KinematicCuts, ParticleCounts
from schemas.particles import PARTICLES
from schemas.reports import CutRow, check_cut_flow
from services.calculations import selection
from services.calculations.objects import KINEMATICS, Events, Objects, offsets_of
from services.calculations.selection import is_valid

# One object: pt, eta, phi, mass.
Item = tuple[float, float, float, float]
# Objects of one event, by type.
Event = dict[str, list[Item]]

NO_CUTS = KinematicCuts()
NO_COUNTS = ParticleCounts()


def select(
    events: Events, cuts: KinematicCuts, counts: ParticleCounts
) -> tuple[Events, tuple[CutRow, ...]]:
    return selection.select(events, selection.Selection(cuts, counts))


def objects_of(items: list[list[Item]]) -> Objects:
    flat = np.array([item for event in items for item in event], dtype=np.float32).reshape(-1, 4)
    columns = {name: np.ascontiguousarray(flat[:, i]) for i, name in enumerate(KINEMATICS)}
    return Objects(offsets_of(np.array([len(event) for event in items], dtype=np.int64)), columns)


def events_of(events: list[Event]) -> Events:
    ones = np.ones(len(events), dtype=np.uint32)
    names = ("Electrons", "Muons", "Jets")
    objects = {name: objects_of([event.get(name, []) for event in events]) for name in names}
    return Events(ones, ones, np.arange(len(events), dtype=np.uint64), objects)


def kept_of(events: Events) -> list[tuple[int, dict[str, list[float]]]]:
    """Return, per event, its number and the pt of its objects by type."""
    kept = []
    for position, number in enumerate(events.event.tolist()):
        of_types = {}
        for name, objects in events.objects.items():
            start, stop = objects.offsets[position : position + 2].tolist()
            of_types[name] = objects.columns["pt"][start:stop].tolist()
        kept.append((number, of_types))
    return kept


def is_obviously_kept(item: Item, cut: KinematicCut | None) -> bool:
    pt, eta, phi, mass = (np.float32(value) for value in item)
    if not (np.isfinite([pt, eta, phi, mass]).all() and pt > 0):
        return False
    if cut and cut.pt_min is not None and pt < np.float32(cut.pt_min):
        return False
    return not (cut and cut.eta_max is not None and abs(eta) > np.float32(cut.eta_max))


def obviously_kept(
    events: list[Event], cuts: KinematicCuts, counts: ParticleCounts
) -> list[tuple[int, dict[str, list[float]]]]:
    """Return what `kept_of` must give: one event and one object after the other."""
    kept = []
    for number, event in enumerate(events):
        of_types = {
            name: [
                item[0]
                for item in event.get(name, [])
                if is_obviously_kept(item, getattr(cuts, name.lower()))
            ]
            for name in ("Electrons", "Muons", "Jets")
        }
        passes = True
        for particle in PARTICLES:
            allowed = getattr(counts, particle.key)
            n = len(of_types.get(particle.name, []))
            if allowed and n < allowed.min:
                passes = False
            if allowed and allowed.max is not None and n > allowed.max:
                passes = False
        if passes:
            kept.append((number, of_types))
    return kept


bad = st.sampled_from([float("nan"), float("inf"), -float("inf"), -16384.0, 0.0])
pts = st.one_of(st.sampled_from([24.0, 25.0, 26.0, 30.0]), bad)
angles = st.one_of(st.sampled_from([-2.5, -1.0, 0.0, 2.5, 2.6]), st.just(float("nan")))
items = st.tuples(pts, angles, angles, st.sampled_from([0.0, -1.0, 4.0, float("inf")]))
one_event = st.fixed_dictionaries(
    {name: st.lists(items, max_size=3) for name in ("Electrons", "Muons", "Jets")}
)
cut = st.fixed_dictionaries(
    {}, optional={"pt_min": st.sampled_from([25.0, 30.0]), "eta_max": st.just(2.5)}
)
count = st.sampled_from([{"min": 0, "max": 1}, {"min": 1}, {"min": 0, "max": 0}, {}])
keys = ("electrons", "muons", "jets", "taus")
some_cuts = st.fixed_dictionaries({}, optional=dict.fromkeys(keys, cut))
some_counts = st.fixed_dictionaries({}, optional=dict.fromkeys(keys, count))


@given(st.lists(one_event, max_size=6), some_cuts, some_counts)
def test_selection_is_that_of_a_loop_over_events(
    events: list[Event], cuts: dict[str, Any], counts: dict[str, Any]
) -> None:
    kinematic = KinematicCuts.model_validate(cuts)
    multiplicities = ParticleCounts.model_validate(counts)
    selected, _ = select(events_of(events), kinematic, multiplicities)
    assert kept_of(selected) == obviously_kept(events, kinematic, multiplicities)


@given(st.lists(one_event, max_size=6), some_cuts, some_counts)
def test_every_cut_flow_leads_from_what_was_read_to_what_was_kept(
    events: list[Event], cuts: dict[str, Any], counts: dict[str, Any]
) -> None:
    read = events_of(events)
    selected, flow = select(
        read, KinematicCuts.model_validate(cuts), ParticleCounts.model_validate(counts)
    )
    check_cut_flow("test", flow, "events", len(read), len(selected))
    for name, objects in read.objects.items():
        end = selected.objects[name].n_objects
        check_cut_flow("test", flow, name, objects.n_objects, end)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("item", "valid"),
    [
        ((30.0, 0.0, 0.0, 5.0), True),
        ((30.0, 0.0, 0.0, -5.0), True),
        ((30.0, 0.0, 0.0, 0.0), True),
        ((1e-6, 0.0, 0.0, 0.0), True),
        ((0.0, 0.0, 0.0, 0.0), False),
        ((-16384.0, 0.0, 0.0, 0.0), False),
        ((NAN, 0.0, 0.0, 0.0), False),
        ((INF, 0.0, 0.0, 0.0), False),
        ((30.0, NAN, 0.0, 0.0), False),
        ((30.0, -INF, 0.0, 0.0), False),
        ((30.0, 0.0, NAN, 0.0), False),
        ((30.0, 0.0, INF, 0.0), False),
        ((30.0, 0.0, 0.0, NAN), False),
        ((30.0, 0.0, 0.0, INF), False),
    ],
    ids=str,
)
def test_an_object_is_valid_with_positive_pt_and_finite_numbers(item: Item, *, valid: bool) -> None:
    assert is_valid(objects_of([[item]])).tolist() == [valid]


JET: Item = (30.0, 0.0, 0.0, 5.0)


def kept_pts(items: list[Item], **jets: float) -> list[float]:
    cuts = KinematicCuts.model_validate({"jets": jets})
    selected, _ = select(events_of([{"Jets": items}]), cuts, NO_COUNTS)
    return selected.objects["Jets"].columns["pt"].tolist()


def test_a_pt_of_exactly_the_cut_is_kept() -> None:
    below = float(np.nextafter(np.float32(30), np.float32(0)))
    assert kept_pts([JET, (below, 0.0, 0.0, 5.0)], pt_min=30.0) == [30.0]


@pytest.mark.parametrize("side", [-1.0, 1.0], ids=["backward", "forward"])
def test_an_eta_of_exactly_the_cut_is_kept(side: float) -> None:
    above = float(np.nextafter(np.float32(2.47), np.float32(3)))
    items = [(30.0, side * 2.47, 0.0, 5.0), (31.0, side * above, 0.0, 5.0)]
    assert kept_pts(items, eta_max=2.47) == [30.0]


@pytest.mark.parametrize(("n_jets", "kept"), [(0, False), (1, True), (2, True), (3, False)])
def test_both_ends_of_a_multiplicity_are_allowed(n_jets: int, *, kept: bool) -> None:
    counts = ParticleCounts.model_validate({"jets": {"min": 1, "max": 2}})
    selected, _ = select(events_of([{"Jets": [JET] * n_jets}]), NO_CUTS, counts)
    assert len(selected) == int(kept)


def test_multiplicities_count_what_the_cuts_left() -> None:
    cuts = KinematicCuts.model_validate({"jets": {"pt_min": 30.0}})
    counts = ParticleCounts.model_validate({"jets": {"min": 0, "max": 1}})
    soft = (29.0, 0.0, 0.0, 5.0)
    selected, _ = select(events_of([{"Jets": [JET, soft, soft]}]), cuts, counts)
    assert len(selected) == 1


def test_a_type_that_is_not_in_the_files_counts_as_none() -> None:
    counts = ParticleCounts.model_validate({"taus": {"min": 1}})
    selected, _ = select(events_of([{"Jets": [JET]}]), NO_CUTS, counts)
    assert len(selected) == 0


def test_cuts_of_one_type_leave_the_others_alone() -> None:
    cuts = KinematicCuts.model_validate({"electrons": {"pt_min": 100.0}})
    selected, _ = select(events_of([{"Jets": [JET], "Electrons": [JET]}]), cuts, NO_COUNTS)
    assert kept_of(selected) == [(0, {"Electrons": [], "Muons": [], "Jets": [30.0]})]


def test_each_step_says_what_it_removed() -> None:
    jets: list[Item] = [JET, (NAN, 0, 0, 0), (20, 0, 0, 0), (20, 9, 0, 0), (40, 9, 0, 0)]
    cuts = KinematicCuts.model_validate({"jets": {"pt_min": 30.0, "eta_max": 4.5}})
    counts = ParticleCounts.model_validate({"jets": {"min": 1}})
    _, flow = select(events_of([{"Jets": jets}, {}]), cuts, counts)
    assert [row for row in flow if row.of in ("Jets", "events")] == [
        CutRow(step="invalid", of="Jets", before=5, removed=1),
        CutRow(step="pt_min", of="Jets", before=4, removed=2),
        CutRow(step="eta_max", of="Jets", before=2, removed=1),
        CutRow(step="number of jets", of="events", before=2, removed=1),
        CutRow(step="rejected events", of="Jets", before=1, removed=0),
    ]


def test_no_events_give_a_cut_flow_of_zeros() -> None:
    selected, flow = select(events_of([]), NO_CUTS, NO_COUNTS)
    assert len(selected) == 0
    assert {(row.before, row.removed) for row in flow} == {(0, 0)}
