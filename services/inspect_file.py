"""What is in a file of events, and which data layout fits it, as text for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatch

from schemas.particles import BY_KEY, PARTICLES, MassSource
from schemas.releases import Layout, fitting_layouts, layout_names, load_layout
from services.storage.events import TreeContent, list_trees

# How many names a line lists; files have hundreds of triggers and thousands of branches.
_NAMED = 12


def inspect(url: str) -> str:
    """Return a file's trees, the layout that fits, and what the file has and lacks of it.

    Raises:
        DataError: the file cannot be read.
    """
    trees = list_trees(url)
    branches = {name: tree.branches for name, tree in trees.items()}
    lines = [url, "", "trees:"]
    lines += [
        f"  {name}: {tree.kind}, {tree.n_events:,} entries, {len(tree.branches)} branches"
        for name, tree in trees.items()
    ] or ["  none"]
    fitting = fitting_layouts(branches)
    lines += ["", f"layout: {', '.join(fitting) or 'none of the known ones fits'}"]
    if not fitting:
        lines += _what_is_missing(trees)
    for key, tree in fitting.items():
        lines += ["", *_describe(load_layout(key), branches[tree])]
    if not fitting:
        lines += [
            "",
            "A file schemas/releases/NAME.yaml adds a layout; start from the one that lacks least.",
            "Branches of the largest tree:",
            *_largest(trees),
        ]
    return "\n".join(lines)


def _what_is_missing(trees: Mapping[str, TreeContent]) -> list[str]:
    lines = []
    for key in layout_names():
        layout = load_layout(key)
        tree = next((name for name in layout.trees if name in trees), None)
        if tree is None:
            lines.append(f"  {key} needs a tree {' or '.join(layout.trees)}")
        else:
            missing = layout.missing(trees[tree].branches)
            names = ", ".join(" or ".join(names) for names in missing)
            lines.append(f"  {key} needs, in {tree}: {names}")
    return lines


def _largest(trees: Mapping[str, TreeContent]) -> list[str]:
    if not trees:
        return ["  none"]
    name = max(trees, key=lambda tree: len(trees[tree].branches))
    branches = sorted(trees[name].branches)
    return [f"  {name}: {branch}" for branch in branches]


def _describe(layout: Layout, there: Collection[str]) -> list[str]:
    """Return the lines on one layout that fits a tree with these branches."""
    energy = "" if layout.collision_energy_tev is None else f", {layout.collision_energy_tev} TeV"
    sample = layout.sample_of(there)
    lines = [
        f"as {layout.key} ({layout.description})",
        f"  experiment: {layout.experiment}{energy}; energies in {layout.energy_unit}",
        f"  data or simulation: {sample or 'branches do not tell; file names do'}",
    ]
    for what, names in (
        ("run", layout.event_id.run),
        ("lumi", layout.event_id.lumi or ()),
        ("event", layout.event_id.event),
    ):
        lines.append(f"  {what}: {layout.find(names, there) or 'missing'}")
    lines += [line for particle in PARTICLES for line in _objects(layout, particle.key, there)]
    lines += _btagging(layout, there)
    found = sorted(b for b in there if any(fnmatch(b, pattern) for pattern in layout.triggers))
    lines.append(f"  triggers: {_shortened(found)}")
    return lines


def _objects(layout: Layout, key: str, there: Collection[str]) -> list[str]:
    if key not in layout.objects:
        return []
    branches = layout.objects[key]
    kinematics = {"pt": branches.pt, "eta": branches.eta, "phi": branches.phi}
    if branches.only:
        kinematics["type"] = branches.only.branch
    missing = [
        " or ".join(names) for names in kinematics.values() if layout.find(names, there) is None
    ]
    name = BY_KEY[key].name
    if missing:
        return [f"  {name}: missing {', '.join(missing)}"]
    mass = "the particle's own"
    if BY_KEY[key].mass_source is MassSource.STORED:
        stored = branches.mass and layout.find(branches.mass, there)
        energy = branches.energy and layout.find(branches.energy, there)
        mass = stored or (f"from {energy}" if energy else f"{BY_KEY[key].mass_gev} GeV")
    lines = [f"  {name}: found; mass: {mass}"]
    present: list[str] = []
    absent: list[str] = []
    for names in branches.optional:
        found = next((n for n in names if layout.find(_own(branches.field, n), there)), None)
        (present if found else absent).append(found or names[0])
    lines += [f"    fields found: {', '.join(present)}"] if present else []
    lines += [f"    fields missing: {', '.join(absent)}"] if absent else []
    return lines


def _own(templates: Collection[str], name: str) -> tuple[str, ...]:
    return tuple(template.format(name) for template in templates)


def _btagging(layout: Layout, there: Collection[str]) -> list[str]:
    if layout.btagging is None:
        return ["  b-tagging: none in this layout"]
    lines = []
    for name, field in layout.btagging.fields.items():
        needed = (*field.stored, *((field.link,) if field.link else ()))
        lacks = [" or ".join(names) for names in needed if layout.find(names, there) is None]
        points = ", ".join(f"{point} {value}" for point, value in field.working_points.items())
        found = (
            f"missing {', '.join(lacks)}" if lacks else f"found ({points or 'no working points'})"
        )
        lines.append(f"  b-tagging with {name}: {found}")
    return lines


def _shortened(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (", ".join(names[:_NAMED]) or "none") + more
