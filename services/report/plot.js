// One spectrum, drawn as SVG, with zoom and a cursor that tells values.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 64, right: 22, top: 30, bottom: 44 };
// What is drawn of a bin with nothing in it, on a logarithmic scale.
const LOG_FLOOR = 0.5;
// Bins of fewer pixels are drawn with a thinner line.
const FINE = 2;
const FEWEST_BINS_IN_VIEW = 4;
// A narrower one could not be told from a dot.
const LEAST_BRACKET = 9;
// A finger or a mouse that moves less has clicked.
const LEAST_DRAG = 6;

const grouped = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
/** Return an edge in GeV without the traces of floating point. */
const inGeV = (value) => grouped.format(Number(value.toPrecision(12)));

function svgElement(name, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return element;
}

/** Return a step of 1, 2 or 5 times a power of ten that divides a length into at most n parts. */
function niceStep(length, n) {
  const power = 10 ** Math.floor(Math.log10(length / n));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => length / step <= n);
}

function linearTicks(low, high, n) {
  const step = niceStep(high - low, n);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-12); k += 1) ticks.push(k * step);
  return ticks;
}

function logTicks(high) {
  const powers = Math.floor(Math.log10(high)) + 1;
  const every = Math.ceil(powers / 6);
  const factors = powers <= 2 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let k = 0; k < powers; k += every) ticks.push(...factors.map((factor) => factor * 10 ** k));
  return ticks.filter((tick) => tick <= high);
}

class Plot {
  /** `tell` is called with the text for the cursor; `changed` when the view or the bins change. */
  constructor(svg, { width, tell, changed }) {
    this.svg = svg;
    this.width = width;
    this.tell = tell;
    this.changed = changed;
    this.isLog = true;
    this.group = 1;
    this.cursor = null;
    this.channel = null;
    this.listen();
    new ResizeObserver(() => this.draw()).observe(svg);
  }

  show(channel, spectrum, note) {
    this.channel = channel;
    this.spectrum = spectrum;
    this.note = note;
    this.cursor = null;
    this.tell("");
    this.regions = regions(channel, this.width, spectrum.nBins);
    this.showMain();
  }

  clear() {
    this.channel = null;
    this.svg.replaceChildren();
    this.tell("");
  }

  // What is in view: bins first .. stop - 1 of the grid.

  setView(first, stop) {
    const nBins = Math.max(this.spectrum.nBins, FEWEST_BINS_IN_VIEW);
    const length = Math.min(Math.max(Math.round(stop - first), FEWEST_BINS_IN_VIEW), nBins);
    this.first = Math.min(Math.max(Math.round(first), 0), nBins - length);
    this.stop = this.first + length;
    this.draw();
    this.changed();
  }

  showAll() {
    this.setView(0, this.spectrum.nBins);
  }

  /** Show everything up to a little beyond the main part: far outliers would press it together. */
  showMain() {
    const main = this.regions.filter((region) => region.name === "main");
    if (main.length && this.channel.dropped === null) {
      this.setView(0, Math.ceil(main[main.length - 1].stop * 1.15));
    } else {
      this.showAll();
    }
  }

  zoom(factor, around = (this.first + this.stop) / 2) {
    this.setView(around - (around - this.first) / factor, around + (this.stop - around) / factor);
  }

  move(bins) {
    this.setView(this.first + bins, this.stop + bins);
  }

  /** Return the groups of bins in view: {first, stop, entries}. */
  groups() {
    const found = [];
    const start = Math.floor(this.first / this.group) * this.group;
    for (let first = start; first < this.stop; first += this.group) {
      const stop = first + this.group;
      found.push({ first, stop, entries: this.spectrum.sum(first, stop) });
    }
    return found;
  }

  /** Return the classes that some bins have a part in. */
  classesOf(first, stop) {
    const names = this.regions
      .filter((region) => region.first < stop && first < region.stop)
      .map((region) => CLASSES[region.name]);
    return [...new Set(names)].join(", ");
  }

  // Drawing

  draw() {
    if (this.channel === null) return;
    const box = this.svg.getBoundingClientRect();
    if (!box.width) return;
    this.size = { width: box.width, height: box.height };
    const { width, height } = this.size;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const groups = this.groups();
    const most = Math.max(1, ...groups.map((group) => group.entries));
    // Room above the spectrum for the names of resonances.
    this.top = this.isLog ? most * Math.max(2, (most / LOG_FLOOR) ** 0.12) : most * 1.12;
    this.layer = svgElement("g");
    const inside = svgElement("g", { "clip-path": "url(#frame)" });
    this.svg.replaceChildren(
      this.definitions(), this.grid(), inside, this.axes(), this.resonances(), this.layer,
    );
    inside.append(...this.bands());
    const area = this.outline(groups);
    const base = this.y(this.isLog ? LOG_FLOOR : 0);
    const isFine = (width - MARGIN.left - MARGIN.right) / groups.length < FINE;
    const closed = `${area}V${base}H${this.x(groups[0].first)}Z`;
    inside.append(
      svgElement("path", { class: "area", d: closed }),
      svgElement("path", { class: "area of-main", d: closed, "clip-path": "url(#main-part)" }),
      svgElement("path", { class: `outline${isFine ? " fine" : ""}`, d: area, id: "outline" }),
    );
    this.drawCursor();
  }

  x(bin) {
    const inner = this.size.width - MARGIN.left - MARGIN.right;
    const place = MARGIN.left + ((bin - this.first) / (this.stop - this.first)) * inner;
    return Math.round(place * 100) / 100;
  }

  binAt(x) {
    const inner = this.size.width - MARGIN.left - MARGIN.right;
    return this.first + ((x - MARGIN.left) / inner) * (this.stop - this.first);
  }

  y(entries) {
    const inner = this.size.height - MARGIN.top - MARGIN.bottom;
    const part = this.isLog
      ? Math.log(Math.max(entries, LOG_FLOOR) / LOG_FLOOR) / Math.log(this.top / LOG_FLOOR)
      : entries / this.top;
    return Math.round((MARGIN.top + (1 - part) * inner) * 100) / 100;
  }

  outline(groups) {
    const steps = groups.map((group) => `V${this.y(group.entries)}H${this.x(group.stop)}`);
    const base = this.y(this.isLog ? LOG_FLOOR : 0);
    return `M${this.x(groups[0].first)} ${base}${steps.join("")}`;
  }

  /** Return a rectangle over the bins first .. stop - 1, from top to bottom. */
  column(first, stop, attributes) {
    const left = Math.max(this.x(first), MARGIN.left);
    const right = Math.min(this.x(stop), this.size.width - MARGIN.right);
    return svgElement("rect", {
      x: left, width: Math.max(right - left, 0),
      y: MARGIN.top, height: this.size.height - MARGIN.top - MARGIN.bottom, ...attributes,
    });
  }

  definitions() {
    const definitions = svgElement("defs");
    const frame = svgElement("clipPath", { id: "frame" });
    frame.append(this.column(this.first, this.stop, {}));
    const main = svgElement("clipPath", { id: "main-part" });
    const ofMain = this.regions.filter((region) => region.name === "main");
    main.append(...ofMain.map((region) => this.column(region.first, region.stop, {})));
    // Regions can be told apart without colours.
    const lines = {
      floor: "M0 0L8 8M-2 6L2 10M6 -2L10 2", veto: "M0 0L8 8M8 0L0 8",
      turn_on: "M0 8L8 0M-2 2L2 -2M6 10L10 6", tail: "M4 4h.01",
    };
    const hatches = Object.entries(lines).map(([name, d]) => {
      const pattern = svgElement("pattern", {
        id: `hatch-${name}`, width: 8, height: 8, patternUnits: "userSpaceOnUse",
      });
      pattern.append(svgElement("path", { class: `hatch-${name}`, d, "stroke-linecap": "round" }));
      return pattern;
    });
    definitions.append(frame, main, ...hatches);
    return definitions;
  }

  bands() {
    return this.regions.filter((region) => region.name !== "main").flatMap(
      ({ name, first, stop }) => [
        this.column(first, stop, { class: `band ${name}`, "data-region": name }),
        this.column(first, stop, { class: "hatch", fill: `url(#hatch-${name})` }),
      ],
    );
  }

  grid() {
    const grid = svgElement("g");
    for (const tick of this.yTicks()) {
      grid.append(svgElement("line", {
        class: "rule", x1: MARGIN.left, x2: this.size.width - MARGIN.right,
        y1: this.y(tick), y2: this.y(tick),
      }));
    }
    return grid;
  }

  yTicks() {
    return this.isLog ? logTicks(this.top) : linearTicks(0, this.top, 6)
      .filter((tick) => Number.isInteger(tick));
  }

  axes() {
    const { width, height } = this.size;
    const bottom = height - MARGIN.bottom;
    const axes = svgElement("g");
    axes.append(svgElement("path", {
      class: "axis", d: `M${MARGIN.left} ${MARGIN.top}V${bottom}H${width - MARGIN.right}`,
    }));
    for (const tick of this.yTicks()) {
      axes.append(svgElement("text", {
        x: MARGIN.left - 8, y: this.y(tick), "text-anchor": "end", "dominant-baseline": "middle",
      }, tick < 1e5 ? grouped.format(tick) : compact.format(tick)));
    }
    const span = width - MARGIN.left - MARGIN.right;
    for (const mass of linearTicks(
      this.first * this.width, this.stop * this.width, Math.max(3, Math.floor(span / 85)),
    )) {
      const x = this.x(mass / this.width);
      axes.append(
        svgElement("line", { class: "axis", x1: x, x2: x, y1: bottom, y2: bottom + 5 }),
        svgElement("text", { x, y: bottom + 18, "text-anchor": "middle" }, inGeV(mass)),
      );
    }
    const middle = (MARGIN.top + bottom) / 2;
    axes.append(
      svgElement("text", { x: width - MARGIN.right, y: height - 6, "text-anchor": "end" },
        "m [GeV]"),
      svgElement("text", {
        transform: `translate(13 ${middle}) rotate(-90)`, "text-anchor": "middle",
      }, `entries / ${inGeV(this.width * this.group)} GeV`),
      svgElement("text", { x: width - MARGIN.right, y: MARGIN.top - 12, "text-anchor": "end" },
        this.note),
    );
    return axes;
  }

  /** Return a bracket over the window of each known resonance; dashed where it was left in. */
  resonances() {
    const marks = svgElement("g");
    for (const test of this.channel.resonances) {
      const [low, high] = test.window_gev.map((edge) => this.x(edge / this.width));
      const isInView = high > MARGIN.left && low < this.size.width - MARGIN.right;
      if (isInView) {
        const spare = Math.max(0, LEAST_BRACKET - (high - low)) / 2;
        const left = Math.max(low - spare, MARGIN.left);
        const right = Math.min(high + spare, this.size.width - MARGIN.right);
        const y = MARGIN.top - 4;
        marks.append(
          svgElement("path", {
            class: `resonance ${test.removed ? "removed" : "left"}`,
            d: `M${left} ${y + 6}V${y}H${right}V${y + 6}`, "data-resonance": test.name,
          }),
          svgElement("text", {
            class: "mark", x: (left + right) / 2, y: y - 5, "text-anchor": "middle",
          }, test.name),
        );
      }
    }
    return marks;
  }

  drawCursor() {
    this.layer.replaceChildren();
    if (this.cursor === null) return;
    const first = Math.floor(this.cursor / this.group) * this.group;
    const stop = first + this.group;
    this.layer.append(this.column(first, stop, { class: "cursor" }));
    const entries = this.spectrum.sum(first, stop);
    const range = `${inGeV(first * this.width)}–${inGeV(stop * this.width)} GeV`;
    const noun = entries === 1 ? "entry" : "entries";
    const of = this.classesOf(first, stop);
    this.tell(`${range}: ${grouped.format(entries)} ${noun}${of ? ` (${of})` : ""}`);
  }

  setCursor(bin) {
    this.cursor = Math.min(Math.max(Math.floor(bin), this.first), this.stop - 1);
    this.drawCursor();
  }

  // Mouse, finger, keys

  listen() {
    let start = null;
    const place = (event) => event.clientX - this.svg.getBoundingClientRect().left;
    const on = (name, act, options) => this.svg.addEventListener(name, (event) => {
      if (this.channel !== null) act(event);
    }, options);
    on("pointerdown", (event) => {
      if (event.button === 0) start = place(event);
      this.svg.setPointerCapture(event.pointerId);
    });
    on("pointermove", (event) => {
      const x = place(event);
      this.setCursor(this.binAt(x));
      if (start !== null && Math.abs(x - start) >= LEAST_DRAG) {
        const ends = [start, x].sort((a, b) => a - b).map((end) => this.binAt(end));
        this.layer.append(this.column(...ends, { class: "selection" }));
      }
    });
    on("pointerup", (event) => {
      const x = place(event);
      if (start !== null && Math.abs(x - start) >= LEAST_DRAG) {
        const [low, high] = [start, x].sort((a, b) => a - b).map((end) => this.binAt(end));
        this.setView(Math.floor(low), Math.ceil(high));
      }
      start = null;
    });
    on("pointercancel", () => { start = null; this.drawCursor(); });
    on("pointerleave", () => {
      if (start === null && document.activeElement !== this.svg) {
        this.cursor = null;
        this.drawCursor();
        this.tell("");
      }
    });
    on("dblclick", () => this.showAll());
    on("wheel", (event) => {
      // A plain wheel scrolls the page; over a plot that is in use, or with Ctrl, it zooms.
      if (!event.ctrlKey && document.activeElement !== this.svg) return;
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.25 : 0.8, this.binAt(place(event)));
    }, { passive: false });
    on("keydown", (event) => this.onKey(event));
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = (sign) => {
      if (event.shiftKey) this.move(sign * Math.ceil((this.stop - this.first) / 10));
      else this.stepCursor(sign);
    };
    const around = () => (this.cursor === null ? undefined : this.cursor + 0.5);
    const keys = {
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
      Home: () => this.setCursor(this.first),
      End: () => this.setCursor(this.stop - 1),
      "+": () => this.zoom(1.5, around()),
      "=": () => this.zoom(1.5, around()),
      "-": () => this.zoom(1 / 1.5, around()),
      0: () => this.showAll(),
      m: () => this.showMain(),
      l: () => this.setLog(!this.isLog),
    };
    const act = keys[event.key] ?? keys[event.key.toLowerCase()];
    if (act) {
      event.preventDefault();
      act();
    }
  }

  stepCursor(sign) {
    if (this.cursor === null) {
      this.setCursor((this.first + this.stop) / 2);
      return;
    }
    const first = Math.floor(this.cursor / this.group) * this.group;
    const bin = first + sign * this.group;
    if (bin < this.first) this.move(bin - this.first);
    else if (bin >= this.stop) this.move(bin + this.group - this.stop);
    this.setCursor(bin);
  }

  setLog(isLog) {
    this.isLog = isLog;
    this.draw();
    this.changed();
  }

  setGroup(group) {
    this.group = group;
    this.draw();
    this.changed();
  }
}
