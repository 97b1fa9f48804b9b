"""What is asked of the catalogs, by way of the lists that are kept."""

from __future__ import annotations

from schemas.config import Parsing
from schemas.inputs import FileList
from schemas.offers import Offer, OfferedDataset
from schemas.releases import layout_of_release
from services.catalogs import atlas, cache, cern
from services.storage.addresses import portal
from services.storage.retries import Limits

# Changes when the same request gives another list.
FORMAT = 1


def files_of_release(release: str, parsing: Parsing, *, refresh: bool) -> FileList:
    """Return the chosen files of a release.

    Raises:
        CatalogError: they cannot be listed.
    """
    request = {
        "name": release,
        "catalog": atlas.api(),
        "layout": layout_of_release(release),
        "parse_mc": parsing.parse_mc,
        "datasets": sorted(parsing.datasets),
        "skim": parsing.skim,
        "format": FORMAT,
    }
    return cache.kept(
        request,
        FileList,
        lambda: atlas.list_release(release, parsing, Limits.of(parsing)),
        max_age_days=0.0 if refresh else parsing.metadata_max_age_days,
        seconds=parsing.fetching_metadata_timeout,
    )


def files_of_record(
    record_id: str, parsing: Parsing, *, refresh: bool, even_old: bool = False
) -> FileList:
    """Return the files of a portal record; where it does not answer an old list may do.

    Raises:
        CatalogError: they cannot be listed.
    """
    seconds = parsing.fetching_metadata_timeout
    return cache.kept(
        {
            "name": f"record {record_id}",
            "catalog": portal(),
            "layout": parsing.layout_by_record.get(record_id),
            "format": FORMAT,
        },
        FileList,
        lambda: cern.list_record(record_id, seconds, Limits.of(parsing), parsing.layout_by_record),
        max_age_days=0.0 if refresh else parsing.metadata_max_age_days,
        seconds=seconds,
        even_old=even_old,
    )


def offer_of_release(release: str, parsing: Parsing, *, refresh: bool) -> Offer:
    """Return the datasets of a release, as they are or, without a network, as they were.

    Raises:
        CatalogError: they cannot be listed, and never were.
    """
    return cache.kept(
        {"name": release, "catalog": atlas.api(), "offer": FORMAT},
        Offer,
        lambda: atlas.offer(release, parsing, Limits.of(parsing)),
        max_age_days=0.0 if refresh else parsing.metadata_max_age_days,
        seconds=parsing.fetching_metadata_timeout,
        even_old=True,
    )


def offer_of_record(record_id: str, parsing: Parsing, *, refresh: bool) -> Offer:
    """Return a portal record as the one dataset that it is; raises as for a release."""
    listed = files_of_record(record_id, parsing, refresh=refresh, even_old=True)
    sizes = [file.size for file in listed.files]
    known = [size for size in sizes if size is not None]
    datasets = tuple(
        OfferedDataset(
            key=dataset.key,
            title=dataset.title,
            sample=dataset.sample,
            events=dataset.events,
            n_files=len(listed.files),
            n_bytes=sum(known) if len(known) == len(sizes) else None,
        )
        for dataset in listed.datasets
    )
    return Offer(listed_at=listed.listed_at, datasets=datasets)
