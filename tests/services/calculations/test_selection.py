"""The selection against a slow, obvious one that walks from event to event."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import (
    OVERLAP_PRESETS,
    KinematicCut,
    KinematicCuts,
    OverlapRule,
    ParticleCounts,
    Trigger,
)
from schemas.errors import DataError
from schemas.particles import PARTICLES
from schemas.reports import CutRow, check_cut_flow
from services.calculations.good_runs import Block, GoodRuns
from services.calculations.objects import B_TAG, RELATIVE_ISOLATION, Events, Objects
from services.calculations.selection import Selection, select

NAMES = [particle.name for particle in PARTICLES if particle.name != "BJets"]
KINEMATICS = ("pt", "eta", "phi", "mass")
FIELDS = {"tight": "?", "quality": "f4", "bits": "u1", RELATIVE_ISOLATION: "f4", B_TAG: "f4"}

# What the keys of a rule mean.
MEANT = {particle.key: (particle.name,) for particle in PARTICLES} | {"jets": ("Jets", "BJets")}

Object = dict[str, Any]


@dataclass
class Event:
    """One event, as people think of it."""

    run: int = 1
    lumi: int = 1
    triggers: dict[str, bool] = field(default_factory=lambda: {"a": True, "b": True})
    objects: dict[str, list[Object]] = field(default_factory=dict)


def an_object(**values: Any) -> Object:
    """An object that passes everything, but for what is given."""
    return {
        "pt": 50.0,
        "eta": 0.0,
        "phi": 0.0,
        "mass": 0.0,
        "tight": True,
        "quality": 1.0,
        "bits": 7,
        RELATIVE_ISOLATION: 0.0,
        B_TAG: 0.0,
    } | values


def flat(events: list[Event]) -> Events:
    """The same events as the pipeline holds them."""
    objects = {}
    for name in NAMES:
        rows = [event.objects.get(name, []) for event in events]
        offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
        items = [item for row in rows for item in row]

        def column(key: str, kind: str, items: list[Object] = items) -> np.ndarray:
            return np.array([item[key] for item in items], dtype=kind)

        columns = {key: column(key, "f4") for key in KINEMATICS}
        fields = {key: column(key, kind) for key, kind in FIELDS.items()}
        objects[name] = Objects(offsets, columns, fields)
    return Events(
        np.array([event.run for event in events], dtype=np.uint32),
        np.array([event.lumi for event in events], dtype=np.uint32),
        np.arange(len(events), dtype=np.uint64),
        objects,
        {key: np.array([e.triggers[key] for e in events], dtype=bool) for key in ("a", "b")},
    )


def is_near(one: Object, other: Object, delta_r: float) -> bool:
    d_eta = one["eta"] - other["eta"]
    d_phi = math.remainder(one["phi"] - other["phi"], 2.0 * math.pi)
    return d_eta**2 + d_phi**2 < delta_r**2


def passes(item: Object, cut: KinematicCut | None) -> bool:
    if cut is None:
        return True
    size = abs(item["eta"])
    return (
        (cut.pt_min is None or item["pt"] >= cut.pt_min)
        and (cut.pt_max is None or item["pt"] <= cut.pt_max)
        and (cut.eta_max is None or size <= cut.eta_max)
        and (cut.eta_exclude is None or not cut.eta_exclude[0] <= size <= cut.eta_exclude[1])
        and (cut.rel_isolation_max is None or item[RELATIVE_ISOLATION] <= cut.rel_isolation_max)
        and all(item[name] for name in cut.require)
        and (not cut.require_any or any(item[name] for name in cut.require_any))
        and all(item[name] >= low for name, low in cut.field_min.items())
        and all(item[name] <= high for name, high in cut.field_max.items())
        and all(item[name] & mask == mask for name, mask in cut.bits.items())
    )


def is_wanted(event: Event, selection: Selection, good: list[Block] | None) -> bool:
    """Whether good-run lists and trigger let an event pass."""
    is_good = good is None or any(
        event.run == run and first <= event.lumi <= last for run, first, last in good
    )
    trigger = selection.trigger
    if trigger is None:
        return is_good
    any_of, all_of = ([event.triggers[name] for name in ns] for ns in (trigger.any, trigger.all))
    return is_good and (any(any_of) if any_of else all(all_of))


def without_overlaps(
    objects: dict[str, list[Object]], rules: tuple[OverlapRule, ...]
) -> dict[str, list[Object]]:
    """What the rules leave of the objects of one event."""
    left = dict(objects)
    for rule in rules:
        others = [item for key in rule.near for name in MEANT[key] for item in left.get(name, [])]
        for name in MEANT[rule.remove]:
            left[name] = [
                item
                for item in left.get(name, [])
                if not any(is_near(item, other, rule.delta_r) for other in others)
            ]
    return left


def slow_objects(event: Event, selection: Selection) -> dict[str, list[Object]]:
    """The objects of one event after all cuts on objects, by type."""
    objects = {
        name: [
            item
            for item in event.objects.get(name, [])
            if item["pt"] > 0 and all(math.isfinite(item[key]) for key in KINEMATICS)
        ]
        for name in NAMES
    }
    cuts = selection.cuts
    own = {particle.name: getattr(cuts, particle.key) for particle in PARTICLES}
    threshold = selection.btag_threshold
    if threshold is not None:
        objects["BJets"] = [jet for jet in objects["Jets"] if jet[B_TAG] >= threshold]
        objects["Jets"] = [jet for jet in objects["Jets"] if not jet[B_TAG] >= threshold]
        own["BJets"] = own["BJets"] or cuts.jets
    passing = {
        name: [item for item in items if passes(item, own[name])] for name, items in objects.items()
    }
    left = without_overlaps(passing, selection.overlap)
    return {name: left[name] for name in objects}


def slowly(
    events: list[Event], selection: Selection, good: list[Block] | None
) -> list[tuple[int, dict[str, list[tuple[float, ...]]]]]:
    """Number and objects (pt, eta, phi, mass by type) of each kept event, one after the other."""
    kept = []
    for number, event in enumerate(events):
        objects = slow_objects(event, selection)
        is_kept = is_wanted(event, selection, good)
        for particle in PARTICLES:
            allowed = getattr(selection.counts, particle.key)
            count = len(objects.get(particle.name, []))
            if allowed and (count < allowed.min or count > (allowed.max or 10**6)):
                is_kept = False
        if is_kept:
            found = {
                name: [tuple(item[key] for key in KINEMATICS) for item in items]
                for name, items in objects.items()
            }
            kept.append((number, found))
    return kept


def as_rows(events: Events) -> list[tuple[int, dict[str, list[tuple[float, ...]]]]]:
    rows = []
    for i in range(len(events)):
        found = {}
        for name, objects in events.objects.items():
            inside = slice(int(objects.offsets[i]), int(objects.offsets[i + 1]))
            values = [objects.columns[key][inside].tolist() for key in KINEMATICS]
            found[name] = list(zip(*values, strict=True))
        rows.append((int(events.event[i]), found))
    return rows


def random_object(rng: np.random.Generator) -> Object:
    """Mostly an ordinary object, sometimes one that is invalid or exactly at a cut."""
    item = an_object(
        pt=rng.uniform(10, 100),
        eta=rng.uniform(-1, 1),
        # More than one turn, so that differences need wrapping more than once.
        phi=rng.uniform(-4, 8),
        mass=rng.uniform(-1, 20),
        tight=bool(rng.random() < 0.7),
        quality=rng.choice([0.0, 1.0, 1.0, 2.0, math.nan]),
        bits=int(rng.integers(8)),
    )
    item[RELATIVE_ISOLATION] = rng.choice([0.0, 0.0, 0.125, 0.5, math.nan])
    item[B_TAG] = rng.choice([0.0, 0.25, 0.5, 1.0, math.nan])
    if rng.random() < 0.2:
        odd = {
            "pt": [25.0, 75.0, -16384.0, 0.0, math.nan, math.inf],
            "eta": [0.125, -0.25, 0.75, math.nan],
            "mass": [math.nan, math.inf],
        }
        key = rng.choice(list(odd))
        item[key] = rng.choice(odd[key])
    return item | {key: float(np.float32(item[key])) for key in KINEMATICS}


def random_events(seed: int) -> list[Event]:
    """Some events, the same for the same seed; types have 0 to 4 objects each."""
    rng = np.random.default_rng(seed)
    return [
        Event(
            run=int(rng.integers(1, 4)),
            lumi=int(rng.integers(1, 5)),
            triggers={key: bool(rng.random() < 0.7) for key in ("a", "b")},
            objects={name: [random_object(rng) for _ in range(rng.integers(5))] for name in NAMES},
        )
        for _ in range(rng.integers(25))
    ]


EVENTS = st.integers(0, 2**32 - 1).map(random_events)
# Numbers that float32 holds exactly, so that both sides cut at the same place.
CUT = st.builds(
    KinematicCut,
    pt_min=st.sampled_from([None, 25.0]),
    pt_max=st.none() | st.just(75.0),
    eta_max=st.none() | st.just(0.75),
    eta_exclude=st.none() | st.just((0.125, 0.25)),
    rel_isolation_max=st.none() | st.just(0.125),
    require=st.sampled_from([(), ("tight",)]),
    require_any=st.sampled_from([(), ("tight", "bits")]),
    field_min=st.sampled_from([{}, {"quality": 1.0}]),
    field_max=st.sampled_from([{}, {"quality": 1.0}]),
    bits=st.sampled_from([{}, {"bits": 3}]),
)
KEYS = [particle.key for particle in PARTICLES]
CUTS = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, CUT)).map(
    lambda given: KinematicCuts(**given)
)
COUNTS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(KEYS, st.sampled_from([{"max": 2}, {"min": 1}, {"min": 0, "max": 3}])),
).map(ParticleCounts.model_validate)


def is_rule(row: tuple[str, str, float]) -> bool:
    try:
        OverlapRule(remove=row[0], near=(row[1],), delta_r=row[2])
    except ValueError:
        return False
    return True


RULES = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS), st.sampled_from([0.25, 0.5, 1.0]))
    .filter(is_rule)
    .map(lambda row: OverlapRule(remove=row[0], near=(row[1],), delta_r=row[2])),
    max_size=4,
).map(tuple)
OVERLAP = RULES | st.sampled_from([OVERLAP_PRESETS["atlas"], OVERLAP_PRESETS["cms"]])
TRIGGER = st.sampled_from([None, Trigger(any=("a", "b")), Trigger(all=("a", "b"))])
BTAG = st.sampled_from([None, 0.5])
GOOD = st.none() | st.just([(1, 1, 2), (2, 2, 4), (2, 1, 1)])


def agree(events: list[Event], selection: Selection, good: list[Block] | None = None) -> None:
    """Assert that both selections keep the same, and that the books balance."""
    table = None if good is None else GoodRuns.of(good)
    read = flat(events)
    selected, flow = select(read, replace(selection, good_runs=table))
    assert as_rows(selected) == slowly(events, selection, good)
    assert_balanced(read, selected, flow)


@given(EVENTS, OVERLAP, BTAG)
def test_overlap_removal_is_that_of_a_loop_over_events(
    events: list[Event], overlap: tuple[OverlapRule, ...], threshold: float | None
) -> None:
    agree(events, Selection(KinematicCuts(), ParticleCounts(), overlap, threshold))


@given(EVENTS, CUTS, BTAG)
def test_cuts_on_objects_are_those_of_a_loop_over_events(
    events: list[Event], cuts: KinematicCuts, threshold: float | None
) -> None:
    agree(events, Selection(cuts, ParticleCounts(), (), threshold))


@given(EVENTS, COUNTS, TRIGGER, GOOD)
def test_cuts_on_events_are_those_of_a_loop_over_events(
    events: list[Event], counts: ParticleCounts, trigger: Trigger | None, good: list[Block] | None
) -> None:
    agree(events, Selection(KinematicCuts(), counts, trigger=trigger), good)


@given(EVENTS, st.builds(Selection, CUTS, COUNTS, OVERLAP, BTAG, TRIGGER), GOOD)
def test_the_whole_selection_is_that_of_a_loop_over_events(
    events: list[Event], selection: Selection, good: list[Block] | None
) -> None:
    agree(events, selection, good)


def assert_balanced(read: Events, selected: Events, flow: tuple[CutRow, ...]) -> None:
    check_cut_flow("events", flow, "events", len(read), len(selected))
    tagged = sum(row.removed for row in flow if row.step == "b-tagged")
    for name, objects in selected.objects.items():
        start = tagged if name == "BJets" else read.objects[name].n_objects
        assert next(row.before for row in flow if row.of == name) == start
        check_cut_flow(name, flow, name, start, objects.n_objects)


def of_jets(*items: Object) -> Events:
    return flat([Event(objects={"Jets": list(items)})])


def jets_kept(cut: KinematicCut, *items: Object) -> int:
    selection = Selection(KinematicCuts(jets=cut), ParticleCounts())
    return select(of_jets(*items), selection)[0].objects["Jets"].n_objects


@pytest.mark.parametrize(
    ("cut", "item", "kept"),
    [
        (KinematicCut(pt_min=25.0), an_object(pt=25.0), True),
        (KinematicCut(pt_max=25.0), an_object(pt=25.0), True),
        (KinematicCut(eta_max=2.5), an_object(eta=-2.5), True),
        (KinematicCut(eta_exclude=(1.37, 1.52)), an_object(eta=-1.4), False),
        (KinematicCut(eta_exclude=(1.37, 1.52)), an_object(eta=1.6), True),
        (KinematicCut(bits={"bits": 6}), an_object(bits=4), False),
        (KinematicCut(bits={"bits": 6}), an_object(bits=7), True),
        (KinematicCut(bits={"bits": 512}), an_object(bits=255), False),
        (KinematicCut(field_min={"quality": 0.0}), an_object(quality=math.nan), False),
        (KinematicCut(rel_isolation_max=0.5), an_object(**{RELATIVE_ISOLATION: math.nan}), False),
    ],
)
def test_a_cut_at_its_edge(cut: KinematicCut, item: Object, *, kept: bool) -> None:
    assert jets_kept(cut, item) == int(kept)


def test_bits_of_a_field_that_is_not_whole_are_an_error() -> None:
    with pytest.raises(DataError, match="Jets: expected whole numbers in the field quality"):
        jets_kept(KinematicCut(bits={"quality": 1}), an_object())


def test_a_tagged_jet_that_fails_the_cuts_is_dropped_and_is_no_jet_again() -> None:
    selection = Selection(
        KinematicCuts(jets=KinematicCut(pt_min=30.0)), ParticleCounts(), btag_threshold=0.5
    )
    jets = [an_object(pt=40.0), an_object(pt=20.0, **{B_TAG: 0.5}), an_object(**{B_TAG: 0.9})]
    selected, flow = select(of_jets(*jets), selection)
    assert selected.objects["Jets"].columns["pt"].tolist() == [40.0]
    assert selected.objects["BJets"].columns["pt"].tolist() == [50.0]
    rows = [(row.step, row.before, row.removed) for row in flow if row.of == "BJets"]
    assert rows == [("pt_min", 2, 1), ("rejected events", 1, 0)]


def test_b_jets_have_their_own_cuts_where_they_are_given() -> None:
    cuts = KinematicCuts(jets=KinematicCut(pt_min=30.0), bjets=KinematicCut(pt_min=60.0))
    selection = Selection(cuts, ParticleCounts(), btag_threshold=0.5)
    selected, _ = select(of_jets(an_object(**{B_TAG: 1.0}), an_object()), selection)
    assert selected.objects["BJets"].n_objects == 0
    assert selected.objects["Jets"].n_objects == 1


def test_what_cuts_name_is_not_kept() -> None:
    selected, _ = select(of_jets(an_object()), Selection(KinematicCuts(), ParticleCounts()))
    assert selected.objects["Jets"].fields == {}
    assert selected.triggers == {}


def test_steps_come_in_the_agreed_order() -> None:
    selection = Selection(
        KinematicCuts(jets=KinematicCut(pt_min=30.0)),
        ParticleCounts.model_validate({"jets": {"min": 1}}),
        OVERLAP_PRESETS["cms"][3:],
        0.5,
        Trigger(any=("a",)),
        GoodRuns.of([(1, 1, 1)]),
    )
    _, flow = select(of_jets(an_object()), selection)
    assert [row.step for row in flow if row.of == "Jets"] == [
        "good runs",
        "trigger",
        "invalid",
        "b-tagged",
        "pt_min",
        "overlap 1: jets near taus (0.4)",
        "rejected events",
    ]
    steps = [row.step for row in flow if row.of == "events"]
    assert steps == ["good runs", "trigger", "number of jets"]
