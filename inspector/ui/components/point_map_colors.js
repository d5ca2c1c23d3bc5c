/* The theme's colours, as numbers where the graphics card needs them. */
const RAMP_FROM = 0.24; // the palette's first colours are those of the page
const LEVELS = 256;

function rgbOf(color) {
  const brush = (rgbOf.brush ??= new OffscreenCanvas(1, 1).getContext("2d", {
    willReadFrequently: true,
  }));
  brush.clearRect(0, 0, 1, 1);
  brush.fillStyle = color;
  brush.fillRect(0, 0, 1, 1);
  return [...brush.getImageData(0, 0, 1, 1).data];
}

function mixed(from, to, share) {
  return from.map((value, k) => Math.round(value + (to[k] - value) * share));
}

function mapColors(element) {
  const color = (name) => themeColor(element, name);
  const text = color("--st-text-color");
  return {
    text,
    page: color("--st-background-color"),
    border: color("--st-border-color"),
    ring: color("--st-orange-color"),
    area: color("--st-primary-color"),
    textRgb: rgbOf(text),
    pageRgb: rgbOf(color("--st-background-color")),
    grey: rgbOf(text).slice(0, 3),
    categories: themePalette(element, "--st-chart-categorical-colors").map(rgbOf),
    ramp: themePalette(element, "--st-chart-sequential-colors").map(rgbOf),
  };
}

/* A colour for each level, RGBA bytes: 0 is "none", then categories or the ramp. */
function levelColors(colors, kind) {
  const table = new Uint8Array(4 * LEVELS);
  table.set([...mixed(colors.pageRgb, colors.textRgb, 0.36).slice(0, 3), 255], 0);
  for (let level = 1; level < LEVELS; level += 1) {
    const color =
      kind === "categories"
        ? categoryRgb(colors, level - 1)
        : rampRgb(colors.ramp, (level - 1) / (LEVELS - 2));
    table.set([...color.slice(0, 3), 255], 4 * level);
  }
  return table;
}

function rampRgb(stops, share) {
  const place = (RAMP_FROM + (1 - RAMP_FROM) * share) * (stops.length - 1);
  const at = Math.min(stops.length - 2, Math.floor(place));
  return mixed(stops[at], stops[at + 1], place - at);
}

/* Where there are more categories than colours, they come again darker, then fainter. */
function categoryRgb(colors, number) {
  const own = colors.categories[number % colors.categories.length];
  const round = Math.floor(number / colors.categories.length) % 3;
  if (round === 1) return mixed(own, colors.textRgb, 0.42);
  return round === 2 ? mixed(own, colors.pageRgb, 0.45) : own;
}

function cssColor(table, level) {
  return `rgb(${table[4 * level]} ${table[4 * level + 1]} ${table[4 * level + 2]})`;
}
