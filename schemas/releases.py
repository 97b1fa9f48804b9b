"""The release table: how each data layout names and stores what the pipeline reads."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import ConfigError
from schemas.particles import BY_KEY

# What a stored energy is divided by to be in GeV.
ENERGY_UNITS = {"GeV": 1.0, "MeV": 1000.0}

# What release years may be called, and the layout that each is stored in.
RELEASES = {
    "2016e-8tev": None,
    "2020e-13tev": None,
    "2024r-pp": "2024r-pp",
    "2024r-hi": None,
    "2025e-13tev-beta": None,
    "2025r-evgen-13tev": None,
    "2025r-evgen-13p6tev": None,
}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


# Names of one branch in order of preference: names that moved between versions are alternatives.
Names = Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ObjectBranches(_Table):
    """The branches of one object type."""

    pt: Names
    """Transverse momentum, in the layout's energy unit."""
    eta: Names
    """Pseudorapidity."""
    phi: Names
    """Azimuth in radians."""
    mass: Names | None = None
    """Mass, in the layout's energy unit."""


class EventIdentity(_Table):
    """The branches that tell one event from every other."""

    run: Names
    lumi: Names | None = None
    event: Names


class Simulation(_Table):
    """How a file of simulation is told from collision data."""

    has_branch: Names
    """A file with any of these branches is simulation."""


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
    trees: Names
    """Tree names in order of preference."""
    energy_unit: Literal["GeV", "MeV"]
    """Unit of pt and mass in the files."""
    event_id: EventIdentity
    simulation: Simulation
    objects: dict[str, ObjectBranches]
    """Branches per object type, by the type's key (electrons, muons, ...)."""

    @model_validator(mode="after")
    def _known_objects(self) -> Self:
        unknown = sorted(set(self.objects) - set(BY_KEY))
        if unknown:
            msg = f"objects: unknown type {', '.join(unknown)}; known: {', '.join(BY_KEY)}"
            raise ValueError(msg)
        return self


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


def layout_of_release(release: str) -> str:
    """Return the layout of a release year.

    Raises:
        ConfigError: the release cannot be read, or there is none of this name.
    """
    if "-evgen-" in release:
        msg = (
            f"release {release!r} cannot be read: it holds generator events as HepMC text, not "
            "ROOT files; choose another release"
        )
        raise ConfigError(msg)
    layout = RELEASES.get(release)
    if layout is None:
        msg = f"release {release!r} cannot be read: no data layout is known for it"
        raise ConfigError(msg)
    return layout
