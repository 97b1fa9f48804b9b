"""Configuration and layout -> what is selected, and therefore read, of one source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from schemas.config import OVERLAP_PRESETS, KinematicCut, OverlapRule, Parsing
from schemas.errors import ConfigError, did_you_mean
from schemas.inputs import Sample
from schemas.particles import PARTICLES
from schemas.releases import Discriminant, Layout, load_layout
from services.calculations.selection import Selection
from services.storage.branches import Extras
from services.storage.run_lists import read_good_runs


@dataclass(frozen=True)
class SourceSelection:
    """What happens to the events of one source and sample."""

    selection: Selection
    extras: Extras
    parsing: Parsing
    """The configuration with the source's own profile."""
    overlap_name: str
    """What the rules of overlap removal are called."""


def selection_of(parsing: Parsing, source: str, layout_key: str, sample: Sample) -> SourceSelection:
    """Return what is selected of a source.

    Raises:
        ConfigError: its layout does not have what the configuration asks for.
    """
    layout = load_layout(layout_key)
    own = parsing.for_source(source)
    good_runs = own.good_run_lists if sample is Sample.DATA else ()
    btag, threshold = _btagging(own, source, layout)
    name, rules = overlap_rules(own, layout)
    fields, isolated = _named_fields(own, source, layout)
    selection = Selection(
        cuts=own.kinematic_cuts,
        counts=own.particle_counts,
        overlap=rules,
        btag_threshold=threshold,
        trigger=own.trigger,
        good_runs=read_good_runs(good_runs) if good_runs else None,
    )
    extras = Extras(
        fields=fields,
        isolated=isolated,
        btag=btag,
        triggers=own.trigger.branches if own.trigger else (),
        missing_trigger=own.missing_trigger,
        certified=bool(good_runs),
    )
    return SourceSelection(selection, extras, own, name)


def overlap_rules(parsing: Parsing, layout: Layout) -> tuple[str, tuple[OverlapRule, ...]]:
    """Return the rules of overlap removal that a layout's events get, and what they are called."""
    asked = parsing.overlap_removal
    if not isinstance(asked, str):
        return "own rules", asked
    name = layout.overlap_removal if asked == "default" else asked
    return name, OVERLAP_PRESETS[name]


def _btagging(
    parsing: Parsing, source: str, layout: Layout
) -> tuple[Discriminant | None, float | None]:
    """Return what jets are tagged with and the threshold; None for both: they are not."""
    if not parsing.enable_jet_tagging:
        return None, None
    if layout.btagging is None or "jets" not in layout.objects:
        msg = (
            f"enable_jet_tagging: {source}: the layout {layout.key} has no b-tagging; set "
            f"enable_jet_tagging: false for it, for example under selection_by_release"
        )
        raise ConfigError(msg)
    name = parsing.jet_btag_field or layout.btagging.default
    known = layout.btagging.fields
    btag = known.get(name) or _any_field(name, layout)
    asked = parsing.jet_btag_threshold
    threshold = btag.default if asked is None else asked
    if isinstance(threshold, float):
        return btag, threshold
    if threshold is None or threshold not in btag.working_points:
        points = btag.working_points
        hint = did_you_mean(threshold or "", points) if points else "; it has none, give a number"
        msg = (
            f"jet_btag_threshold: {source}: expected a number or a working point of {name} "
            f"({layout.key}), found {threshold!r}{hint}"
        )
        raise ConfigError(msg)
    return btag, btag.working_points[threshold]


def _any_field(name: str, layout: Layout) -> Discriminant:
    """Return a field of jets as a discriminant; its file says whether it is there."""
    branches = layout.objects["jets"].branches_of(name)
    if not branches:
        known = layout.btagging.fields if layout.btagging else ()
        msg = (
            f"jet_btag_field: {name!r} is no b-tag of the layout {layout.key}"
            f"{did_you_mean(name, known)}"
        )
        raise ConfigError(msg)
    return Discriminant(branch=branches)


def _named_fields(
    parsing: Parsing, source: str, layout: Layout
) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """Return the fields that cuts name, by type, and the types with a cut on isolation, as keys."""
    fields: dict[str, tuple[str, ...]] = {}
    isolated = set()
    for particle in PARTICLES:
        cut: KinematicCut | None = getattr(parsing.kinematic_cuts, particle.key)
        is_b_jet = particle.name == "BJets"
        if cut is None or (is_b_jet and not parsing.enable_jet_tagging):
            continue
        # b-jets are made of jets, and have their fields.
        key = "jets" if is_b_jet else particle.key
        is_read = bool(cut.fields) or cut.rel_isolation_max is not None
        if is_read and key not in layout.objects:
            msg = (
                f"kinematic_cuts.{particle.key}: {source}: the layout {layout.key} has no "
                f"{particle.name}, so their fields cannot be cut on; leave the cut out for this "
                "input, for example under selection_by_release"
            )
            raise ConfigError(msg)
        if cut.fields:
            fields[key] = tuple(dict.fromkeys((*fields.get(key, ()), *cut.fields)))
        if cut.rel_isolation_max is not None:
            isolated.add(key)
    return fields, frozenset(isolated)


def _in_words(cut: KinematicCut) -> Iterator[str]:
    """Yield the conditions that objects must meet; fields are in the file's own unit."""
    for sign, limit, unit in (
        ("pt >=", cut.pt_min, " GeV"),
        ("pt <=", cut.pt_max, " GeV"),
        ("|eta| <=", cut.eta_max, ""),
        ("relative isolation <=", cut.rel_isolation_max, ""),
    ):
        if limit is not None:
            yield f"{sign} {limit:g}{unit}"
    if cut.eta_exclude is not None:
        yield "|eta| outside {:g}-{:g}".format(*cut.eta_exclude)
    if cut.require:
        yield f"all of {', '.join(cut.require)}"
    if cut.require_any:
        yield f"any of {', '.join(cut.require_any)}"
    yield from (f"{field} >= {limit:g}" for field, limit in cut.field_min.items())
    yield from (f"{field} <= {limit:g}" for field, limit in cut.field_max.items())
    yield from (f"bits {mask} of {field}" for field, mask in cut.bits.items())


def describe(source: str, what: SourceSelection) -> list[str]:
    """Return the selection of a source as lines for people, overlap removal first."""
    parsing, selection = what.parsing, what.selection
    rules = "; ".join(str(rule) for rule in selection.overlap)
    off = "; `overlap_removal: none` turns it off" if rules else ""
    lines = [f"overlap removal ({what.overlap_name}): {rules or 'none'}{off}"]
    if selection.good_runs is not None:
        lines.append(f"good runs: {', '.join(parsing.good_run_lists)} (data only)")
    if selection.trigger is not None:
        kind = "any" if selection.trigger.any else "all"
        lines.append(f"trigger: {kind} of {', '.join(selection.trigger.branches)}")
    if selection.btag_threshold is not None:
        field = parsing.jet_btag_field or "the layout's b-tag"
        lines.append(f"b-jets: jets with {field} >= {selection.btag_threshold}")
    for particle in PARTICLES:
        cut = getattr(selection.cuts, particle.key)
        if cut is not None:
            lines.append(f"{particle.key}: {', '.join(_in_words(cut)) or 'all'}")
    for particle in PARTICLES:
        allowed = getattr(selection.counts, particle.key)
        if allowed is not None:
            most = "any number" if allowed.max is None else allowed.max
            lines.append(f"number of {particle.key}: {allowed.min} to {most}")
    return [f"{source}: {line}" for line in lines]
