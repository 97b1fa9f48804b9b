"""The release table: how each data layout names and stores what the pipeline reads.

One YAML file per layout in schemas/releases; a new file there is a new layout, without any Python.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatch
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import ConfigError, did_you_mean
from schemas.inputs import Sample
from schemas.particles import BY_KEY

# What a stored energy is divided by to be in GeV.
ENERGY_UNITS = {"GeV": 1.0, "MeV": 1000.0}
# Where a field's name stands in a template of branch names.
SLOT = "{}"
# Releases without events that could be read, by the beginning of their names.
REFUSED_RELEASES = {
    "2025r-evgen-": (
        "it holds generator events as HepMC text in .tar.gz archives, not ROOT files with "
        "reconstructed objects"
    ),
}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


# Names of one branch in order of preference: names that moved between versions are alternatives.
Names = Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Flavour(_Table):
    """How the objects of one type are told apart from others in the same branches."""

    branch: Names
    """One whole number per object, for example lep_type."""
    equals: int
    """Its value for this type."""


class Isolation(_Table):
    """What lies around an object: `rel_isolation_max` cuts on it, relative to pt."""

    field: Names
    """The field's name, as cuts write it."""
    kind: Literal["relative", "absolute"]
    """Stored relative to pt, or as energy in the layout's unit."""


class ObjectBranches(_Table):
    """The branches of one object type."""

    pt: Names
    """Transverse momentum, in the layout's energy unit."""
    eta: Names
    """Pseudorapidity."""
    phi: Names
    """Azimuth in radians."""
    mass: Names | None = None
    """Mass, in the layout's energy unit; read if it is there."""
    energy: Names | None = None
    """Energy, in the layout's energy unit; read if it is there and no mass is."""
    only: Flavour | None = None
    """Which of the objects are of this type, where several share branches."""
    field: Names = ()
    """Templates, such as `Muon_{}`, that make a branch of a field that a cut names."""
    optional: tuple[Names, ...] = ()
    """Fields that cuts may name; each with the names that it has had, the newest first."""
    masks: dict[str, int] = {}
    """Fields of which only these bits are the value."""
    isolation: Isolation | None = None
    """What `rel_isolation_max` cuts on."""

    @model_validator(mode="after")
    def _templates(self) -> Self:
        for template in self.field:
            if template.count(SLOT) != 1:
                msg = f"field: expected one {SLOT} in {template!r}, where the field's name goes"
                raise ValueError(msg)
        return self

    def names_of(self, field: str) -> tuple[str, ...]:
        """Return the names that a field has had, its own first."""
        moved = [names for names in self.optional if field in names]
        return tuple(dict.fromkeys([field, *(name for names in moved for name in names)]))

    def branches_of(self, field: str) -> tuple[str, ...]:
        """Return the branches that may hold a field, in order of preference."""
        return tuple(
            template.replace(SLOT, name) for name in self.names_of(field) for template in self.field
        )


class EventIdentity(_Table):
    """The branches that tell one event from every other."""

    run: Names
    lumi: Names | None = None
    """Luminosity block; read if it is there."""
    event: Names


class SampleNames(_Table):
    """Patterns of file names, capitals or not, where branches do not tell data from simulation."""

    data: Names
    simulation: Names


class Simulation(_Table):
    """How a file of simulation is told from collision data."""

    has_branch: Names | None = None
    """A file with any of these branches is simulation, every other is data."""
    file_names: SampleNames | None = None
    """Where data and simulation have the same branches: what files are called."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.has_branch is None) == (self.file_names is None):
            msg = "simulation: expected either has_branch or file_names"
            raise ValueError(msg)
        return self


class LogRatio(_Table):
    """A b-tag discriminant made of probabilities: ln(b / (f charm + (1 - f) light))."""

    b: Names
    charm: Names
    light: Names
    charm_fraction: float = Field(ge=0, le=1)


class Discriminant(_Table):
    """How b-like a jet is: larger is more so."""

    branch: Names | None = None
    """One value per jet."""
    log_ratio: LogRatio | None = None
    """The branches it is computed from."""
    link: Names | None = None
    """Position of the jet's b-tagging object in its event, where that is not in the jets."""
    sentinels: tuple[float, ...] = ()
    """Values that mean: not computed."""
    working_points: dict[str, float] = {}
    """Thresholds by name."""
    default: str | None = None
    """The working point that is used where none is asked for."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.branch is None) == (self.log_ratio is None):
            msg = "expected either branch or log_ratio"
            raise ValueError(msg)
        if self.default is not None and self.default not in self.working_points:
            msg = f"default: {self.default!r} is not among working_points"
            raise ValueError(msg)
        return self

    @property
    def stored(self) -> tuple[Names, ...]:
        """The branches that hold values, each with its alternatives."""
        if self.log_ratio:
            return (self.log_ratio.b, self.log_ratio.charm, self.log_ratio.light)
        return (self.branch,) if self.branch else ()


class BTagging(_Table):
    """What jets can be b-tagged with."""

    default: str
    """The field that is used where none is asked for."""
    fields: dict[str, Discriminant]
    """Discriminants by the name that jet_btag_field gives them."""

    @model_validator(mode="after")
    def _known_default(self) -> Self:
        if self.default not in self.fields:
            msg = f"btagging.default: {self.default!r} is not among btagging.fields"
            raise ValueError(msg)
        return self


class Portal(_Table):
    """How a portal record says that its files have this layout."""

    words: tuple[str, ...]
    """Any of these in the record's formats or title, capitals or not."""


class Layout(_Table):
    """One way in which an experiment stores events."""

    key: str
    """The file's name in schemas/releases; what the configuration calls the layout."""
    description: str
    """One line for people."""
    experiment: str
    """Inputs of different experiments are not mixed unasked."""
    collision_energy_tev: float | None
    """Inputs of different collision energies are not mixed unasked; null where it varies."""
    releases: tuple[str, ...] = ()
    """Release years that are stored like this."""
    portal: Portal | None = None
    """How the portal's metadata name the layout."""
    trees: Names
    """Tree names in order of preference."""
    naming: Literal["flat", "dotted"] = "flat"
    """`dotted`: a branch is `container.field`, which an RNTuple writes `container:field`."""
    energy_unit: Literal["GeV", "MeV"]
    """Unit of pt, mass and energy in the files."""
    event_id: EventIdentity
    simulation: Simulation
    triggers: tuple[str, ...] = ()
    """Patterns of the boolean branches that a trigger selection can name."""
    objects: dict[str, ObjectBranches]
    """Branches per object type, by the type's key (electrons, muons, ...)."""
    required: tuple[Names, ...] = ()
    """Branches that together tell this layout from the others."""
    btagging: BTagging | None = None
    overlap_removal: Literal["atlas", "cms", "none"] = "none"
    """The preset that `overlap_removal: default` means."""

    @property
    def origin(self) -> str:
        """Experiment and collision energy, for example `ATLAS, 13 TeV`."""
        energy = f", {self.collision_energy_tev:g} TeV" if self.collision_energy_tev else ""
        return f"{self.experiment}{energy}"

    @model_validator(mode="after")
    def _known_objects(self) -> Self:
        unknown = sorted(set(self.objects) - set(BY_KEY))
        if unknown:
            msg = f"objects: unknown type {', '.join(unknown)}; known: {', '.join(BY_KEY)}"
            raise ValueError(msg)
        return self

    def spellings(self, names: Names) -> tuple[str, ...]:
        """Return a branch's names in order of preference, as trees and RNTuples write them."""
        if self.naming == "flat":
            return names
        return tuple(
            spelling
            for name in names
            for spelling in dict.fromkeys((name, name.replace(".", ":", 1)))
        )

    def find(self, names: Names, branches: Collection[str]) -> str | None:
        """Return the first of a branch's names that is among `branches`."""
        return next((name for name in self.spellings(names) if name in branches), None)

    def missing(self, branches: Collection[str]) -> tuple[Names, ...]:
        """Return what a tree with these branches lacks to be of this layout."""
        wanted = (self.event_id.run, self.event_id.event, *self.required)
        return tuple(names for names in wanted if self.find(names, branches) is None)

    def sample_of(self, branches: Collection[str]) -> Sample | None:
        """Return what a tree with these branches is; None: branches do not tell."""
        if self.simulation.has_branch is None:
            return None
        found = self.find(self.simulation.has_branch, branches)
        return Sample.DATA if found is None else Sample.SIMULATION

    def sample_named(self, file_name: str) -> Sample | None:
        """Return what a file's name, without its folder, says; None: nothing, or both."""
        names = self.simulation.file_names
        if names is None:
            return None
        lower = file_name.lower()
        patterns = {Sample.DATA: names.data, Sample.SIMULATION: names.simulation}
        said = [s for s, ps in patterns.items() if any(fnmatch(lower, p.lower()) for p in ps)]
        return said[0] if len(said) == 1 else None


@cache
def layout_names() -> tuple[str, ...]:
    """Return the keys of the shipped layouts, sorted: the file names of schemas/releases."""
    names = (entry.name for entry in files("schemas").joinpath("releases").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


@cache
def load_layout(key: str) -> Layout:
    """Return the layout of this name.

    Raises:
        ConfigError: the layout's file is missing or does not describe a layout.
    """
    path = files("schemas").joinpath("releases", f"{key}.yaml")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Layout.model_validate({"key": key, **data})
    except FileNotFoundError:
        msg = f"{key}: there is no such data layout; schemas/releases has one file per layout"
        raise ConfigError(msg) from None
    except (ValidationError, yaml.YAMLError, TypeError) as error:
        msg = f"schemas/releases/{key}.yaml: not a data layout: {error}"
        raise ConfigError(msg) from error


def releases() -> dict[str, str]:
    """Return every release year that can be read, with its layout."""
    return {release: key for key in layout_names() for release in load_layout(key).releases}


def layout_of_release(release: str) -> str:
    """Return the layout of a release year.

    Raises:
        ConfigError: the release cannot be read, or there is none of this name.
    """
    for beginning, reason in REFUSED_RELEASES.items():
        if release.startswith(beginning):
            msg = f"release {release!r} cannot be read: {reason}; choose another release"
            raise ConfigError(msg)
    known = releases()
    if release not in known:
        msg = f"release {release!r} is not known{did_you_mean(release, known)}"
        raise ConfigError(msg)
    return known[release]


def refuse_mixture(keys: Iterable[str]) -> None:
    """Raise ConfigError if layouts are of more than one experiment or collision energy."""
    origins: dict[tuple[str, float | None], Layout] = {}
    for key in dict.fromkeys(keys):
        layout = load_layout(key)
        origins.setdefault((layout.experiment, layout.collision_energy_tev), layout)
    if len(origins) > 1:
        found = " and ".join(f"{layout.key} ({layout.origin})" for layout in origins.values())
        msg = (
            f"parsing_task_config: expected inputs of one experiment and collision energy, found "
            f"{found}; run them apart, or set combine_releases: true to add them up"
        )
        raise ConfigError(msg)


def fitting_layouts(trees: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the layouts that a file's trees (name -> branches) fit, each with the tree."""
    found = {}
    for key in layout_names():
        layout = load_layout(key)
        tree = next((name for name in layout.trees if name in trees), None)
        if tree is not None and not layout.missing(trees[tree]):
            found[key] = tree
    return found


@cache
def _record_table() -> dict[str, dict[str, Any]]:
    text = files("schemas").joinpath("records.yaml").read_text(encoding="utf-8")
    table: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return table


def known_records() -> dict[str, str]:
    """Return the numbers of the portal records that are known to have each layout, in words."""
    known = _record_table()["layouts"]
    return {key: ", ".join(str(entry) for entry in entries) for key, entries in known.items()}


def refused_records() -> dict[str, str]:
    """Return why portal records that hold nothing to read are refused, by their numbers."""
    return {str(entry): reason for entry, reason in _record_table()["refused"].items()}


@cache
def _records() -> tuple[dict[str, str], dict[str, str]]:
    """Return the portal records whose layout is known, and those that cannot be read with why."""
    table = _record_table()
    layouts = {
        record: load_layout(key).key
        for key, entries in table["layouts"].items()
        for entry in entries
        for record in _expanded(entry)
    }
    refused = {
        record: reason for entry, reason in table["refused"].items() for record in _expanded(entry)
    }
    return layouts, refused


def _expanded(entry: str | int) -> list[str]:
    """Return the record numbers that `3800-3841`, or a single number, names."""
    first, _, last = str(entry).partition("-")
    return [str(number) for number in range(int(first), int(last or first) + 1)]


def layout_in_table(record_id: str) -> str | None:
    """Return the layout that the shipped table gives a portal record; None: it is not there.

    Raises:
        ConfigError: the record is known to hold nothing that could be read.
    """
    layouts, refused = _records()
    if record_id in refused:
        msg = f"record {record_id} cannot be read: {refused[record_id]}; choose another record"
        raise ConfigError(msg)
    return layouts.get(record_id)
