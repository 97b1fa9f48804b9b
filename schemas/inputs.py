"""The input files of a run, and the chunks and slices they are dealt into."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Sample(StrEnum):
    """Collision data and simulation are never mixed; everything is kept once per sample."""

    DATA = "data"
    SIMULATION = "mc"

    @property
    def suffix(self) -> str:
        """What names carry to tell the samples apart: nothing for data."""
        return "" if self is Sample.DATA else f"_{self.value}"


# No file is larger; what a catalog says beyond it is nonsense.
LARGEST_FILE = 1 << 50


class InputFile(BaseModel):
    """One file of events, as a catalog lists it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: str
    """Address or absolute path."""
    source: str
    """Where it was asked for: a release key, `record_{id}` or `local_{layout}`."""
    layout: str
    """Key of the data layout it is read with."""
    sample: Sample
    """Collision data or simulation."""
    size: int | None = Field(None, ge=0, le=LARGEST_FILE)
    """Bytes, where known."""
    events: int | None = Field(None, ge=0)
    """Entries of its tree, where known."""
    checksum: str | None = Field(None, pattern=r"^[a-z0-9-]+:[0-9a-f]+$")
    """`algorithm:digits`, where known."""
    dataset: str | None = None
    """Key of its dataset in the source, where files come in datasets."""

    @property
    def is_remote(self) -> bool:
        """Whether it has to be transferred."""
        return "://" in self.url


# The dataset of a release that is collision data; all others are simulation.
COLLISIONS = "data"


class Dataset(BaseModel):
    """What a catalog tells about files that belong together."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: str
    """A release key or `record_{id}`."""
    key: str
    """Its name in the source: `data` or a dataset number; a record's id."""
    catalog: Literal["release", "record"]
    """Which kind of catalog it is from."""
    sample: Sample
    title: str = ""
    cross_section_pb: float | None = None
    filter_efficiency: float | None = None
    k_factor: float | None = None
    sum_of_weights: float | None = None
    events: int | None = None
    """Events in all files."""
    left_out: int = 0
    """Entries that are no ROOT files."""

    @model_validator(mode="after")
    def _told_apart_by_key(self) -> Self:
        is_data = self.sample is Sample.DATA
        if self.catalog == "release" and is_data is not (self.key == COLLISIONS):
            msg = f"dataset {self.key} of {self.source} is listed as {self.sample}"
            raise ValueError(msg)
        return self


class FileList(BaseModel):
    """The input files of a run in their order: metadata_cache.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    request: str = ""
    """Digest of what was asked for."""
    listed_at: datetime | None = None
    """When the catalogs were asked."""
    digest: str = ""
    """Of datasets and files, so that damage shows."""
    datasets: tuple[Dataset, ...] = ()
    files: tuple[InputFile, ...]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        samples = {(dataset.source, dataset.key): dataset.sample for dataset in self.datasets}
        for file in self.files:
            if file.dataset and samples.get((file.source, file.dataset)) is not file.sample:
                msg = (
                    f"{file.url} is listed as {file.sample}, which its dataset {file.dataset} of "
                    f"{file.source} is not"
                )
                raise ValueError(msg)
        if self.digest and self.digest != _digest([*self.datasets, *self.files]):
            msg = "the content does not fit its digest: it is damaged, or was changed by hand"
            raise ValueError(msg)
        return self

    def sealed(self, request: str, listed_at: datetime) -> FileList:
        """Return the list with what it was made for, when, and its digest."""
        return FileList(
            request=request,
            listed_at=listed_at,
            digest=_digest([*self.datasets, *self.files]),
            datasets=self.datasets,
            files=self.files,
        )


def _digest(entries: Iterable[BaseModel]) -> str:
    total = hashlib.sha256()
    for entry in entries:
        total.update(entry.model_dump_json().encode())
    return total.hexdigest()


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
        return _sum_if_known(file.size for file in self.files)

    @property
    def planned(self) -> dict[str, int | None]:
        """How much there is to read, by unit; None where the catalog does not tell."""
        events = _sum_if_known(file.events for file in self.files)
        return {"events": events, "files": len(self.files)}


def _sum_if_known(values: Iterable[int | None]) -> int | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None


@dataclass(frozen=True)
class Slice:
    """The part of a run's chunks that one job does: number `index` (from 1) of `total`."""

    index: int = 1
    total: int = 1

    def __str__(self) -> str:
        """Return for example `1_of_1`."""
        return f"{self.index}_of_{self.total}"
