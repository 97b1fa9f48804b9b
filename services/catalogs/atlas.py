"""ATLAS releases -> their files, through atlasopenmagic.

The library keeps one release at a time in module variables and reads the address of its API when
it is imported; this module is the only one that touches it.
"""

from __future__ import annotations

import difflib
import json
import logging
import os
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any

import requests
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from schemas.config import Parsing
from schemas.errors import CatalogError
from schemas.inputs import COLLISIONS, Dataset, FileList, InputFile, Sample
from schemas.offers import Offer, OfferedDataset
from schemas.releases import layout_of_release
from services.storage.addresses import canonical
from services.storage.background import Task, start
from services.storage.retries import Limits, RequestError
from services.storage.web import WebClient

log = logging.getLogger(__name__)

_API = "https://atlasopenmagic-api.app.cern.ch"
_UNSKIMMED = "noskim"
_one_release_at_a_time = threading.Lock()


def api() -> str:
    """Return the address of the catalog; ATLAS_API_BASE_URL names another one."""
    return os.environ.get("ATLAS_API_BASE_URL", _API).rstrip("/")


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) else value


def _listed(value: object) -> object:
    return () if value is None else value


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Skim(_Row):
    skim_type: str
    file_list: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()


class _Dataset(_Row):
    """One dataset as the API describes it."""

    dataset_number: Annotated[str, BeforeValidator(_text)]
    physics_short: str | None = None
    cross_section_pb: float | None = None
    genFiltEff: float | None = None  # noqa: N815 - the API's names
    kFactor: float | None = None  # noqa: N815
    nEvents: int | None = None  # noqa: N815
    sumOfWeights: float | None = None  # noqa: N815
    file_list: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    skims: Annotated[tuple[_Skim, ...], BeforeValidator(_listed)] = ()

    @property
    def sample(self) -> Sample:
        return Sample.DATA if self.dataset_number == COLLISIONS else Sample.SIMULATION

    def files(self, skim: str | None) -> tuple[str, ...]:
        """Return the files without preselection, or those of one."""
        if skim in (None, _UNSKIMMED):
            return self.file_list
        return tuple(url for s in self.skims if s.skim_type == skim for url in s.file_list)

    @property
    def choices(self) -> list[str]:
        skims = {s.skim_type for s in self.skims if s.file_list}
        return sorted(skims | ({_UNSKIMMED} if self.file_list else set()))


def list_release(release: str, parsing: Parsing, limits: Limits) -> FileList:
    """Return the chosen files of a release: collision data first, then by dataset number.

    Raises:
        CatalogError: the catalog does not answer, is not complete, or lacks what is chosen.
        ConfigError: the release cannot be read.
    """
    layout = layout_of_release(release)
    seconds = parsing.fetching_metadata_timeout
    with WebClient(limits, threads=3, until=time.monotonic() + seconds) as client:
        rows = _load(release, client, seconds)
    chosen = _choose(release, rows, parsing)
    log.info("release %s: %d of %d datasets chosen", release, len(chosen), len(rows))
    files: list[InputFile] = []
    for row in chosen:
        files += _files_of(release, row, parsing.skim, layout)
    return FileList(datasets=tuple(_describe(release, row) for row in chosen), files=tuple(files))


def offer(release: str, parsing: Parsing, limits: Limits) -> Offer:
    """Return all datasets of a release, whatever the configuration chooses; raises as above."""
    seconds = parsing.fetching_metadata_timeout
    with WebClient(limits, threads=3, until=time.monotonic() + seconds) as client:
        rows = _load(release, client, seconds)
    return Offer(
        datasets=tuple(
            OfferedDataset(
                key=row.dataset_number,
                title=row.physics_short or "",
                sample=row.sample,
                events=row.nEvents,
                n_files=len(row.file_list),
                skims={name: len(row.files(name)) for name in row.choices if name != _UNSKIMMED},
            )
            for row in rows
        )
    )


class _Session:
    """What the library sends its requests through: ours, with our limits."""

    def __init__(self, client: WebClient) -> None:
        self._client = client
        self.failure: RequestError | None = None
        self.count: object = None

    def get(self, url: str, params: Mapping[str, Any] | None = None, **_: Any) -> requests.Response:
        """Return the answer to one of the library's requests, complete and good."""
        if url.endswith("/count"):
            # The library can do without; whether the list is whole is asked in another way, too.
            counted = self._client.get_json(url, params)
            self.count = counted.get("count") if isinstance(counted, dict) else None
            body = json.dumps({"count": self.count}).encode()
        else:
            try:
                body = self._client.get(url, params)
            except RequestError as error:
                self.failure = error
                raise
        answer = requests.Response()
        answer.url, answer.status_code = url, requests.codes.ok
        answer._content = body  # noqa: SLF001 - there is no other way to fill one
        return answer


def _load(release: str, client: WebClient, seconds: float) -> list[_Dataset]:
    """Return all datasets of a release."""
    where = f"{api()}/datasets?release_name={release}"
    session = _Session(client)
    with _one_release_at_a_time:
        # In a thread that is not waited for: the library's own threads would delay Ctrl-C.
        task = Task(lambda: _through_library(release, session))
        start([task], 1)
        try:
            found = task.result(seconds)
            further = client.get_json(
                f"{api()}/datasets", {"release_name": release, "skip": len(found), "limit": 1}
            )
        except (RequestError, TimeoutError) as error:
            msg = (
                f"release {release}: the catalog {api()} cannot be had "
                f"({session.failure or error}); try again later, or raise "
                "parsing_task_config.fetching_metadata_timeout"
            )
            raise CatalogError(msg) from error
        except Exception as error:
            # The library meets answers of another shape in its own ways.
            msg = f"{where}: expected a list of datasets, found something else ({error!r})"
            raise CatalogError(msg) from error
        finally:
            client.abort()
    rows = [_checked(where, row) for row in found]
    known = {row.dataset_number for row in rows}
    more = [_checked(where, row) for row in (further if isinstance(further, list) else [further])]
    is_cut = any(row.dataset_number not in known for row in more)
    if is_cut or session.count not in (None, len(rows)):
        msg = (
            f"{where}: expected {session.count or 'all'} datasets, found {len(rows)}"
            f"{' and more' if is_cut else ''}; a list that is not whole is not used, try again"
        )
        raise CatalogError(msg)
    return sorted(rows, key=lambda row: (row.sample is not Sample.DATA, _number(row)))


def _number(row: _Dataset) -> tuple[int, str]:
    number = row.dataset_number
    return (int(number) if number.isdecimal() else 0, number)


def _library() -> Any:
    """Return the library, made to keep silent and to ask the catalog of this moment."""
    from atlasopenmagic import metadata

    metadata.API_BASE_URL = api()
    vars(metadata).pop("tqdm", None)
    own_log = logging.getLogger("atlasopenmagic")
    own_log.handlers.clear()
    own_log.setLevel(logging.CRITICAL)
    return metadata


def _through_library(release: str, session: _Session) -> list[Any]:
    """Return the rows of a release; whatever the library held before is forgotten."""
    library = _library()
    library._session = session  # noqa: SLF001 - its one place for a session
    library.empty_metadata()
    try:
        library.set_release(release)
        # Each row is there by its number and by its short name.
        return list({id(row): row for row in library.get_all_metadata().values()}.values())
    finally:
        library.empty_metadata()
        library._session = None  # noqa: SLF001


def _checked(where: str, row: Any) -> _Dataset:
    try:
        return _Dataset.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        msg = (
            f"{where}: expected datasets, found one with a wrong {place or 'shape'}: {first['msg']}"
        )
        raise CatalogError(msg) from error


def _choose(release: str, rows: Iterable[_Dataset], parsing: Parsing) -> list[_Dataset]:
    """Return the datasets that the configuration chooses."""
    wanted = {Sample.DATA} if parsing.parse_mc is False else {Sample.SIMULATION}
    if parsing.parse_mc is True:
        wanted = set(Sample)
    chosen = [row for row in rows if row.sample in wanted]
    if parsing.datasets:
        names = {key.lower() for key in parsing.datasets}
        refused = [row for row in rows if row.sample not in wanted and _names(row) & names]
        if refused:
            what = "simulation" if refused[0].sample is Sample.SIMULATION else "collision data"
            setting = {False: "false", True: "true", "only": "only"}[parsing.parse_mc]
            msg = (
                f"parsing_task_config.datasets: {refused[0].dataset_number} of {release} is "
                f"{what}, which parse_mc: {setting} leaves out; correct one of them"
            )
            raise CatalogError(msg)
        chosen = [row for row in chosen if _names(row) & names]
    if not chosen:
        kinds = " and ".join(sorted({row.sample.value for row in rows})) or "nothing"
        msg = (
            f"release {release}: there is no dataset that parse_mc and datasets of "
            f"parsing_task_config choose; it holds {kinds}"
        )
        raise CatalogError(msg + _hint(parsing.datasets, {n for row in rows for n in _names(row)}))
    return chosen


def _names(row: _Dataset) -> set[str]:
    return {row.dataset_number.lower(), (row.physics_short or row.dataset_number).lower()}


def refuse_unknown_datasets(parsing: Parsing, datasets: Iterable[Dataset]) -> None:
    """Raise CatalogError if a chosen dataset is in none of the releases."""
    known = {name.lower() for dataset in datasets for name in (dataset.key, dataset.title)}
    missing = [key for key in parsing.datasets if key.lower() not in known]
    if missing:
        msg = f"parsing_task_config.datasets: no release has a dataset {', '.join(missing)}"
        raise CatalogError(msg + _hint(missing, known))


def _hint(wanted: Iterable[str], known: Collection[str]) -> str:
    close = [m for key in wanted for m in difflib.get_close_matches(key.lower(), known, n=1)]
    return f"; did you mean {', '.join(close)}?" if close else ""


def _files_of(release: str, row: _Dataset, skim: str | None, layout: str) -> list[InputFile]:
    urls = row.files(skim)
    if not urls:
        choices = ", ".join(row.choices) or "none at all"
        what = "without preselection" if skim is None else f"of the skim {skim!r}"
        msg = (
            f"release {release}, dataset {row.dataset_number}: there are no files {what}; it has "
            f"{choices}; correct parsing_task_config.skim or datasets"
        )
        raise CatalogError(msg)
    where = f"{api()}/metadata/{release}/{row.dataset_number}"
    return [
        InputFile(
            url=canonical(url, where),
            source=release,
            layout=layout,
            sample=row.sample,
            dataset=row.dataset_number,
        )
        for url in urls
    ]


def _describe(release: str, row: _Dataset) -> Dataset:
    return Dataset(
        source=release,
        key=row.dataset_number,
        catalog="release",
        sample=row.sample,
        title=row.physics_short or "",
        cross_section_pb=row.cross_section_pb,
        filter_efficiency=row.genFiltEff,
        k_factor=row.kFactor,
        sum_of_weights=row.sumOfWeights,
        events=row.nEvents,
    )
