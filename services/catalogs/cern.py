"""Records of the CERN Open Data portal -> their files."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import (
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from schemas.errors import CatalogError
from schemas.inputs import LARGEST_FILE, Dataset, FileList, InputFile, Sample
from services.catalogs.layouts import layout_of_record
from services.storage.addresses import canonical, portal, ways
from services.storage.events import list_trees
from services.storage.remote import open_remote
from services.storage.retries import Limits, RequestError
from services.storage.web import WebClient

log = logging.getLogger(__name__)

T = TypeVar("T")
Item = TypeVar("Item", "_Entry", "_Index")

_PER_PAGE = 100
# ATLAS files end in .root.1 and the like.
_ROOT_FILE = re.compile(r".+\.root(\.[0-9]+)?", re.IGNORECASE)
# Lists of files that older records count among their files.
_INDEX_FILE = re.compile(r".+_file_index\.(json|txt)", re.IGNORECASE)


def _many(value: object) -> object:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Entry(_Reply):
    """One file of a record."""

    uri: str
    size: int | None = Field(None, ge=0, le=LARGEST_FILE)
    checksum: str | None = None
    availability: Any = None

    @property
    def file_name(self) -> str:
        return self.uri.rpartition("/")[2]

    @property
    def name(self) -> str:
        return self.uri


Entries = Annotated[tuple[_Entry, ...], BeforeValidator(_many)]


class _Index(_Reply):
    """A list of files within a record."""

    key: str
    number_files: int | None = Field(None, ge=0)
    files: Entries = ()

    @property
    def name(self) -> str:
        return self.key


class _Page(_Reply, Generic[Item]):
    """A part of a list, and how long the list is."""

    total: int = Field(ge=0)
    files: tuple[Item, ...] = ()


class _Relation(_Reply):
    recid: Annotated[str, BeforeValidator(str)] = ""


class _Record(_Reply):
    """What the portal says about a record."""

    title: str = ""
    experiment: Annotated[tuple[str, ...], BeforeValidator(_many)] = ()
    formats: Annotated[tuple[str, ...], BeforeValidator(_many)] = Field(
        (), validation_alias=AliasPath("distribution", "formats")
    )
    number_files: int | None = Field(
        None, ge=0, validation_alias=AliasPath("distribution", "number_files")
    )
    number_events: int | None = Field(
        None, ge=0, validation_alias=AliasPath("distribution", "number_events")
    )
    kinds: Annotated[tuple[str, ...], BeforeValidator(_many)] = Field(
        (), validation_alias=AliasPath("type", "secondary")
    )
    files: Entries = ()
    indexes: Annotated[tuple[_Index, ...], BeforeValidator(_many)] = Field(
        (), validation_alias="_file_indices"
    )
    relations: Annotated[tuple[_Relation, ...], BeforeValidator(_many)] = ()


class _Answer(_Reply):
    metadata: dict[str, Any]


_Files = _Page[_Entry]
_Indexes = _Page[_Index]
_ENTRIES = TypeAdapter(tuple[_Entry, ...])


def list_record(
    record_id: str,
    seconds: float,
    limits: Limits,
    layouts: Mapping[str, str] = MappingProxyType({}),
) -> FileList:
    """Return all ROOT files of a record; listing it takes at most so many seconds.

    `layouts` are those that the configuration gives to records.

    Raises:
        CatalogError: the portal does not answer, or its list is not complete.
        ConfigError: the record's files cannot be read.
    """
    with WebClient(limits, until=time.monotonic() + seconds) as client:
        try:
            return _list(record_id, client, limits, layouts)
        except RequestError as error:
            msg = (
                f"record {record_id}: the portal's list cannot be had ({error}); correct "
                "parsing_task_config.specific_record_ids, or try again later"
            )
            raise CatalogError(msg) from error


def _trees_of(url: str, limits: Limits) -> dict[str, tuple[str, ...]]:
    """Return the branches of each tree of a file, which is read no further than that."""
    file = InputFile(url=url, source="", layout="", sample=Sample.DATA)
    address = ways(url, "https")[0]
    trees = list_trees(url, lambda: open_remote(address, file, limits, 1))
    return {name: content.branches for name, content in trees.items()}


def _list(
    record_id: str, client: WebClient, limits: Limits, layouts: Mapping[str, str]
) -> FileList:
    url = f"{portal()}/api/records/{record_id}"
    metadata = _checked(url, client.get_json(url), TypeAdapter(_Answer)).metadata
    record = _checked(url, metadata, TypeAdapter(_Record))
    entries = _all_entries(record_id, record, client)
    root_files = [entry for entry in entries if _is_root(entry)]
    others = len(entries) - len(root_files)
    if not root_files:
        related = ", ".join(r.recid for r in record.relations if r.recid)
        hint = f"; it belongs to other records, name those: {related}" if related else ""
        msg = f"record {record_id} ({record.title}): it lists no ROOT file among {others}{hint}"
        raise CatalogError(msg)
    _warn_of_tapes(record_id, root_files)
    first = canonical(root_files[0].uri, url)
    layout = layout_of_record(record_id, layouts, metadata, lambda: _trees_of(first, limits))
    sample = _sample(record_id, record)
    source = f"record_{record_id}"
    dataset = Dataset(
        source=source,
        key=record_id,
        catalog="record",
        sample=sample,
        title=record.title,
        events=record.number_events,
        left_out=others,
    )
    files = [
        InputFile(
            url=canonical(entry.uri, url),
            source=source,
            layout=layout,
            sample=sample,
            size=entry.size,
            checksum=_checksum(url, entry),
            dataset=record_id,
        )
        for entry in root_files
    ]
    log.info("record %s: %d ROOT files, %d others left out", record_id, len(files), others)
    return FileList(datasets=(dataset,), files=tuple(files))


def _sample(record_id: str, record: _Record) -> Sample:
    """Return whether a record is simulation, from what the portal says about it."""
    kinds = {kind.lower() for kind in record.kinds}
    formats = {name.lower() for name in record.formats}
    is_simulation = "simulated" in kinds or "nanoaodsim" in formats
    if is_simulation is ("collision" in kinds):
        msg = (
            f"record {record_id} ({record.title}): expected the portal to say whether it is "
            f"collision data or simulation, found {', '.join(record.kinds) or 'nothing'}"
        )
        raise CatalogError(msg)
    return Sample.SIMULATION if is_simulation else Sample.DATA


def _all_entries(record_id: str, record: _Record, client: WebClient) -> list[_Entry]:
    """Return every file of a record, those of all its indexes included.

    Raises:
        CatalogError: there are fewer than the record itself counts.
    """
    found = list(record.files)
    for index in record.indexes:
        found += _of_index(record_id, index, client)
    entries = _unique(found)
    total = record.number_files
    if total is None or len(entries) < total:
        # What stands in the record can be cut; its pages are not.
        found += _pages(record_id, "files", _Files, client)
        for index in _pages(record_id, "index_files", _Indexes, client):
            found += _of_index(record_id, index, client)
        entries = _unique(found)
    n_root = sum(_is_root(entry) for entry in entries)
    # Whether a record counts its other entries differs from one to the next.
    if total is not None and n_root < total != len(entries):
        msg = (
            f"record {record_id}: expected {total} files, as it counts itself, found {len(entries)}"
            f" ({n_root} of them ROOT files); a list that is not whole is not used, try again later"
        )
        raise CatalogError(msg)
    return entries


def _is_root(entry: _Entry) -> bool:
    return _ROOT_FILE.fullmatch(entry.file_name) is not None


def _unique(entries: Iterable[_Entry]) -> list[_Entry]:
    by_uri = {entry.uri: entry for entry in entries if not _INDEX_FILE.fullmatch(entry.file_name)}
    return list(by_uri.values())


def _of_index(record_id: str, index: _Index, client: WebClient) -> tuple[_Entry, ...]:
    """Return the files of an index, asking for them where they are not all in the record."""
    if index.files and index.number_files in (None, len(index.files)):
        return index.files
    url = f"{portal()}/record/{record_id}/file_index/{quote(index.key, safe='')}"
    entries = _checked(url, client.get_json(url), _ENTRIES)
    if index.number_files not in (None, len(entries)):
        msg = f"{url}: expected {index.number_files} files, found {len(entries)}; try again later"
        raise CatalogError(msg)
    return entries


def _pages(record_id: str, kind: str, page_of: type[_Page[Item]], client: WebClient) -> list[Item]:
    """Return what stands on all pages of one kind, `files` or `index_files`."""
    found: dict[str, Item] = {}
    number = 1
    while True:
        url = f"{portal()}/record/{record_id}/filepage/{number}"
        reply = client.get_json(url, {"type": kind, "perPage": _PER_PAGE})
        if isinstance(reply, dict) and isinstance(reply.get(kind), dict):
            # A reply with both kinds has each under its name.
            reply = reply[kind]
        page = _checked(url, reply, TypeAdapter(page_of))
        before = len(found)
        found |= {item.name: item for item in page.files}
        if len(found) >= page.total:
            return list(found.values())
        if len(found) == before:
            msg = (
                f"{url}: expected {page.total} {kind} on all pages, found {len(found)}; a list "
                "that is not whole is not used, try again later"
            )
            raise CatalogError(msg)
        number += 1


def _checked(url: str, reply: Any, kind: TypeAdapter[T]) -> T:
    """Return a reply as what it should be.

    Raises:
        CatalogError: it is something else.
    """
    try:
        return kind.validate_python(reply)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "its start"
        msg = f"{url}: expected the list of a record's files, found at {place}: {first['msg']}"
        raise CatalogError(msg) from error


def _checksum(url: str, entry: _Entry) -> str | None:
    """Return a checksum as `algorithm:digits`; older records leave out which it is."""
    if not entry.checksum:
        return None
    algorithm, _, digits = entry.checksum.rpartition(":")
    if not re.fullmatch("([A-Za-z0-9-]+:)?[0-9A-Fa-f]+", entry.checksum):
        msg = f"{url}: expected a checksum of {entry.file_name}, found {entry.checksum[:100]!r}"
        raise CatalogError(msg)
    return f"{(algorithm or 'adler32').lower()}:{digits.lower()}"


def _warn_of_tapes(record_id: str, entries: Iterable[_Entry]) -> None:
    away = [e for e in entries if e.availability not in (None, "online")]
    if away:
        log.warning(
            "record %s: %d files are not online (%s), reading them may fail; have them staged at "
            "%s/record/%s",
            record_id,
            len(away),
            away[0].availability,
            portal(),
            record_id,
        )
