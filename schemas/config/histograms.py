"""The block of the histograms: their binning, their names and what BumpNet takes."""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from schemas.config.blocks import Block, Items, PositiveGeV


class PtResolution(Block):
    """Relative pt resolution of an object: the terms, with pt in GeV, are added in quadrature."""

    noise_gev: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Term that falls as 1/pt, in GeV."""
    stochastic: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Term that falls as 1/sqrt(pt), in sqrt(GeV)."""
    constant: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Term that does not depend on pt."""
    linear_per_gev: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Term that grows with pt, as that of tracks does, per GeV."""


class PtResolutions(Block):
    """Relative pt resolution per type; the defaults are round numbers typical of LHC detectors."""

    electrons: PtResolution = PtResolution(noise_gev=0.3, stochastic=0.1, constant=0.01)
    """Electrons, measured by the calorimeter."""
    muons: PtResolution = PtResolution(constant=0.02, linear_per_gev=0.0001)
    """Muons, measured as tracks: worse with rising pt."""
    jets: PtResolution = PtResolution(noise_gev=3.0, stochastic=0.8, constant=0.04)
    """Jets that are not b-tagged."""
    photons: PtResolution = PtResolution(noise_gev=0.3, stochastic=0.1, constant=0.01)
    """Photons, measured by the calorimeter as electrons are."""
    taus: PtResolution = PtResolution(stochastic=0.6, constant=0.05)
    """Hadronically decaying tau leptons: the neutrino is lost."""
    bjets: PtResolution = PtResolution(noise_gev=3.0, stochastic=0.9, constant=0.05)
    """B-tagged jets: neutrinos of b decays make them worse than other jets."""


class Acceptance(Block):
    """The rule by which BumpNet takes a histogram."""

    last_bin_above: float = Field(0.35, ge=0, allow_inf_nan=False)
    """Everything after the last bin with more than this is cut away."""
    min_bins: int = Field(25, ge=1)
    """Fewest bins that must be left."""
    min_sum: float = Field(100.0, ge=0, allow_inf_nan=False)
    """Smallest sum of the bins that are left."""


# Names without BumpNet's form, for `use_bumpnet_naming: false`.
_PLAIN_TEMPLATE = "{prefix}{combination}_{final_state}_{width}"


_TEMPLATE_FIELDS = frozenset({"prefix", "combination", "category", "final_state", "width"})


def _makes_names(template: str) -> str:
    parts = list(Formatter().parse(template))
    fields = [name for _, name, _, _ in parts if name is not None]
    if any(spec or conversion for _, _, spec, conversion in parts):
        msg = "a field in braces is a name alone, without a format"
        raise ValueError(msg)
    unknown = sorted(set(fields) - _TEMPLATE_FIELDS)
    if unknown:
        msg = f"unknown field {unknown[0]!r}; known: {', '.join(sorted(_TEMPLATE_FIELDS))}"
        raise ValueError(msg)
    if not template.startswith("{prefix}"):
        msg = "must begin with {prefix}: BumpNet reads only keys that begin with ROI"
        raise ValueError(msg)
    if "combination" not in fields or not {"category", "final_state"} & set(fields):
        msg = "{combination} and {category} (or {final_state}) are needed to tell channels apart"
        raise ValueError(msg)
    text = "".join(literal for literal, _, _, _ in parts)
    if not re.fullmatch(r"[A-Za-z0-9_.-]*", text):
        msg = "letters, digits, dot, underscore and hyphen only: others mean something in ROOT keys"
        raise ValueError(msg)
    return template


_WIDTH = {"type": "number", "exclusiveMinimum": 0}


_ONE_OR_MANY = WithJsonSchema(
    {"anyOf": [_WIDTH, {"type": "array", "items": _WIDTH, "minItems": 1, "uniqueItems": True}]}
)


class HistogramCreation(Block):
    """Which histograms are written."""

    input_dir: str
    """Folder of the masses after post-processing."""
    output_dir: str
    """Folder of the ROOT files."""
    binning: Literal["fixed", "resolution"] = "fixed"
    """Bins of equal width, or bins that grow with the mass resolution of the combination."""
    bin_width_gev: Annotated[Items[PositiveGeV], _ONE_OR_MANY] = Field((10.0,), min_length=1)
    """Bin width in GeV, a number or a list; one histogram per width. For `binning: fixed`."""
    pt_resolution: PtResolutions = PtResolutions()
    """Relative pt resolution of each type. For `binning: resolution`."""
    min_bin_width_gev: PositiveGeV = 1.0
    """Bins are at least so wide, in GeV. For `binning: resolution`."""
    histogram_type: Literal["TH1D", "TH1F"] = "TH1D"
    """ROOT class; TH1F is half the size, and exact up to 16,777,216 entries in a bin."""
    single_output_file: bool = True
    """All histograms in one file; false writes one file per final state."""
    output_filename: str = Field(
        "atlas_opendata_bumpnet.root", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.root$"
    )
    """Name of the ROOT file; simulation goes to the same name with `_mc`."""
    exclude_outliers: bool = True
    """Leave out what was split off as outliers."""
    also_save_unprocessed: bool = False
    """Also write raw_mass_...: all masses of every channel, on the whole grid."""
    use_bumpnet_naming: bool = True
    """Names as BumpNet expects, and the copies it reads; false: combination_final state_width."""
    histogram_name_template: Annotated[str, AfterValidator(_makes_names)] = (
        "{prefix}mass_{combination}_cat_{category}_width_{width}"
    )
    """Names with use_bumpnet_naming. Fields: prefix, combination, category, final_state, width."""
    bumpnet_acceptance: Acceptance = Acceptance()
    """Which histograms are written a second time as ROI_mass_..., the only ones BumpNet reads."""

    @field_validator("bin_width_gev", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return value if isinstance(value, list | tuple) else [value]

    @field_validator("bin_width_gev")
    @classmethod
    def _each_once(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) != len(value):
            msg = "a width is given twice; give each once"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        several = self.binning == "fixed" and len(self.bin_width_gev) > 1
        if several and "{width}" not in self.name_template:
            msg = (
                "histogram_name_template: without {width} the histograms of several bin widths "
                "would have the same name; add {width}, or give one bin_width_gev"
            )
            raise ValueError(msg)
        return self

    @property
    def name_template(self) -> str:
        """The template of the names in use."""
        return self.histogram_name_template if self.use_bumpnet_naming else _PLAIN_TEMPLATE
