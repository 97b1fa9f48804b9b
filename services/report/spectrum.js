// Packed data -> channels and spectra. What services/report/channels.py packs is read here.

/** Return the bytes of packed text: base64 of zlib. */
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Return all numbers of a sequence of unsigned LEB128; exact up to 2^53. */
function readNumbers(bytes) {
  const numbers = [];
  let value = 0;
  let scale = 1;
  for (const byte of bytes) {
    value += (byte & 0x7f) * scale;
    if (byte & 0x80) {
      scale *= 128;
    } else {
      numbers.push(value);
      value = 0;
      scale = 1;
    }
  }
  return numbers;
}

/** Entries per bin of the grid, up to the last filled one. */
class Spectrum {
  constructor(numbers) {
    const filled = numbers[0];
    const bins = [];
    let bin = -1;
    for (let i = 0; i < filled; i += 1) {
      bin += numbers[1 + i] + 1;
      bins.push(bin);
    }
    this.counts = new Float64Array(bin + 1);
    bins.forEach((of, i) => { this.counts[of] = numbers[1 + filled + i]; });
  }

  get nBins() {
    return this.counts.length;
  }

  /** Return the entries of the bins first .. stop - 1. */
  sum(first, stop) {
    let total = 0;
    for (let bin = first; bin < Math.min(stop, this.nBins); bin += 1) total += this.counts[bin];
    return total;
  }
}

const CLASSES = {
  main: "main",
  tail: "outliers",
  floor: "resonance and below",
  veto: "resonance",
  turn_on: "turn-on",
  overflow: "overflow",
};

/**
 * Return the ranges of one class each, {name, first, stop} in bins, that cover 0 .. nBins.
 * The first class that applies counts: floor, veto, turn-on, tail, main.
 */
function regions(channel, width, nBins) {
  const onGrid = (edge) => Math.round(edge / width);
  const low = onGrid(channel.low);
  const high = channel.high === null ? Infinity : onGrid(channel.high);
  const floor = onGrid(channel.floor ?? 0);
  const vetoes = channel.vetoes.map((window) => window.map(onGrid));
  const classOf = (bin) => {
    if (bin < floor) return "floor";
    if (vetoes.some(([first, stop]) => first <= bin && bin < stop)) return "veto";
    if (bin < low) return "turn_on";
    return bin >= high ? "tail" : "main";
  };
  const inside = [low, high, floor, ...vetoes.flat()].filter((bin) => bin > 0 && bin < nBins);
  const edges = [...new Set([0, ...inside, nBins])].sort((a, b) => a - b);
  const found = [];
  for (let i = 0; i + 1 < edges.length; i += 1) {
    const name = classOf(edges[i]);
    const last = found[found.length - 1];
    if (last?.name === name) last.stop = edges[i + 1];
    else found.push({ name, first: edges[i], stop: edges[i + 1] });
  }
  return found;
}
