"""What a catalog has to offer: datasets and how much is in them, without their files."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from schemas.inputs import Sample


class OfferedDataset(BaseModel):
    """One dataset that can be asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    key: str
    """`data`, a dataset number, or a record's id."""
    title: str = ""
    """Its short name."""
    sample: Sample
    events: int | None = None
    n_files: int
    """Files without preselection."""
    n_bytes: int | None = None
    """Size of these files, where the catalog tells."""
    skims: dict[str, int] = {}
    """Files of each preselection."""


class Offer(BaseModel):
    """All datasets of a release or record."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    request: str = ""
    """Digest of what was asked for."""
    listed_at: datetime | None = None
    """When the catalog was asked."""
    datasets: tuple[OfferedDataset, ...]

    def sealed(self, request: str, listed_at: datetime) -> Offer:
        """Return the offer with what it was made for, and when."""
        return Offer(request=request, listed_at=listed_at, datasets=self.datasets)
