"""HTML: what is no markup is escaped."""

from __future__ import annotations

from services.report.markup import Markup, element, html, join, table

HOSTILE = """</td><script>alert("1 & '2'")</script>"""
ESCAPED = "&lt;/td&gt;&lt;script&gt;alert(&quot;1 &amp; &#x27;2&#x27;&quot;)&lt;/script&gt;"


def test_text_is_escaped_wherever_it_stands() -> None:
    assert html(HOSTILE) == ESCAPED
    assert element("p", HOSTILE, title=HOSTILE) == f'<p title="{ESCAPED}">{ESCAPED}</p>'
    assert join([HOSTILE, "a"], " ") == f"{ESCAPED} a"
    assert table([HOSTILE], [[HOSTILE]]).count(ESCAPED) == 2


def test_markup_is_not_escaped_again() -> None:
    assert element("p", element("b", "x < y")) == "<p><b>x &lt; y</b></p>"
    assert html(Markup("<hr>")) == "<hr>"


def test_numbers_are_grouped() -> None:
    assert element("td", 1234567) == "<td>1,234,567</td>"


def test_attributes_are_named_as_in_html() -> None:
    written = element("a", class_="x", aria_label="y", hidden=True, id=None, lang=False)
    assert written == '<a class="x" aria-label="y" hidden></a>'


def test_columns_of_numbers_are_marked() -> None:
    written = table(["a", "b"], [["x", 1]], numbers=[1])
    assert '<td>x</td><td class="number">1</td>' in written
