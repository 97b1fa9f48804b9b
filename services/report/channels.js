// Which channels are shown, and in which order.

/** Return what BumpNet makes of a channel, in one word. */
function verdictOf(channel) {
  if (channel.dropped !== null) return "dropped";
  if (channel.verdicts === null) return "unknown";
  return channel.verdicts.some(([, reason]) => reason === null) ? "accepted" : "rejected";
}

/** Return the largest significance of a detected resonance; -Infinity where there is none. */
function significanceOf(channel) {
  const detected = channel.resonances.filter((test) => test.detected);
  return Math.max(-Infinity, ...detected.map((test) => test.significance));
}

/** Whether a text has a word in it: "2e" is not in "12e", and "j1" not in "j10". */
function hasWord(text, word) {
  const isDigit = (letter) => letter >= "0" && letter <= "9";
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
    const before = text[at - 1] ?? "";
    const after = text[at + word.length] ?? "";
    const isCut = (isDigit(word[0]) && isDigit(before))
      || (isDigit(word[word.length - 1]) && isDigit(after));
    if (!isCut) return true;
  }
  return false;
}

const byName = (a, b) => a.number - b.number;

const ORDERS = {
  entries: (a, b) => b.population - a.population || byName(a, b),
  main: (a, b) => b.classes.main - a.classes.main || byName(a, b),
  significance: (a, b) => {
    const [one, other] = [significanceOf(a), significanceOf(b)];
    return one === other ? ORDERS.entries(a, b) : other - one;
  },
  name: byName,
};

/** Return the channels that pass all filters, {search, state, combination, sample, verdict}. */
function chosen(channels, filters, order) {
  const words = filters.search.split(/\s+/).filter(Boolean);
  return channels
    .filter((channel) => words.every((word) => hasWord(channel.name, word)))
    .filter((channel) => ["state", "combination", "sample", "verdict"].every(
      (key) => !filters[key] || channel[key] === filters[key],
    ))
    .sort(ORDERS[order]);
}
