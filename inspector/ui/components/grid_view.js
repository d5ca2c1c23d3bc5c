/* Which part of the n x n keys is visible, and where a key lies on the canvas (CSS pixels).
   Column j of set 2 runs along x, row i of set 1 along y. */
const GRID_MARGIN = { left: 48, top: 44, right: 44, bottom: 38 };
const LARGEST_CELL = 48;

function plotArea(width, height) {
  const { left, top, right, bottom } = GRID_MARGIN;
  return {
    left,
    top,
    width: Math.max(10, width - left - right),
    height: Math.max(10, height - top - bottom),
  };
}

function wholeView() {
  return { zoom: 1, left: 0, top: 0 };
}

function cellSize(grid) {
  const { area, view, n } = grid;
  return { width: (area.width * view.zoom) / n, height: (area.height * view.zoom) / n };
}

/* The canvas position of the centre of key (i, j). */
function keyCenter(grid, i, j) {
  const cell = cellSize(grid);
  return {
    x: grid.area.left + (j + 0.5 - grid.view.left) * cell.width,
    y: grid.area.top + (i + 0.5 - grid.view.top) * cell.height,
  };
}

function isInPlot(grid, x, y) {
  const { left, top, width, height } = grid.area;
  return x >= left && y >= top && x <= left + width && y <= top + height;
}

/* The key (i, j) at a canvas position, or null outside the plot. */
function keyAt(grid, x, y) {
  if (!isInPlot(grid, x, y)) return null;
  const cell = cellSize(grid);
  const within = (value) => Math.max(0, Math.min(grid.n - 1, Math.floor(value)));
  return {
    i: within(grid.view.top + (y - grid.area.top) / cell.height),
    j: within(grid.view.left + (x - grid.area.left) / cell.width),
  };
}

function clampView(grid) {
  const { view, n } = grid;
  const room = n - n / view.zoom;
  view.left = Math.max(0, Math.min(room, view.left));
  view.top = Math.max(0, Math.min(room, view.top));
}

/* Zooms by a factor and keeps the key under (x, y) in place. */
function zoomAt(grid, factor, x, y) {
  const { view, area, n } = grid;
  const shorter = Math.min(area.width, area.height);
  const most = Math.max(1, (LARGEST_CELL * n) / shorter);
  const zoom = Math.max(1, Math.min(most, view.zoom * factor));
  const across = ((x - area.left) / area.width) * n;
  const down = ((y - area.top) / area.height) * n;
  view.left += across / view.zoom - across / zoom;
  view.top += down / view.zoom - down / zoom;
  view.zoom = zoom;
  clampView(grid);
}

function panBy(grid, dx, dy) {
  const cell = cellSize(grid);
  grid.view.left -= dx / cell.width;
  grid.view.top -= dy / cell.height;
  clampView(grid);
}

/* Moves the view, if need be, so that the key (i, j) is inside it. */
function bringIntoView(grid, i, j) {
  const { view, n } = grid;
  const span = n / view.zoom;
  const margin = Math.min(2, span / 4);
  if (j < view.left + margin || j > view.left + span - margin) view.left = j + 0.5 - span / 2;
  if (i < view.top + margin || i > view.top + span - margin) view.top = i + 0.5 - span / 2;
  clampView(grid);
}

/* Steps of 1, 2, 4, 8 ... where n is a power of two, else of 1, 2, 5, 10 ... */
function tickStep(n, cell, room) {
  const powerOfTwo = (n & (n - 1)) === 0;
  const factors = powerOfTwo ? [2] : [2, 2.5, 2];
  let step = 1;
  for (let k = 0; step * cell < room; k += 1) step *= factors[k % factors.length];
  return step;
}
