"""Whether a Python has what pyproject.toml asks for: run as `python -m services.requirements`.

It needs nothing but a Python, however old, since it is to say what is missing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
# Where the name of a package is not what is imported.
_IMPORTED_AS = {"pyyaml": "yaml"}


def required(pyproject: str) -> dict[str, str]:
    """Return the smallest version of each package, from the text of pyproject.toml."""
    listed = re.search(r"^dependencies = \[(.*?)^\]", pyproject, re.MULTILINE | re.DOTALL)
    entries = re.findall(
        r"\"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9.]+)", listed[1] if listed else ""
    )
    return dict(entries)


def oldest_python(pyproject: str) -> tuple[int, ...]:
    """Return the smallest version of Python, from the text of pyproject.toml."""
    found = re.search(r"^requires-python = \">=([0-9.]+)\"", pyproject, re.MULTILINE)
    return numbers(found[1]) if found else ()


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: `1.26.4rc1` is (1, 26, 4)."""
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def complaint(package: str, oldest: str) -> str | None:
    """Return what is wrong with a package; None if nothing is."""
    try:
        module = importlib.import_module(_IMPORTED_AS.get(package, package.replace("-", "_")))
    except Exception as error:  # noqa: BLE001 - a package can fail in any way; all are told
        return f"{package}: expected {oldest} or newer, cannot be imported ({error})"
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        version = str(getattr(module, "__version__", ""))
    if numbers(version) < numbers(oldest):
        return f"{package}: expected {oldest} or newer, found {version or 'no version'}"
    return None


def main() -> None:
    """End with a sentence per package that is missing or too old, and the command that mends it."""
    text = PYPROJECT.read_text(encoding="utf-8")
    oldest = oldest_python(text)
    if sys.version_info[: len(oldest)] < oldest:
        sys.exit(
            f"{sys.executable}: expected Python {'.'.join(map(str, oldest))} or newer, found "
            f"{sys.version.split()[0]}; choose another environment"
        )
    packages = required(text)
    found = {name: complaint(name, version) for name, version in packages.items()}
    wrong = {name: text for name, text in found.items() if text}
    if wrong:
        is_own = sys.prefix != sys.base_prefix
        named = " ".join(f"'{name}>={packages[name]}'" for name in wrong)
        command = f"{sys.executable} -m pip install {'' if is_own else '--user '}{named}"
        sys.exit("\n".join([*wrong.values(), "this mends it:", f"  {command}"]))


if __name__ == "__main__":
    main()
