"""Kept lists: used for the same request, for a while, and only if they are whole."""

import multiprocessing
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import CatalogError
from schemas.inputs import Dataset, FileList, InputFile, Sample
from services.catalogs.cache import digest, kept

REQUEST = {"name": "2024r-pp", "skim": None}


def made(name: str = "a") -> FileList:
    file = InputFile(
        url=f"root://x//{name}.root", source="r", layout="l", sample=Sample.DATA, dataset="data"
    )
    data = Dataset(source="r", key="data", catalog="release", sample=Sample.DATA)
    return FileList(datasets=(data,), files=(file,))


def ask(name: str) -> Callable[[], FileList]:
    return lambda: made(name)


def get(name: str, request: dict[str, Any] = REQUEST, *, max_age_days: float = 30.0) -> str:
    """Return the name of the file that is listed, when `name` is what the catalog says now."""
    listed = kept(request, FileList, ask(name), max_age_days=max_age_days, seconds=1.0)
    return listed.files[0].url.removeprefix("root://x//").removesuffix(".root")


def the_file(user_cache: Path) -> Path:
    (path,) = user_cache.rglob("*.json")
    return path


def test_the_same_request_is_not_asked_again() -> None:
    assert get("old") == "old"
    assert get("new") == "old"
    assert get("new", dict(reversed(REQUEST.items()))) == "old"


def test_another_request_is() -> None:
    assert get("old") == "old"
    assert get("new", REQUEST | {"skim": "4lep"}) == "new"


def test_a_list_has_its_time_and_the_digest_of_its_request(user_cache: Path) -> None:
    before = datetime.now(UTC)
    get("a")
    found = FileList.model_validate_json(the_file(user_cache).read_bytes())
    assert found.request == digest(REQUEST)
    assert found.listed_at
    assert before <= found.listed_at <= datetime.now(UTC)


def test_a_list_that_is_too_old_is_asked_for_again(user_cache: Path) -> None:
    get("old")
    path = the_file(user_cache)
    old = FileList.model_validate_json(path.read_bytes())
    aged = old.sealed(old.request, datetime.now(UTC) - timedelta(days=3))
    path.write_text(aged.model_dump_json())
    assert get("new", max_age_days=4) == "old"
    assert get("new", max_age_days=2) == "new"
    assert get("newer", max_age_days=2) == "new"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda text: text.replace("root://x//old", "root://x//odd"),
        lambda text: text.replace('"sample": "data"', '"sample": "mc"'),
        lambda text: text.replace('"key": "data"', '"key": "700320"'),
        lambda text: text.replace('"request": "', '"request": "0'),
        lambda _: "[]",
    ],
    ids=["cut", "empty", "changed", "mixed up", "data under a number", "other request", "other"],
)
def test_a_damaged_list_is_refused_and_asked_for_again(
    user_cache: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[str], str]
) -> None:
    get("old")
    path = the_file(user_cache)
    before = path.read_text()
    path.write_text(damage(before))
    assert path.read_text() != before
    assert get("new") == "new"
    assert "asked for again" in caplog.text
    assert get("newer") == "new"


def test_nothing_is_kept_of_a_failure(user_cache: Path) -> None:
    def fail() -> FileList:
        msg = "no catalog"
        raise CatalogError(msg)

    with pytest.raises(CatalogError):
        kept(REQUEST, FileList, fail, max_age_days=30, seconds=1.0)
    assert [path.name for path in user_cache.rglob("*") if path.is_file()] == []
    assert get("new") == "new"


def test_without_a_place_to_keep_them_lists_are_asked_for(
    user_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (user_cache / "bumphunt-pipeline").touch()
    assert get("a") == "a"
    assert get("b") == "b"
    assert "cannot be kept" in caplog.text


def fetch_slowly(folder: str, results: Any) -> None:
    def slowly() -> FileList:
        with Path(folder, "asked").open("a") as asked:
            asked.write("x")
        time.sleep(0.3)
        return made()

    results.put(len(kept(REQUEST, FileList, slowly, max_age_days=30, seconds=10.0).files))


def test_processes_that_start_together_ask_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=fetch_slowly, args=(str(tmp_path), results)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [1, 1, 1]
    for process in processes:
        process.join(10)
    assert (tmp_path / "asked").read_text() == "x"
