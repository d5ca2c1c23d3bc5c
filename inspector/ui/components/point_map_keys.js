/* The map by keyboard. In box mode Enter sets one corner of the box at the point in hand, and then
   the other. */
const MAP_STEPS = {
  ArrowRight: [1, 0],
  ArrowLeft: [-1, 0],
  ArrowDown: [0, 1],
  ArrowUp: [0, -1],
};
const MAP_ZOOMS = { "+": "in", "=": "in", "-": "out", 0: "reset" };

function pressMapKey(map, event) {
  const { key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || !map.index) return;
  const target = MAP_STEPS[key] ? stepTowards(map, MAP_STEPS[key]) : stepThroughLit(map, key);
  const enters = key === "Enter" || key === " ";
  if (target === undefined && !MAP_ZOOMS[key] && !enters && key !== "Escape") return;
  event.preventDefault();
  if (MAP_ZOOMS[key]) zoomByButton(map, MAP_ZOOMS[key]);
  else if (key === "Escape") escapeMap(map);
  else if (enters) enterPoint(map);
  else if (target >= 0) {
    bringPointIntoView(map, target);
    redrawMap(map);
    holdPoint(map, target);
  }
}

function escapeMap(map) {
  if (map.corner) map.corner = null;
  else if (map.hover < 0 && map.area.length) selectArea(map, []);
  holdPoint(map, -1);
}

function enterPoint(map) {
  if (map.hover < 0) return;
  if (map.mode !== "box") {
    selectPoint(map, map.hover);
    return;
  }
  const here = toScreen(map, map.index.xy[2 * map.hover], map.index.xy[2 * map.hover + 1]);
  const units = toUnits(map, here);
  if (!map.corner) {
    map.corner = units;
    return;
  }
  const other = toScreen(map, map.corner.x, map.corner.y);
  const roomy = (a, b, sign) => ({
    x: a.x + (a.x <= b.x ? -sign : sign),
    y: a.y + (a.y <= b.y ? -sign : sign),
  });
  map.corner = null;
  selectArea(map, boxCorners(map, roomy(here, other, 3), roomy(other, here, 3)));
}

/* From the point in hand, else the selected one, else the middle of what is in view. */
function stepTowards(map, [dx, dy]) {
  const at = map.hover >= 0 ? map.hover : map.selected;
  const { xy } = map.index;
  const [x, y] = at >= 0 ? [xy[2 * at], xy[2 * at + 1]] : [map.view.x, map.view.y];
  return pointTowards(map.index, map.lit, x, y, dx, dy);
}

/* Home, End and the page keys go through all lit points, from the top of the map down. */
function stepThroughLit(map, key) {
  const { count } = map.index;
  const at = map.hover >= 0 ? map.hover : map.selected;
  if (key === "Home") return nextLit(map, 0, 1);
  if (key === "End") return nextLit(map, count - 1, -1);
  if (key === "PageDown") return nextLit(map, at + 1, 1);
  if (key === "PageUp") return nextLit(map, at < 0 ? count - 1 : at - 1, -1);
  return undefined;
}

function nextLit(map, from, step) {
  for (let at = from; at >= 0 && at < map.index.count; at += step) {
    if (!map.lit || map.lit[at]) return at;
  }
  return -1;
}
