"""Text -> HTML: everything that is not `Markup` is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


class Markup(str):
    """HTML that is safe to write as it is."""

    __slots__ = ()


def html(content: object) -> Markup:
    """Return what is written of a value: markup as it is, numbers grouped, the rest escaped."""
    if isinstance(content, Markup):
        return content
    if isinstance(content, int):
        return Markup(f"{content:,}")
    return Markup(escape(str(content)))


def element(name: str, *content: object, **attributes: object) -> Markup:
    """Return an element; of attributes `_` stands for `-`, and a leading or trailing one for none.

    An attribute that is None is left out, one that is True has no value.
    """
    written = ""
    for key, value in attributes.items():
        if value is True:
            written += f" {_name(key)}"
        elif value is not None and value is not False:
            written += f' {_name(key)}="{escape(str(value))}"'
    return Markup(f"<{name}{written}>{join(content)}</{name}>")


def _name(key: str) -> str:
    return key.strip("_").replace("_", "-")


def join(content: Iterable[object], between: str = "") -> Markup:
    """Return pieces of HTML one after the other."""
    return Markup(between.join(map(html, content)))


def table(
    header: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[int] = ()
) -> Markup:
    """Return a table that scrolls sideways where it is too wide; `numbers` are columns of those."""
    of_column = dict.fromkeys(numbers, "number")
    titles = join(
        element("th", title, scope="col", class_=of_column.get(column))
        for column, title in enumerate(header)
    )
    body = join(
        element(
            "tr",
            *(element("td", cell, class_=of_column.get(column)) for column, cell in enumerate(row)),
        )
        for row in rows
    )
    of_rows = join([element("thead", element("tr", titles)), element("tbody", body)])
    return element("div", element("table", of_rows), class_="scrolling", tabindex="0")
