/* Which part of the map is in view. Zoom 1 shows all points; (x, y) is the centre in map units. */
const MAP_PADDING = 34;
const MOST_ZOOM = 400;

function wholeMap(map) {
  const { left, right, top, bottom } = map.index?.bounds ?? { left: 0, right: 1, top: 0, bottom: 1 };
  return { zoom: 1, x: (left + right) / 2, y: (top + bottom) / 2 };
}

/* CSS pixels per map unit. */
function mapScale(map) {
  const { left, right, top, bottom } = map.index.bounds;
  const across = (map.width - 2 * MAP_PADDING) / Math.max(1, right - left);
  const down = (map.height - 2 * MAP_PADDING) / Math.max(1, bottom - top);
  return Math.max(1e-4, Math.min(across, down)) * map.view.zoom;
}

function toScreen(map, x, y) {
  const scale = mapScale(map);
  return {
    x: (x - map.view.x) * scale + map.width / 2,
    y: (y - map.view.y) * scale + map.height / 2,
  };
}

function toUnits(map, point) {
  const scale = mapScale(map);
  return {
    x: (point.x - map.width / 2) / scale + map.view.x,
    y: (point.y - map.height / 2) / scale + map.view.y,
  };
}

function visibleBox(map) {
  const { x: left, y: top } = toUnits(map, { x: 0, y: 0 });
  const { x: right, y: bottom } = toUnits(map, { x: map.width, y: map.height });
  return { left, top, right, bottom };
}

/* Zooms by a factor and keeps what lies under a point of the canvas in place. */
function zoomMap(map, factor, point) {
  const before = toUnits(map, point);
  map.view.zoom = Math.max(1, Math.min(MOST_ZOOM, map.view.zoom * factor));
  const after = toUnits(map, point);
  map.view.x += before.x - after.x;
  map.view.y += before.y - after.y;
  keepInSight(map);
}

function panMap(map, dx, dy) {
  const scale = mapScale(map);
  map.view.x -= dx / scale;
  map.view.y -= dy / scale;
  keepInSight(map);
}

/* Some of the map stays in view; all of it, centred, at zoom 1. */
function keepInSight(map) {
  const whole = wholeMap(map);
  const { left, right, top, bottom } = map.index.bounds;
  if (map.view.zoom === 1) Object.assign(map.view, whole);
  map.view.x = Math.max(left, Math.min(right, map.view.x));
  map.view.y = Math.max(top, Math.min(bottom, map.view.y));
}

function bringPointIntoView(map, at) {
  const [x, y] = [map.index.xy[2 * at], map.index.xy[2 * at + 1]];
  const place = toScreen(map, x, y);
  const margin = 24;
  const inside =
    place.x > margin &&
    place.y > margin &&
    place.x < map.width - margin &&
    place.y < map.height - margin;
  if (inside) return;
  map.view.x = x;
  map.view.y = y;
  keepInSight(map);
}
