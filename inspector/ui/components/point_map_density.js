/* The picture of more points than can be told apart: every cell in the mean colour of the lit
   points there, the more opaque the more there are. Also what a browser without WebGL shows. */
const MOST_POINTS = 50_000; // in view, drawn one by one
const MOST_POINTS_WITHOUT_GL = 4_000;
const DENSITY_CELL = 2; // CSS pixels

function showsDensity(map) {
  const most = map.painter ? MOST_POINTS : MOST_POINTS_WITHOUT_GL;
  return countInBox(map.index, visibleBox(map)) > most;
}

function paintDensity(map) {
  const columns = Math.max(1, Math.ceil(map.width / DENSITY_CELL));
  const rows = Math.max(1, Math.ceil(map.height / DENSITY_CELL));
  const sums = sumCells(map, columns, rows);
  const image = new ImageData(columns, rows);
  const most = sums.counts.reduce((most, count) => Math.max(most, count), 1);
  const mostGrey = sums.greys.reduce((most, count) => Math.max(most, count), 1);
  for (let cell = 0; cell < columns * rows; cell += 1) {
    const count = sums.counts[cell];
    if (count) {
      for (let k = 0; k < 3; k += 1) image.data[4 * cell + k] = sums.colors[3 * cell + k] / count;
      image.data[4 * cell + 3] = 255 * shareOf(count, most);
    } else if (sums.greys[cell]) {
      image.data.set(map.colors.grey, 4 * cell);
      image.data[4 * cell + 3] = 70 * shareOf(sums.greys[cell], mostGrey);
    }
  }
  const tile = new OffscreenCanvas(columns, rows);
  tile.getContext("2d").putImageData(image, 0, 0);
  const brush = clearedBrush(map);
  brush.imageSmoothingEnabled = true;
  brush.drawImage(tile, 0, 0, columns * DENSITY_CELL, rows * DENSITY_CELL);
}

function shareOf(count, most) {
  return 0.3 + (0.7 * Math.log1p(count)) / Math.log1p(most);
}

function clearedBrush(map) {
  const brush = map.canvases.density.getContext("2d");
  brush.setTransform(map.density, 0, 0, map.density, 0, 0);
  brush.clearRect(0, 0, map.width, map.height);
  return brush;
}

/* Points per cell of the picture: lit ones with the sum of their colours, and grey ones. */
function sumCells(map, columns, rows) {
  const { index, levels, levelTable: table } = map;
  const counts = new Uint32Array(columns * rows);
  const greys = new Uint32Array(columns * rows);
  const colors = new Float32Array(3 * columns * rows);
  const scale = mapScale(map) / DENSITY_CELL;
  const left = map.view.x * scale - map.width / 2 / DENSITY_CELL;
  const top = map.view.y * scale - map.height / 2 / DENSITY_CELL;
  const [first, last] = rowsInBox(index, visibleBox(map));
  for (let at = first; at < last; at += 1) {
    const column = Math.floor(index.xy[2 * at] * scale - left);
    const row = Math.floor(index.xy[2 * at + 1] * scale - top);
    if (column < 0 || row < 0 || column >= columns || row >= rows) continue;
    const cell = row * columns + column;
    if (!isLit(map, at)) {
      greys[cell] += 1;
      continue;
    }
    counts[cell] += 1;
    for (let k = 0; k < 3; k += 1) colors[3 * cell + k] += table[4 * levels[at] + k];
  }
  return { counts, greys, colors };
}

function isLit(map, at) {
  if (map.lit && !map.lit[at]) return false;
  return map.only == null || map.levels[at] === map.only;
}

/* Single points without WebGL: few enough for the browser's own drawing. */
function paintPlainPoints(map) {
  const brush = clearedBrush(map);
  const [first, last] = rowsInBox(map.index, visibleBox(map));
  const size = pointSize(map);
  for (const wanted of [false, true]) {
    brush.globalAlpha = wanted ? 0.86 : 0.14;
    for (let at = first; at < last; at += 1) {
      if (isLit(map, at) !== wanted) continue;
      const { x, y } = toScreen(map, map.index.xy[2 * at], map.index.xy[2 * at + 1]);
      brush.fillStyle = wanted ? cssColor(map.levelTable, map.levels[at]) : map.colors.text;
      brush.beginPath();
      brush.arc(x, y, size / 2, 0, 2 * Math.PI);
      brush.fill();
    }
  }
  brush.globalAlpha = 1;
}
