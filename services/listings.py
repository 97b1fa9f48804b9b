"""What can be asked for, as tables for people: releases, records, and the datasets in them."""

from __future__ import annotations

from collections import Counter

from schemas.config import DEMO, Parsing
from schemas.releases import (
    REFUSED_RELEASES,
    known_records,
    layout_of_release,
    load_layout,
    refused_records,
    releases,
)
from services.catalogs import atlas
from services.closing import aligned, counted, short
from services.storage.addresses import portal

_HEADER = ("", "layout", "origin", "what it is")


def release_listing() -> str:
    """Return all release years, records and layouts that can be asked for, and what cannot."""
    of_demo = (DEMO, "cms-nanoaod", "generated", "events made on this machine, not data")
    of_releases = [
        (release, key, load_layout(key).origin, load_layout(key).description)
        for release, key in releases().items()
        if release != DEMO
    ]
    of_records = [
        (numbers, key, load_layout(key).origin, load_layout(key).description)
        for key, numbers in known_records().items()
    ]
    refused = [
        *((f"{beginning}...", reason) for beginning, reason in REFUSED_RELEASES.items()),
        *((f"record {numbers}", reason) for numbers, reason in refused_records().items()),
    ]
    return "\n\n".join(
        [
            f"parsing_task_config.release_years, from {atlas.api()}\n"
            + aligned(("release", *_HEADER[1:]), [of_demo, *of_releases]),
            f"parsing_task_config.specific_record_ids, from {portal()}; others may do as well\n"
            + aligned(("records", *_HEADER[1:]), of_records),
            "parsing_task_config.local_files: files on disk, of any of the layouts above",
            "cannot be read\n" + aligned(("what", "why"), refused),
            "datasets of one of them: python main.py --list-datasets RELEASE, or a record's number",
        ]
    )


def dataset_listing(name: str, parsing: Parsing, *, refresh: bool) -> str:
    """Return the datasets of a release or record.

    Raises:
        CatalogError: the catalog does not answer, and its list is not kept.
        ConfigError: there is no such release, or it cannot be read.
    """
    # Reading records takes the libraries that read files.
    from services.catalogs import asking

    if name == DEMO:
        return (
            "demo: generated events, not data; parsing_task_config.demo_events says how many "
            f"({parsing.demo_events:,})"
        )
    if name.isdecimal():
        key = "specific_record_ids"
        offer = asking.offer_of_record(name, parsing, refresh=refresh)
    else:
        key = "release_years"
        layout_of_release(name)
        offer = asking.offer_of_release(name, parsing, refresh=refresh)
    rows = [
        (
            of.key,
            of.title or "-",
            of.sample.value,
            f"{of.n_files:,}",
            "-" if of.events is None else f"{of.events:,}",
            "-" if of.n_bytes is None else f"{short(of.n_bytes)}B",
        )
        for of in offer.datasets
    ]
    lines = [aligned(("dataset", "name", "sample", "files", "events", "size"), rows), ""]
    skims = Counter(skim for of in offer.datasets for skim in of.skims)
    if skims:
        told = ", ".join(f"{skim} ({counted(n, 'datasets')})" for skim, n in sorted(skims.items()))
        lines.append(f"preselections, named by parsing_task_config.skim: {told}")
    if offer.listed_at:
        lines.append(
            f"{counted(len(rows), 'datasets')}, as listed on {offer.listed_at.date()}; "
            "--refresh-metadata asks again"
        )
    lines.append(
        f"parsing_task_config: {{{key}: [{name}]}} reads the collision data"
        + ("; parse_mc and datasets choose others" if key == "release_years" else "")
    )
    return "\n".join(lines)
