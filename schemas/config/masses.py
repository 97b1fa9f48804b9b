"""The block of the mass calculation: which combinations, in which final states."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from schemas.config.blocks import Block, Items, ParticleName
from schemas.particles import ORDER


def _at_least_two(value: int) -> int:
    # One object has no invariant mass of interest; older configurations wrote 1.
    return max(value, 2)


MassOf = Annotated[int, Field(ge=1), AfterValidator(_at_least_two)]


class MassCalculation(Block):
    """Which combinations get an invariant mass, and in which final states."""

    input_dir: str
    """Folder of the selected events."""
    output_dir: str
    """Folder of the masses."""
    field_to_slice_by: Literal["pt"] = "pt"
    """Objects are ranked by this quantity, largest first."""
    parallel_processes: int | None = Field(None, ge=1)
    """Worker processes for the later stages; null takes the cores given to the job."""
    objects_to_calculate: Items[ParticleName] = ("Electrons", "Muons", "Jets", "Photons")
    """Types that combinations are made of."""
    final_state_objects: Items[ParticleName] = ()
    """Types whose multiplicities make the final state; left out: objects_to_calculate."""
    min_particles_in_combination: MassOf = 2
    """Fewest objects in a combination; 1 is read as 2."""
    max_particles_in_combination: MassOf = 4
    """Most objects in a combination."""
    min_count_particle_in_combination: int = Field(1, ge=1)
    """Fewest objects of a type that takes part."""
    max_count_particle_in_combination: int = Field(4, ge=1)
    """Most objects of a type that takes part."""
    min_types_in_combination: int | None = Field(None, ge=1)
    """Fewest different types in a combination."""
    max_types_in_combination: int | None = Field(None, ge=1)
    """Most different types in a combination."""
    min_events_per_fs: int = Field(100, ge=1)
    """Final states with fewer events in the whole run are not computed."""
    include_subleading: bool = False
    """Also windows that do not start at the leading object."""
    max_subleading_index: int = Field(1, ge=0)
    """With include_subleading: the last rank that a window may reach (or its own length)."""

    @model_validator(mode="before")
    @classmethod
    def _same_objects(cls, data: object) -> object:
        if isinstance(data, dict) and not data.get("final_state_objects"):
            default = cls.model_fields["objects_to_calculate"].default
            return data | {"final_state_objects": data.get("objects_to_calculate", default)}
        return data

    @field_validator("objects_to_calculate", "final_state_objects")
    @classmethod
    def _table_order(cls, value: tuple[ParticleName, ...]) -> tuple[ParticleName, ...]:
        if not value:
            msg = "at least one type is needed, for example [Electrons, Muons]"
            raise ValueError(msg)
        if len(set(value)) != len(value):
            msg = "a type is named twice; name each once"
            raise ValueError(msg)
        return tuple(sorted(value, key=ORDER.__getitem__))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what in ("particles_in", "count_particle_in", "types_in"):
            low, high = (getattr(self, f"{end}_{what}_combination") for end in ("min", "max"))
            if low is not None and high is not None and high < low:
                msg = (
                    f"max_{what}_combination ({high}) is below min_{what}_combination ({low}); "
                    "no combination is possible"
                )
                raise ValueError(msg)
        missing = sorted(set(self.objects_to_calculate) - set(self.final_state_objects))
        if missing:
            msg = (
                f"final_state_objects lacks {', '.join(missing)} of objects_to_calculate; add "
                "it, or leave out final_state_objects: a final state must count every type that "
                "combinations are made of"
            )
            raise ValueError(msg)
        return self
