export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".point-map");
  const map = (root.map ??= newMap(root));
  root.style.setProperty("--map-height", `${data.height}px`);
  map.canvases.overlay.setAttribute("aria-label", mapAriaLabel(data));
  Object.assign(map, {
    data,
    setStateValue,
    tooltip: createTooltip(root),
    selection: createSelection(root, data, setStateValue),
    colors: mapColors(root),
    font: themeColor(root, "--st-font"),
    labels: [...data.labels].sort((a, b) => b.points - a.points),
  });
  map.levelTable = levelColors(map.colors, data.colouring.kind);
  if (map.painter) uploadLevels(map.painter, map.levelTable);
  showData(map);
  listenToMap(map);
  observeMapOnce(map);
  return () => {
    map.tooltip.hide();
    map.observer?.disconnect();
    map.observer = null;
    document.removeEventListener("point-map-part", map.onPart);
  };
}

function newMap(root) {
  const canvases = {};
  for (const name of ["points", "density", "overlay"]) {
    canvases[name] = root.querySelector(`canvas.${name}`);
  }
  const map = { root, canvases, digests: {}, hover: -1, selected: -1, area: [], only: null };
  map.painter = createPainter(canvases.points);
  canvases.points.addEventListener("webglcontextlost", (event) => {
    event.preventDefault(); // asks for it back
    map.painter = null;
    redrawMap(map);
  });
  canvases.points.addEventListener("webglcontextrestored", () => {
    map.painter = createPainter(canvases.points);
    if (map.painter && map.index) uploadAll(map);
    redrawMap(map);
  });
  setMode(map, "move");
  return map;
}

function mapAriaLabel(data) {
  return (
    `Map of ${data.points} slots. Arrow keys move to the next point, page keys go through the lit ` +
    "ones, Enter selects, plus, minus and 0 zoom. With the box button pressed Enter sets its corners."
  );
}

/* All that a run brought: parts, area, selection, legend. */
function showData(map) {
  const { data } = map;
  takeParts(map);
  if (!map.index) return;
  if (map.pendingArea?.nonce === data.area_nonce || map.pendingArea?.subject !== data.subject) {
    map.pendingArea = null;
  }
  measureCanvas(map);
  showArea(map, map.pendingArea?.corners ?? data.area);
  map.selected = pointOfSlot(map, map.selection.value);
  if (map.shownSelected !== map.selected && map.selected >= 0) {
    bringPointIntoView(map, map.selected);
  }
  map.shownSelected = map.selected;
  buildLegend(map);
  sayPoint(map);
  redrawMap(map);
}

function measureCanvas(map) {
  const { overlay } = map.canvases;
  map.density = Math.min(devicePixelRatio || 1, 2);
  map.width = Math.max(1, overlay.clientWidth);
  map.height = Math.max(1, overlay.clientHeight);
  for (const canvas of Object.values(map.canvases)) {
    const width = Math.round(map.width * map.density);
    const height = Math.round(map.height * map.density);
    if (canvas.width !== width) canvas.width = width; // setting it clears the canvas
    if (canvas.height !== height) canvas.height = height;
  }
}

function redrawMap(map) {
  map.pointsAreStale = true;
  redrawOverlay(map);
}

function redrawOverlay(map) {
  if (map.frame) return;
  map.frame = requestAnimationFrame(() => {
    map.frame = null;
    if (!map.index || !map.width) return;
    if (map.pointsAreStale) drawPoints(map);
    map.pointsAreStale = false;
    drawOverlay(map);
  });
}

function drawPoints(map) {
  const density = showsDensity(map);
  map.root.dataset.picture = density ? "density" : "points";
  if (density) {
    if (map.painter) clearPoints(map);
    paintDensity(map);
  } else if (map.painter) {
    clearedBrush(map);
    paintPoints(map);
  } else paintPlainPoints(map);
}

function observeMapOnce(map) {
  if (map.observer) return;
  map.observer = new ResizeObserver(() => {
    measureCanvas(map);
    redrawMap(map);
  });
  map.observer.observe(map.canvases.overlay);
  map.onPart = (event) => {
    if (event.detail === map.data.map) showData(map);
  };
  document.addEventListener("point-map-part", map.onPart);
}
