"""Addresses of open-data files: the one place that turns XRootD, https and /eos into another.

A file of CERN's store is known by its XRootD address, `root://eospublic.cern.ch//eos/opendata/...`,
whatever a catalog writes; how it is reached is decided when it is read.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote, urlsplit

from schemas.errors import CatalogError

_DOOR = "root://eospublic.cern.ch"
_PORTAL = "https://opendata.cern.ch"
_STORE = re.compile(r"/+(eos/opendata/.+)")
_STORE_HOSTS = ("eospublic.cern.ch", "eospublichttp.cern.ch", "opendata.cern.ch")
_SCHEMES = ("https", "http", "root", "roots", "xroot", "xroots")
_LONGEST = 2000


def portal() -> str:
    """Return the address of the CERN Open Data portal; OPENDATA_PORTAL_URL names a copy."""
    return os.environ.get("OPENDATA_PORTAL_URL", _PORTAL).rstrip("/")


def door() -> str:
    """Return the XRootD server of the store; OPENDATA_XROOTD_URL names a cache or a copy."""
    return os.environ.get("OPENDATA_XROOTD_URL", _DOOR).rstrip("/")


def canonical(url: str, listing: str) -> str:
    """Return the address by which a file is known, from what a listing says.

    Raises:
        CatalogError: it is not the address of a file on another machine.
    """
    url = url.strip().removeprefix("simplecache::")
    parts = _split(url)
    if parts is None:
        msg = f"{listing}: expected addresses of files (root:// or https://), found {url[:200]!r}"
        raise CatalogError(msg)
    scheme, host, path = parts
    in_store = _STORE.fullmatch(path)
    if in_store and (host in _STORE_HOSTS or host in (_host(portal()), _host(door()))):
        plain = in_store[1] if "root" in scheme else unquote(in_store[1])
        return f"{_DOOR}//{plain}"
    return url


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "") + _port(url)


def _port(url: str) -> str:
    # 1094 is where XRootD listens unless told otherwise.
    port = urlsplit(url).port
    return "" if port in (None, 1094) else f":{port}"


def _split(url: str) -> tuple[str, str, str] | None:
    """Return scheme, host and path of an address that may be asked for; None for anything else."""
    if len(url) > _LONGEST or not url.isprintable() or any(letter.isspace() for letter in url):
        return None
    try:
        parts = urlsplit(url)
        host = _host(url)
    except ValueError:
        return None
    leads_up = ".." in unquote(parts.path).split("/")
    if parts.scheme.lower() not in _SCHEMES or not host or not parts.path.strip("/") or leads_up:
        return None
    return parts.scheme.lower(), host, parts.path


def ways(url: str, protocol: str) -> tuple[str, ...]:
    """Return where a file can be had, the configured protocol first.

    With `file`, the first is a path. A file outside CERN's store has one address, whatever it is.
    """
    prefix = f"{_DOOR}//"
    if not url.startswith(prefix):
        return (url,)
    path = url.removeprefix(prefix)
    by_protocol = {
        "https": f"{portal()}/{quote(path)}",
        "root": f"{door()}//{path}",
        "file": f"/{path}",
    }
    others = [by_protocol[name] for name in ("https", "root") if name != protocol]
    return (by_protocol[protocol], *others)


def speaks_xrootd(address: str) -> bool:
    """Whether an address is asked by XRootD."""
    return urlsplit(address).scheme in ("root", "roots", "xroot", "xroots")
