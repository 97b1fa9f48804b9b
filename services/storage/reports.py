"""Reports, file lists and states: pydantic models <-> JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import xxhash
from pydantic import BaseModel, ValidationError

from schemas.errors import DataError
from schemas.inputs import Slice
from schemas.reports import Output
from services.storage.atomic import storage_errors, write_text

Model = TypeVar("Model", bound=BaseModel)

_BLOCK = 1 << 20


def write(path: Path, report: BaseModel, part: Slice) -> None:
    """Write a report, whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    write_text(path, report.model_dump_json(indent=1) + "\n", part)


def read(path: Path, model: type[Model]) -> Model:
    """Read a report of a known kind.

    Raises:
        DataError: the file is missing or is not such a report.
        StorageError: it cannot be read.
    """
    try:
        with storage_errors(path, "read"):
            text = path.read_bytes() if path.exists() else None
        if text is None:
            msg = (
                f"{path}: expected a {model.__name__}, found no such file; run the stage that "
                "makes it"
            )
            raise DataError(msg)
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        msg = (
            f"{path}: expected a {model.__name__}, found at {where or 'its start'}: {first['msg']}"
        )
        raise DataError(msg) from error


def describe(path: Path) -> Output:
    """Return name, size and digest of a file, as reports carry them."""
    digest = xxhash.xxh128()
    with storage_errors(path, "read"), path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
        return Output(name=path.name, size=file.tell(), xxh128=digest.hexdigest())


def check(path: Path, described: Output) -> None:
    """Make sure that a file is the one that a report describes, before it is used.

    Raises:
        DataError: it is missing, or another.
        StorageError: it cannot be read.
    """
    found = describe(path) if path.exists() else None
    if found != described:
        size = f"another ({found.size:,} bytes, {found.xxh128[:16]})" if found else "none"
        msg = (
            f"{path}: expected the file that its report describes ({described.size:,} bytes, "
            f"digest {described.xxh128[:16]}), found {size}; make it again, with --redo"
        )
        raise DataError(msg)
