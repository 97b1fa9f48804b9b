// The browser of all channels: filters, list, and the chosen channel with its spectrum.

const REBIN = [1, 2, 4, 5, 10, 20];
// Rows that are drawn above and below those in view.
const SPARE_ROWS = 6;
// What a table of values can hold without becoming slow.
const MOST_VALUES = 2000;

const byId = (id) => document.getElementById(id);

function htmlElement(name, className, ...content) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

const VERDICTS = {
  accepted: "BumpNet ✓", rejected: "rejected", dropped: "dropped", unknown: "",
};

class Browser {
  constructor(about, packedSpectra) {
    this.about = about;
    this.packed = packedSpectra;
    this.channels = about.channels.map((channel, number) => ({
      ...channel, number, name: `${channel.state}/${channel.combination}`,
    }));
    this.channels.forEach((channel) => { channel.verdict = verdictOf(channel); });
    this.shown = [];
    this.chosen = null;
    this.rows = new Map();
    this.plot = new Plot(byId("plot"), {
      width: about.width,
      tell: (text) => { byId("readout").textContent = text; },
      changed: () => this.viewChanged(),
    });
    this.fillFilters();
    this.listen();
    byId("browser").hidden = false;
    this.rowHeight = this.measureRow();
    this.filter();
  }

  // Filters

  fillFilters() {
    const fill = (id, key, names = {}) => {
      const counts = new Map();
      for (const channel of this.channels) {
        counts.set(channel[key], (counts.get(channel[key]) ?? 0) + 1);
      }
      const options = [...counts].map(
        ([value, count]) => new Option(`${names[value] ?? value} (${grouped.format(count)})`, value),
      );
      byId(id).replaceChildren(new Option("all", ""), ...options);
      return counts.size;
    };
    fill("by-state", "state");
    fill("by-combination", "combination");
    byId("sample-filter").hidden = fill("by-sample", "sample", this.about.samples) < 2;
    byId("rebin").replaceChildren(...REBIN.map(
      (factor) => new Option(`${inGeV(factor * this.about.width)} GeV`, factor),
    ));
  }

  filter() {
    const filters = {
      search: byId("search").value,
      state: byId("by-state").value,
      combination: byId("by-combination").value,
      sample: byId("by-sample").value,
      verdict: byId("by-verdict").value,
    };
    this.shown = chosen(this.channels, filters, byId("sort").value);
    const all = grouped.format(this.channels.length);
    byId("count").textContent = `${grouped.format(this.shown.length)} of ${all} channels`;
    const list = byId("list");
    list.scrollTop = 0;
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    byId("rows").replaceChildren();
    byId("rows").style.height = `${this.shown.length * this.rowHeight}px`;
    if (!this.shown.length) {
      byId("rows").append(htmlElement("p", "empty", "No channel fits. Clear the search or a filter."));
    }
    this.choose(0);
  }

  // The list: only the rows in view are in the document.

  measureRow() {
    const probe = htmlElement("div", "row", "x");
    byId("rows").append(probe);
    const { height } = probe.getBoundingClientRect();
    probe.remove();
    return height;
  }

  drawRows() {
    const list = byId("list");
    const first = Math.max(0, Math.floor(list.scrollTop / this.rowHeight) - SPARE_ROWS);
    const inView = Math.ceil(list.clientHeight / this.rowHeight) + 2 * SPARE_ROWS;
    const stop = Math.min(this.shown.length, first + inView);
    for (const [position, row] of this.rows) {
      if (position < first || position >= stop) {
        row.remove();
        this.rows.delete(position);
      }
    }
    for (let position = first; position < stop; position += 1) {
      if (!this.rows.has(position)) {
        const row = this.row(position);
        this.rows.set(position, row);
        byId("rows").append(row);
      }
      this.rows.get(position).setAttribute("aria-selected", String(position === this.at));
    }
    const current = this.rows.get(this.at);
    if (current) list.setAttribute("aria-activedescendant", current.id);
    else list.removeAttribute("aria-activedescendant");
  }

  row(position) {
    const channel = this.shown[position];
    const tags = channel.resonances.filter((test) => test.detected)
      .map((test) => `${test.name} ${Math.round(test.significance)}σ`);
    if (channel.sample !== "data") tags.unshift(this.about.samples[channel.sample]);
    if (VERDICTS[channel.verdict]) tags.push(VERDICTS[channel.verdict]);
    const row = htmlElement(
      "div", "row",
      htmlElement("span", "combination", channel.combination),
      htmlElement("span", "entries", grouped.format(channel.population)),
      htmlElement("span", "state-name", channel.state),
      htmlElement("span", "tags", ...tags.map((tag) => htmlElement("span", "", tag))),
    );
    row.id = `channel-${channel.number}`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-posinset", position + 1);
    row.setAttribute("aria-setsize", this.shown.length);
    row.style.transform = `translateY(${position * this.rowHeight}px)`;
    row.addEventListener("click", () => this.choose(position));
    return row;
  }

  choose(position) {
    this.at = Math.min(Math.max(position, 0), this.shown.length - 1);
    const list = byId("list");
    const top = this.at * this.rowHeight;
    if (top < list.scrollTop) list.scrollTop = top;
    const bottom = top + this.rowHeight - list.clientHeight;
    if (bottom > list.scrollTop) list.scrollTop = bottom;
    this.drawRows();
    const channel = this.shown[this.at] ?? null;
    byId("detail").hidden = channel === null;
    if (channel !== this.chosen) {
      this.chosen = channel;
      if (channel !== null) this.showChannel(channel);
    }
  }

  onListKey(event) {
    const page = Math.max(1, Math.floor(byId("list").clientHeight / this.rowHeight) - 1);
    const to = {
      ArrowDown: this.at + 1,
      ArrowUp: this.at - 1,
      PageDown: this.at + page,
      PageUp: this.at - page,
      Home: 0,
      End: this.shown.length - 1,
    }[event.key];
    if (to !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.choose(to);
    }
  }

  // The chosen channel

  async showChannel(channel) {
    byId("channel-name").textContent = `${channel.combination} in ${channel.state}`;
    byId("facts").textContent = this.facts(channel).join(" · ");
    this.showLegend(channel);
    this.showResonances(channel);
    const packed = this.packed[channel.number];
    if (!packed) {
      this.plot.clear();
      byId("readout").textContent = "This spectrum is not in the page, which would be too large.";
      this.viewChanged();
      return;
    }
    const spectrum = new Spectrum(readNumbers(await unpack(packed)));
    // Another channel may have been chosen in the meantime.
    if (this.chosen === channel) {
      this.plot.show(channel, spectrum, this.about.notes[channel.sample]);
    }
  }

  facts(channel) {
    const facts = [`${grouped.format(channel.population)} entries`];
    if (channel.dropped !== null) {
      facts.push(`dropped: ${channel.dropped}`);
    } else {
      const end = channel.high ?? channel.last;
      facts.push(`peak at ${inGeV(channel.peak)} GeV`);
      facts.push(`main part ${inGeV(channel.low)}–${inGeV(end)} GeV`);
    }
    for (const [label, reason] of channel.verdicts ?? []) {
      const bins = Number.isNaN(Number(label)) ? "by resolution" : `${Number(label)} GeV`;
      const width = channel.verdicts.length > 1 ? ` (${bins})` : "";
      facts.push(reason === null ? `accepted for BumpNet${width}` : `not for BumpNet${width}: ${reason}`);
    }
    return facts;
  }

  showLegend(channel) {
    const items = Object.entries(channel.classes)
      .filter(([name, count]) => count || name === "main")
      .map(([name, count]) => htmlElement(
        "li", "", htmlElement("i", `swatch ${name}`), htmlElement("b", "", grouped.format(count)),
        ` ${CLASSES[name]}`,
      ));
    byId("legend").replaceChildren(...items);
  }

  showResonances(channel) {
    byId("resonances").replaceChildren();
    if (!channel.resonances.length) return;
    const header = [
      "resonance", "looked for in [GeV]", "entries", "expected", "significance", "excess", "",
    ];
    const numbers = new Set([2, 3, 4, 5]);
    const line = (cells, name) => htmlElement("tr", "", ...cells.map((cell, column) => {
      const made = htmlElement(name, numbers.has(column) ? "number" : "", cell);
      if (name === "th") made.scope = "col";
      return made;
    }));
    const rows = channel.resonances.map((test) => line([
      test.name,
      test.test_window_gev.map(inGeV).join("–"),
      grouped.format(test.entries),
      grouped.format(Number(test.background.toFixed(1))),
      test.significance.toFixed(1),
      `${grouped.format(Number((100 * test.excess).toFixed(1)))} %`,
      `${test.detected ? "detected" : "not detected"}, ${test.removed ? "removed" : "left in"}`,
    ], "td"));
    const head = htmlElement("thead", "", line(header, "th"));
    const table = htmlElement("table", "", head, htmlElement("tbody", "", ...rows));
    const frame = htmlElement("div", "scrolling", table);
    frame.tabIndex = 0;
    byId("resonances").append(frame);
  }

  viewChanged() {
    byId("log").setAttribute("aria-pressed", String(this.plot.isLog));
    byId("rebin").value = String(this.plot.group);
    if (byId("values").open) this.showValues();
  }

  showValues() {
    if (this.plot.channel === null) {
      byId("value-rows").replaceChildren();
      byId("values-note").textContent = "";
      return;
    }
    const groups = this.plot.groups();
    const width = this.about.width;
    byId("value-rows").replaceChildren(...groups.slice(0, MOST_VALUES).map((group) => htmlElement(
      "tr", "",
      htmlElement("td", "number", inGeV(group.first * width)),
      htmlElement("td", "number", inGeV(group.stop * width)),
      htmlElement("td", "number", grouped.format(group.entries)),
      htmlElement("td", "", this.plot.classesOf(group.first, group.stop)),
    )));
    const more = groups.length - MOST_VALUES;
    byId("values-note").textContent = more > 0
      ? `The first ${grouped.format(MOST_VALUES)} bins in view; zoom in for others.`
      : "The bins in view.";
  }

  /** Save the whole spectrum, bin by bin of the grid. */
  save() {
    const { channel, spectrum } = this.plot;
    if (channel === null) return;
    const edge = (bin) => Number((bin * this.about.width).toPrecision(12));
    const lines = [...spectrum.counts].map((entries, bin) => [
      edge(bin), edge(bin + 1), entries, this.plot.classesOf(bin, bin + 1),
    ].join(","));
    const text = ["low_gev,high_gev,entries,class", ...lines, ""].join("\n");
    const link = htmlElement("a", "");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = `${channel.state}_${channel.combination}.csv`;
    link.click();
    // Not before the browser has taken it.
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  listen() {
    byId("filters").addEventListener("input", () => this.filter());
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    // The form is cleared only after its event.
    byId("filters").addEventListener("reset", () => setTimeout(() => this.filter()));
    byId("list").addEventListener("scroll", () => this.drawRows());
    byId("list").addEventListener("keydown", (event) => this.onListKey(event));
    new ResizeObserver(() => this.drawRows()).observe(byId("list"));
    const onClick = (id, act) => byId(id).addEventListener("click", () => {
      if (this.plot.channel !== null) act();
    });
    onClick("log", () => this.plot.setLog(!this.plot.isLog));
    onClick("zoom-in", () => this.plot.zoom(1.5));
    onClick("zoom-out", () => this.plot.zoom(1 / 1.5));
    onClick("show-main", () => this.plot.showMain());
    onClick("show-all", () => this.plot.showAll());
    onClick("save", () => this.save());
    byId("rebin").addEventListener("change", () => this.plot.setGroup(Number(byId("rebin").value)));
    byId("values").addEventListener("toggle", () => this.viewChanged());
  }
}

async function start() {
  const packed = byId("channel-data");
  if (packed === null) return;
  if (typeof DecompressionStream === "undefined") {
    byId("failure").textContent = "This web browser is too old to show the channels: use one of 2023 or later.";
    byId("failure").hidden = false;
    return;
  }
  const about = JSON.parse(new TextDecoder().decode(await unpack(packed.textContent)));
  new Browser(about, byId("spectrum-data").textContent.split("\n"));
}

await start();
