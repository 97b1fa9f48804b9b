"""Addresses: one name for a file, whatever a catalog writes, and every way to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import CatalogError
from services.storage.addresses import canonical, speaks_xrootd, ways

KNOWN = "root://eospublic.cern.ch//eos/opendata/cms/Run2016G/f.root"


@pytest.fixture(autouse=True)
def real_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENDATA_PORTAL_URL", raising=False)
    monkeypatch.delenv("OPENDATA_XROOTD_URL", raising=False)


@pytest.mark.parametrize(
    "written",
    [
        KNOWN,
        "root://eospublic.cern.ch:1094//eos/opendata/cms/Run2016G/f.root",
        "root://eospublic.cern.ch/eos/opendata/cms/Run2016G/f.root",
        "https://opendata.cern.ch/eos/opendata/cms/Run2016G/f.root",
        "http://opendata.cern.ch/eos/opendata/cms/Run2016G/f.root",
        "simplecache::https://opendata.cern.ch/eos/opendata/cms/Run2016G/f.root",
        "https://eospublic.cern.ch//eos/opendata/cms/Run2016G/f.root",
        f"  {KNOWN}\n",
    ],
)
def test_a_file_of_the_store_has_one_name(written: str) -> None:
    assert canonical(written, "test") == KNOWN


@pytest.mark.parametrize(
    "written",
    [
        "https://example.org/eos/opendata/f.root",
        "root://example.org:1095//data/f.root",
        "https://example.org/data/f.root?token=1",
    ],
)
def test_any_other_file_keeps_its_address(written: str) -> None:
    assert canonical(written, "test") == written
    assert ways(written, "root") == (written,)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://example.org/f.root",
        "https://",
        "https:///f.root",
        "https://example.org",
        "https://example.org:port/f.root",
        "https://example.org/a b.root",
        "https://example.org/a\nb.root",
        "https://example.org/" + "a" * 3000,
        "simplecache::/etc/passwd",
        "root://eospublic.cern.ch//eos/opendata/../../etc/passwd",
        "https://opendata.cern.ch/eos/opendata/%2e%2e/%2e%2e/etc/passwd",
    ],
)
def test_what_is_no_address_of_a_file_elsewhere_is_refused(written: str) -> None:
    with pytest.raises(CatalogError, match="the listing: expected addresses"):
        canonical(written, "the listing")


def test_the_configured_protocol_comes_first() -> None:
    https = "https://opendata.cern.ch/eos/opendata/cms/Run2016G/f.root"
    path = "/eos/opendata/cms/Run2016G/f.root"
    assert ways(KNOWN, "https") == (https, KNOWN)
    assert ways(KNOWN, "root") == (KNOWN, https)
    assert ways(KNOWN, "file") == (path, https, KNOWN)


def test_copies_of_the_portal_and_the_store_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENDATA_PORTAL_URL", "https://copy.example:8443/")
    monkeypatch.setenv("OPENDATA_XROOTD_URL", "root://cache.example:1095/")
    path = "eos/opendata/cms/Run2016G/f.root"
    assert ways(KNOWN, "https") == (
        f"https://copy.example:8443/{path}",
        f"root://cache.example:1095//{path}",
    )
    assert canonical(f"https://copy.example:8443/{path}", "test") == KNOWN
    assert canonical(f"root://cache.example:1095//{path}", "test") == KNOWN


@given(st.lists(st.text("abc .+%#?&é0", min_size=1, max_size=8), min_size=1, max_size=4))
def test_https_and_back_is_the_same_file(names: list[str]) -> None:
    path = "/".join(name.replace(" ", "_") for name in names)
    url = f"root://eospublic.cern.ch//eos/opendata/{path}"
    # XRootD knows options behind a question mark, https knows fragments.
    if {"?", "#"} & set(path) or ".." in path.split("/"):
        return
    assert canonical(ways(url, "https")[0], "test") == canonical(url, "test")


def test_xrootd_is_known_by_its_scheme() -> None:
    assert speaks_xrootd(KNOWN)
    assert speaks_xrootd("roots://example.org//f.root")
    assert not speaks_xrootd("https://opendata.cern.ch/root/f.root")
