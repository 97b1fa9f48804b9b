"""What the report says -> the text of the page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from string import Template
from urllib.parse import quote

from schemas.inputs import Sample
from schemas.statistics import StageStatistics
from services.closing import describe_counts
from services.report.books import Balance
from services.report.channels import pack_json
from services.report.markup import Markup, element, html, join, table
from services.report.reading import Browser, Content, Picture
from services.report.stages import StageLine

# A page that opens at once, also from a mail. What does not fit is left in its own file.
MOST_BYTES = 10_000_000
# In this order they are one program.
_SCRIPTS = ("spectrum.js", "plot.js", "channels.js", "browser.js")
# Of figures whose name is no title.
_TITLES = {
    "stages": "what the stages took",
    "chunks": "what the chunks took",
    "pt": "transverse momenta",
    "eta": "pseudorapidities",
    "bumpnet": "histograms for BumpNet",
}
_GENERATED = (
    "Generated, not data: these are the events of the demo release, made by this program. They "
    "say nothing about nature."
)


def render(content: Content) -> str:
    """Return the page."""
    style = _text("page.css")
    script = "\n".join(_text(name) for name in _SCRIPTS)
    values = {
        "title": html(content.name),
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "header": _header(content),
        "summary": _summary(content),
        "channels": _channels(content),
        "cut_flow": _cut_flow(content),
        "stages": _stages(content),
        "files": _failures(content),
        "notes": _notes(content),
        "configuration": _configuration(content),
        "software": table(["part", "version"], content.software.items()),
        "data": Markup(),
        "figures": Markup(),
    }
    page = Template(_text("page.html"))
    left = MOST_BYTES - len(page.substitute(values).encode())
    if content.browser:
        values["data"] = _data(content.browser, left)
        left -= len(values["data"])
    values["figures"] = _figures(content.pictures, left)
    return page.substitute(values)


def _text(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return what the browser may do: nothing of a network, and no code but the page's own."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    )
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; "
        f"script-src 'sha256-{script_hash}'"
    )


def _header(content: Content) -> Markup:
    times = Markup()
    if content.started and content.ended:
        seconds = (content.ended - content.started).total_seconds()
        times = element("p", _time(content.started), f" · {_duration(seconds)}", class_="quiet")
    parts = [
        element("p", "Invariant-mass spectra of open data", class_="quiet"),
        element("h1", content.name),
        times,
    ]
    if content.is_generated:
        parts.append(element("p", _GENERATED, class_="banner", id="generated"))
    return join(parts)


def _time(moment: datetime) -> Markup:
    shown = f"{moment:%Y-%m-%d %H:%M} {moment.tzname() or ''}".strip()
    return element("time", shown, datetime=moment.isoformat())


def _duration(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _summary(content: Content) -> Markup:
    wrong = [balance.what for balance in content.balances if not balance.is_balanced]
    if content.missing:
        state = _state("open", "Unfinished", "What is missing:")
        if content.why_failed:
            reasons = (element("p", text, class_="reason") for text in content.why_failed)
            missing = element("p", "What is missing:")
            state = join([_state("bad", "Failed", ""), *reasons, missing])
        items = join(element("li", text) for text in content.missing)
        state = join([state, element("ul", items, id="missing")])
    else:
        state = _state("good", "Complete", "Every stage of this run is done.")
    if not content.balances:
        verdict = _state("open", "No books yet", "No stage has been done.")
    elif wrong:
        verdict = _state("bad", "The books do not balance", f"Look at: {', '.join(wrong)}.")
    else:
        verdict = _state("good", "The books balance", "All that went in is accounted for.")
    parts = [element("div", element("div", state), element("div", verdict), class_="states")]
    n_failed = len(content.failures)
    if n_failed:
        link = element("a", "Which, and why", href="#files")
        text = f"{n_failed:,} file{'s'[: n_failed != 1]} could not be read whole. "
        parts.append(element("p", text, link, ".", class_="warning"))
    lines = join(_balance(balance) for balance in content.balances)
    parts.append(element("div", lines, id="books"))
    return join(parts)


def _state(kind: str, title: str, text: str) -> Markup:
    sign = {"good": "✓", "bad": "✗", "open": "…"}[kind]
    mark = element("span", sign, class_="sign", aria_hidden="true")
    return element("p", mark, element("strong", title), " ", text, class_=f"state {kind}")


def _balance(balance: Balance) -> Markup:
    is_good = balance.is_balanced
    sign = element("span", "✓" if is_good else "✗", class_=f"sign {'good' if is_good else 'bad'}")
    says = "balances" if is_good else "does not balance"
    title = element("h3", sign, balance.what, element("span", f" {says}", class_="hidden"))
    total = element("p", element("b", balance.total), f" {balance.of}", class_="total")
    shown = [part for part in balance.parts if part.count or part.kind == "kept"]
    parts = element(
        "ul",
        *(
            element(
                "li",
                element("i", class_=f"swatch {part.kind}"),
                element("b", part.count),
                f" {part.name}",
            )
            for part in shown
        ),
        class_="parts",
    )
    return element("section", title, total, _bar(balance), parts, class_="balance")


def _bar(balance: Balance) -> Markup:
    """Return the parts of a whole as one bar."""
    whole = sum(part.count for part in balance.parts)
    rectangles, start = [], 0
    for part in balance.parts if whole else ():
        place = {"x": f"{100 * start / whole:.3f}%", "width": f"{100 * part.count / whole:.3f}%"}
        rectangles.append(element("rect", class_=part.kind, height="100%", **place))
        start += part.count
    return element("svg", *rectangles, class_="bar", aria_hidden="true")


def _channels(content: Content) -> Markup:
    if content.browser is None:
        return element("p", content.no_browser, class_="quiet", id="no-browser")
    return Markup(_text("browser.html"))


def _data(browser: Browser, most_bytes: int) -> Markup:
    """Return the channels for the page's own program, and as many spectra as there is room for.

    The largest channels come first. All of it is base64: no name can end a script element.
    """
    about = {
        "width": browser.width_gev,
        "notes": browser.notes,
        "samples": {sample.value: sample.name.lower() for sample in Sample},
        "channels": browser.channels,
    }
    channels = pack_json(about)
    left = most_bytes - len(channels) - 1000
    spectra = [""] * len(browser.spectra)
    order = range(len(spectra))
    for number in sorted(order, key=lambda i: (-browser.channels[i]["population"], i)):
        left -= len(browser.spectra[number]) + 1
        if left < 0:
            break
        spectra[number] = browser.spectra[number]
    return join(
        element("script", Markup(text), type="application/octet-stream", id=name)
        for name, text in (("channel-data", channels), ("spectrum-data", "\n".join(spectra)))
    )


def _figures(pictures: Sequence[Picture], most_bytes: int) -> Markup:
    if not pictures:
        return element("p", "There are no figures yet.", class_="quiet")
    shown = []
    for picture in pictures:
        title = _figure_title(picture.stem)
        links = join((element("a", name, href=quote(name)) for name in picture.files), " · ")
        caption = element("figcaption", element("b", title), element("span", links))
        encoded = base64.b64encode(picture.png).decode()
        image = Markup()
        if len(encoded) < most_bytes:
            most_bytes -= len(encoded) + 1000
            image = _image(title, encoded, picture)
        shown.append(element("figure", image, caption))
    return element("div", *shown, class_="figures")


def _image(title: str, encoded: str, picture: Picture) -> Markup:
    # PNG: signature and the head of the first block, then width and height.
    width, height = (int.from_bytes(picture.png[at : at + 4]) for at in (16, 20))
    source = f"data:image/png;base64,{encoded}"
    image = Markup(
        f'<img src="{source}" alt="{html(title)}" width="{width}" height="{height}" loading="lazy">'
    )
    largest = next((name for name in picture.files if name.endswith(".pdf")), picture.files[0])
    return element("a", image, href=quote(largest))


def _figure_title(stem: str) -> str:
    """Return for example `Largest channels (simulation)` of `10_largest_channels_mc`."""
    words = stem.lstrip("0123456789_")
    suffix = Sample.SIMULATION.suffix
    note = " (simulation)" if words.endswith(suffix) else ""
    words = words.removesuffix(suffix)
    words = _TITLES.get(words, words.replace("_", " ").strip()) or stem
    return f"{words[0].upper()}{words[1:]}{note}"


def _cut_flow(content: Content) -> Markup:
    if not content.cut_flows:
        return element("p", "Nothing has been parsed yet.", class_="quiet")
    parts = []
    for source, flow in content.cut_flows.items():
        rows = [
            (row.step, row.of, row.before, row.removed, row.after, _share(row.after, row.before))
            for row in flow
        ]
        header = ["step", "of", "before", "removed", "left", "share left"]
        of_source = table(header, rows, numbers=range(2, 6)) if rows else "Nothing was cut."
        parts += [element("h3", source), of_source]
    return join(parts)


def _share(part: int, whole: int) -> str:
    if not whole:
        return "–"
    # Only all of it is 100 %, and only nothing 0 %.
    percent = f"{100 * part / whole:.1f}"
    if part < whole and percent == "100.0":
        return "> 99.9 %"
    return "< 0.1 %" if part and percent == "0.0" else f"{percent} %"


def _stages(content: Content) -> Markup:
    header = ["stage", "state", "jobs", "chunks", "time", "rate", "memory", "in", "out", "lost"]
    rows = table(header, map(_stage, content.stages), numbers=range(2, 7))
    note = (
        "Time is the sum over all jobs, a rate that of one of them, and memory that of the process "
        "that took most. Chunks that had been made before were kept; there is no rate then."
    )
    return join([rows, element("p", note, class_="quiet")])


def _stage(line: StageLine) -> Sequence[object]:
    kind = {"done": "good", "failed": "bad"}.get(line.status, "quiet")
    status = element("span", line.status, class_=f"status {kind}")
    done = line.done
    jobs = f"{line.n_done:,} of {line.n_slices:,}" if line.n_slices > 1 else "–"
    if done is None:
        is_timed = line.status == "done" and line.wall_seconds is not None
        time = _duration(line.wall_seconds or 0.0) if is_timed else "–"
        return (line.name, status, jobs, "–", time, *["–"] * 5)
    chunks = f"{done.chunks:,} ({done.kept:,} kept)" if done.kept else f"{done.chunks:,}"
    return (
        *(line.name, status, jobs, chunks, _duration(done.seconds), _rate(done)),
        f"{done.peak_memory_bytes / 1e6:,.0f} MB",
        *map(_counts, (done.taken, done.made, done.lost | done.decided)),
    )


def _rate(done: StageStatistics) -> str:
    """Return what went in per second, in the finest unit that is counted."""
    if done.kept or not done.taken or done.seconds <= 0:
        return "–"
    unit, count = [*done.taken.items()][-1]
    return f"{count / done.seconds:,.0f} {unit}/s"


def _counts(counts: dict[str, int]) -> str:
    return describe_counts(counts) if any(counts.values()) else "–"


def _failures(content: Content) -> Markup:
    if not content.failures:
        return element("p", "None: every file that was opened was read whole.", class_="quiet")
    items = (element("li", reason) for reason in content.failures)
    return element("ol", *items, class_="failures")


def _notes(content: Content) -> Markup:
    if not content.notes:
        return element("p", "None.", class_="quiet")
    return element("ul", *(element("li", note) for note in content.notes))


def _configuration(content: Content) -> Markup:
    parts: list[Markup] = []
    if content.changed:
        text = "Some keys have other values now than in the run's own configuration:"
        items = (element("li", change) for change in content.changed)
        parts.append(element("div", element("p", text), element("ul", *items), class_="warning"))
    summary = element("summary", "config.yaml, with every key")
    pre = element("pre", content.configuration, tabindex="0")
    return join([*parts, element("details", summary, pre)])
