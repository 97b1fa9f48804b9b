"""What all blocks of the configuration share: their base, and kinds of values."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

ParticleName = Literal["Electrons", "Muons", "Jets", "Photons", "Taus", "BJets"]


_BYTES = r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT]?[bB])\s*$"


_BYTE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _read_bytes(value: object) -> object:
    """Turn `500 MB` into 500000000; leave everything else to the type check."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    match = re.match(_BYTES, value) if isinstance(value, str) else None
    if match:
        return int(Decimal(match[1]) * _BYTE_UNITS[match[2].upper()])
    return value


Bytes = Annotated[
    int,
    BeforeValidator(_read_bytes),
    Field(gt=0),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0},
                {"type": "string", "pattern": _BYTES},
            ]
        }
    ),
]


T = TypeVar("T")


# Types are strict (no "8" for 8), but YAML has lists only.
Items = Annotated[tuple[T, ...], Field(strict=False)]


PositiveGeV = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Block(BaseModel):
    """Base of every block: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
    )


# What a branch of an object is called behind its container: `mediumId` of `Muon_mediumId`.
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


TypeKey = Literal["electrons", "muons", "jets", "photons", "taus", "bjets"]


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def is_multiple(value: float, unit: float) -> bool:
    """Whether `value` is a whole multiple of `unit`, as their decimals are written."""
    return Fraction(str(value)) % Fraction(str(unit)) == 0


@cache  # asked for every channel that a resonance is looked for in, of a few windows
def bins_covering(window_gev: tuple[float, float], width: float) -> tuple[int, int]:
    """Return the bins `first .. stop - 1` of a grid that a window touches: it is widened to edges.

    The decimals are taken as they are written, so that 0.3 lies on the edges of a grid of 0.1.
    """
    low, high = (Decimal(str(end)) / Decimal(str(width)) for end in window_gev)
    return math.floor(low), math.ceil(high)
