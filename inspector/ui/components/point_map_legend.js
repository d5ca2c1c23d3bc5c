/* What the colours mean: names with dots, or a bar; and what is under the pointer, in words. */
const MOST_ENTRIES = 16;

function buildLegend(map) {
  const { colouring } = map.data;
  const legend = map.root.querySelector(".legend");
  const name = document.createElement("span");
  name.className = "legend-name";
  name.textContent = colouring.name;
  const parts = colouring.kind === "categories" ? categoryEntries(map) : [colorBar(map)];
  if (colouring.none && map.levels?.includes(0)) parts.push(legendEntry(map, 0, colouring.none));
  legend.replaceChildren(name, ...parts);
}

function categoryEntries(map) {
  const { categories } = map.data.colouring;
  const entries = categories
    .slice(0, MOST_ENTRIES)
    .map((text, number) => legendEntry(map, number + 1, text));
  if (categories.length > MOST_ENTRIES) {
    const more = document.createElement("span");
    more.textContent = `and ${categories.length - MOST_ENTRIES} more: hover a point`;
    entries.push(more);
  }
  return entries;
}

/* While the pointer or the focus is on an entry, all else turns grey. */
function legendEntry(map, level, text) {
  const entry = document.createElement("button");
  entry.type = "button";
  entry.className = "legend-entry";
  entry.title = text;
  const dot = document.createElement("span");
  dot.className = "legend-dot";
  dot.style.setProperty("--dot-color", cssColor(map.levelTable, level));
  const label = document.createElement("span");
  label.dir = "auto";
  label.textContent = text;
  entry.append(dot, label);
  const highlight = (only) => {
    map.only = only;
    redrawMap(map);
  };
  entry.onpointerenter = entry.onfocus = () => highlight(level);
  entry.onpointerleave = entry.onblur = () => highlight(null);
  return entry;
}

function colorBar(map) {
  const bar = document.createElement("span");
  bar.className = "color-bar";
  const stops = Array.from({ length: 12 }, (_, k) =>
    cssColor(map.levelTable, 1 + Math.round((k / 11) * 254)),
  );
  bar.style.setProperty("--bar-colors", `linear-gradient(to right, ${stops.join(", ")})`);
  for (const [place, text] of map.data.colouring.ticks) {
    const tick = document.createElement("span");
    tick.style.setProperty("--at", place);
    tick.textContent = text;
    bar.append(tick);
  }
  return bar;
}

/* --- in words ------------------------------------------------------------------------------- */

function addressOf(map, at) {
  const slot = map.index.slots[at];
  const n = map.data.half_keys;
  const { prefix } = map.data;
  return `${prefix}${prefix ? "·" : ""}(${Math.floor(slot / n)},${slot % n})`;
}

function tokensOf(map, at) {
  const { tips } = map;
  if (!tips) return [];
  const from = map.index.order[at] * tips.top;
  const tokens = [...tips.tokens.subarray(from, from + tips.top)];
  return tokens.filter((token) => token >= 0).map((token) => tips.vocabulary[token]);
}

function measureText(map, at) {
  const { colouring } = map.data;
  const level = map.levels[at];
  if (colouring.kind === "categories") {
    return level ? colouring.categories[level - 1] : colouring.none;
  }
  if (!level && colouring.none) return colouring.none;
  const value = map.values?.[map.index.order[at]];
  return value == null ? "" : readable(value);
}

function readable(value) {
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}

function tipText(map, at) {
  const lines = [`${addressOf(map, at)} · slot ${map.index.slots[at]}`];
  const tokens = tokensOf(map, at);
  if (tokens.length) lines.push(`promotes ${tokens.join("  ")}`);
  const measure = measureText(map, at);
  if (measure) lines.push(`${map.data.colouring.name}: ${measure}`);
  return lines.join("\n");
}

/* Says below the map what the pointer or the keyboard is on, else what is selected. */
function sayPoint(map) {
  const said = map.root.querySelector(".said");
  const at = map.hover >= 0 ? map.hover : map.selected;
  const share =
    map.litCount < map.index.count
      ? `${map.litCount.toLocaleString("en-US")} of ${map.index.count.toLocaleString("en-US")} lit · `
      : "";
  const text =
    at >= 0
      ? `${addressOf(map, at)}  ${tokensOf(map, at).join("  ")}`
      : `${share}Hover a point; wheel zooms, drag moves, Shift and drag selects, 0 shows all.`;
  said.textContent = text;
  said.classList.toggle("hint", at < 0);
}
