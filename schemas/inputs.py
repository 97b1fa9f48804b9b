"""The input files of a run, and the chunks and slices they are dealt into."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Sample(StrEnum):
    """Collision data and simulation are never mixed; everything is kept once per sample."""

    DATA = "data"
    SIMULATION = "mc"

    @property
    def suffix(self) -> str:
        """What names carry to tell the samples apart: nothing for data."""
        return "" if self is Sample.DATA else f"_{self.value}"


class InputFile(BaseModel):
    """One file of events, as a catalog lists it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: str
    """Address or absolute path."""
    source: str
    """Where it was asked for: a release key or `local_{layout}`."""
    layout: str
    """Key of the data layout it is read with."""
    sample: Sample
    """Collision data or simulation."""
    size: int | None = None
    """Bytes, where known."""
    events: int | None = None
    """Entries of its tree, where known."""


class FileList(BaseModel):
    """The input files of a run in catalog order: metadata_cache.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[InputFile, ...]


@dataclass(frozen=True)
class Chunk:
    """Whole files of one source and sample: the unit of parallel work and of restart."""

    name: str
    files: tuple[InputFile, ...]

    @property
    def first(self) -> InputFile:
        """The first file; all files of a chunk share its source, layout and sample."""
        return self.files[0]

    @property
    def size(self) -> int | None:
        """Bytes of all files; None where one's is not known."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None


@dataclass(frozen=True)
class Slice:
    """The part of a run's chunks that one job does: number `index` (from 1) of `total`."""

    index: int = 1
    total: int = 1

    def __str__(self) -> str:
        """Return for example `1_of_1`."""
        return f"{self.index}_of_{self.total}"
