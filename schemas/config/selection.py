"""What is selected: cuts on objects, multiplicities, overlap removal and triggers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo, model_validator

from schemas.config.blocks import Block, FieldName, Items, TypeKey
from schemas.particles import BY_KEY, PARTICLES

# A real selection above 1 TeV keeps nothing; 25000 is a cut somebody took over from MeV.
_LARGEST_PT_CUT_GEV = 1000.0


def _sensible_pt(value: float) -> float:
    if value > _LARGEST_PT_CUT_GEV:
        msg = f"cuts are in GeV: did you mean {value / 1000.0}?"
        raise ValueError(msg)
    return value


PtCut = Annotated[float, Field(ge=0), AfterValidator(_sensible_pt)]


class CountRange(Block):
    """How many objects of a type a kept event has."""

    min: int = Field(0, ge=0)
    """Fewest."""
    max: int | None = Field(None, ge=0)
    """Most; null is no limit."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.max < self.min:
            msg = f"max ({self.max}) is below min ({self.min}); no event could be kept"
            raise ValueError(msg)
        return self


def _rising_eta(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= value[0] < value[1]:
        msg = "expected [lo, hi] in |eta| with 0 <= lo < hi"
        raise ValueError(msg)
    return value


EtaRange = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_rising_eta)]


class KinematicCut(Block):
    """Cuts on the objects of one type, in GeV. Fields are the layout's, in the file's own unit."""

    pt_min: PtCut | None = None
    """Smallest transverse momentum in GeV."""
    pt_max: PtCut | None = None
    """Largest transverse momentum in GeV."""
    eta_max: float | None = Field(None, gt=0)
    """Largest |eta|."""
    eta_exclude: EtaRange | None = None
    """Between these two |eta|, [lo, hi], objects are removed: a gap of the detector."""
    rel_isolation_max: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Largest isolation relative to pt; the layout says which field that is."""
    require: Items[FieldName] = ()
    """Flags that must all be set, for example [mediumId]."""
    require_any: Items[FieldName] = ()
    """Flags of which at least one must be set."""
    field_min: dict[FieldName, float] = {}
    """Smallest value per field, for example {cutBased: 3}."""
    field_max: dict[FieldName, float] = {}
    """Largest value per field, for example {quality: 1}."""
    bits: dict[FieldName, Annotated[int, Field(gt=0, lt=2**63)]] = {}
    """Per field of bits the mask that must be set in full, for example {jetId: 2}."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.pt_min is not None and self.pt_max is not None and self.pt_max < self.pt_min:
            msg = f"pt_max ({self.pt_max}) is below pt_min ({self.pt_min}); nothing could be kept"
            raise ValueError(msg)
        for name in sorted(set(self.field_min) & set(self.field_max)):
            low, high = self.field_min[name], self.field_max[name]
            if high < low:
                msg = f"field_max of {name} ({high}) is below its field_min ({low})"
                raise ValueError(msg)
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the cuts name, each once."""
        named = (*self.require, *self.require_any, *self.field_min, *self.field_max, *self.bits)
        return tuple(dict.fromkeys(named))


class ParticleCounts(Block):
    """Multiplicities of a kept event; a type that is not named has no condition."""

    electrons: CountRange | None = None
    """How many electrons a kept event has; null is any number."""
    muons: CountRange | None = None
    """How many muons a kept event has; null is any number."""
    jets: CountRange | None = None
    """How many jets that are not b-tagged a kept event has; null is any number."""
    photons: CountRange | None = None
    """How many photons a kept event has; null is any number."""
    taus: CountRange | None = None
    """How many hadronically decaying tau leptons a kept event has; null is any number."""
    bjets: CountRange | None = None
    """How many b-tagged jets a kept event has; null is any number."""


class KinematicCuts(Block):
    """Cuts per type; a type that is not named has none."""

    electrons: KinematicCut | None = None
    """Which electrons are kept; null is all."""
    muons: KinematicCut | None = None
    """Which muons are kept; null is all."""
    jets: KinematicCut | None = None
    """Which jets that are not b-tagged are kept; null is all."""
    photons: KinematicCut | None = None
    """Which photons are kept; null is all."""
    taus: KinematicCut | None = None
    """Which hadronically decaying tau leptons are kept; null is all."""
    bjets: KinematicCut | None = None
    """Which b-tagged jets are kept; null is all."""


def default_counts() -> ParticleCounts:
    """Return up to four objects of each type."""
    return ParticleCounts(**{particle.key: CountRange(min=0, max=4) for particle in PARTICLES})


def default_cuts() -> KinematicCuts:
    """Return cuts where ATLAS reconstructs each type well."""
    return KinematicCuts(
        electrons=KinematicCut(pt_min=25.0, eta_max=2.47),
        muons=KinematicCut(pt_min=25.0, eta_max=2.5),
        jets=KinematicCut(pt_min=30.0, eta_max=4.5),
        photons=KinematicCut(pt_min=25.0, eta_max=2.37),
        taus=KinematicCut(pt_min=20.0, eta_max=2.5),
        bjets=KinematicCut(pt_min=30.0, eta_max=4.5),
    )


class OverlapRule(Block):
    """One rule of overlap removal: of two objects that are one, which goes."""

    remove: TypeKey
    """What is removed; `jets` means jets and b-jets."""
    near: Items[TypeKey] = Field(min_length=1)
    """If it is close to one of these; `jets` means jets and b-jets."""
    delta_r: float = Field(gt=0, allow_inf_nan=False)
    """Closer than this, in sqrt(delta eta^2 + delta phi^2)."""

    @model_validator(mode="after")
    def _not_itself(self) -> Self:
        both = set(types_meant(self.remove)) & {
            name for key in self.near for name in types_meant(key)
        }
        if both:
            msg = (
                f"remove: {self.remove} near {', '.join(self.near)} would remove "
                f"{' and '.join(sorted(both))} near themselves; name different types"
            )
            raise ValueError(msg)
        return self

    def __str__(self) -> str:
        """Return for example `jets near electrons, muons (0.4)`."""
        return f"{self.remove} near {', '.join(self.near)} ({self.delta_r})"


def types_meant(key: str) -> tuple[str, ...]:
    """Return the names of the types that a key of an overlap rule means."""
    return ("Jets", "BJets") if key == "jets" else (BY_KEY[key].name,)


def _rules(*rows: tuple[TypeKey, tuple[TypeKey, ...], float]) -> tuple[OverlapRule, ...]:
    return tuple(OverlapRule(remove=what, near=near, delta_r=size) for what, near, size in rows)


_LEPTONS: tuple[TypeKey, ...] = ("electrons", "muons")


OVERLAP_PRESETS: dict[str, tuple[OverlapRule, ...]] = {
    "atlas": _rules(
        ("taus", _LEPTONS, 0.2),
        ("jets", ("electrons",), 0.2),
        ("electrons", ("jets",), 0.4),
        ("jets", ("muons",), 0.2),
        ("muons", ("jets",), 0.4),
        ("jets", ("taus",), 0.2),
        ("photons", _LEPTONS, 0.4),
        ("jets", ("photons",), 0.4),
    ),
    "cms": _rules(
        ("photons", _LEPTONS, 0.4),
        ("jets", ("electrons", "muons", "photons"), 0.4),
        ("taus", _LEPTONS, 0.4),
        ("jets", ("taus",), 0.4),
    ),
    "none": (),
}


def _name_or_rules(value: object) -> str:
    return "[rules]" if isinstance(value, list | tuple) else "[name]"


OverlapRemoval = Annotated[
    Annotated[Literal["default", "atlas", "cms", "none"], Tag("[name]")]
    | Annotated[Items[OverlapRule], Tag("[rules]")],
    Discriminator(_name_or_rules),
]


def _name_or_number(value: object) -> str:
    return "[name]" if isinstance(value, str) else "[number]"


Threshold = Annotated[
    Annotated[float, Tag("[number]")] | Annotated[str, Tag("[name]")],
    Discriminator(_name_or_number),
]


class Trigger(Block):
    """Which boolean branches must be true for an event to be kept: `any` of some, or `all`."""

    any: Items[str] = ()
    """At least one of these."""
    all: Items[str] = ()
    """Every one of these."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.any) == bool(self.all):
            msg = "expected branches under either `any` or `all`, for example {any: [trigE, trigM]}"
            raise ValueError(msg)
        return self

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches, each once."""
        return tuple(dict.fromkeys(self.any or self.all))


def _in_folder(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    folder = Path(info.context["folder"] if info.context else ".").absolute()
    return tuple(str(folder / Path(path).expanduser()) for path in value)


FilePaths = Annotated[Items[str], AfterValidator(_in_folder)]


# YAML reads 30529 as a number; some ids are words.
MissingTrigger = Literal["error", "reject"]


class SelectionProfile(Block):
    """What replaces the selection for some inputs; a key that is left out stays as it is there."""

    particle_counts: ParticleCounts | None = None
    """Multiplicities of a kept event, instead of all of the general ones."""
    kinematic_cuts: KinematicCuts | None = None
    """Cuts per object type, instead of all of the general ones."""
    overlap_removal: OverlapRemoval | None = None
    """Which rules remove one object reconstructed as two."""
    enable_jet_tagging: bool | None = None
    """Make b-jets of jets at or above the threshold."""
    jet_btag_field: FieldName | None = None
    """What jets are b-tagged with."""
    jet_btag_threshold: Threshold | None = None
    """A number, or the name of a working point."""
    trigger: Trigger | None = None
    """Boolean branches that must be true."""
    missing_trigger: MissingTrigger | None = None
    """What a trigger branch that a file lacks means."""
    good_run_lists: FilePaths | None = None
    """Lists of certified runs."""
