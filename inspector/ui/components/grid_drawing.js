/* Everything on the canvas: background, grid lines, margins, axes, reads, the selected ring. */
function drawGrid(grid) {
  const { canvas, area } = grid;
  const brush = canvas.getContext("2d");
  brush.setTransform(grid.density, 0, 0, grid.density, 0, 0);
  brush.clearRect(0, 0, canvas.width, canvas.height);
  brush.fillStyle = grid.colors.plot;
  brush.fillRect(area.left, area.top, area.width, area.height);
  brush.save();
  brush.beginPath();
  brush.rect(area.left, area.top, area.width, area.height);
  brush.clip();
  drawBackground(grid, brush);
  drawCellLines(grid, brush);
  brush.restore();
  drawGuides(grid, brush);
  drawAxes(grid, brush);
  drawMargins(grid, brush);
  brush.save();
  brush.beginPath();
  brush.rect(area.left - 5, area.top - 5, area.width + 10, area.height + 10);
  brush.clip();
  grid.reads.forEach((read) => drawRead(grid, brush, read));
  drawSelected(grid, brush);
  brush.restore();
}

function drawCellLines(grid, brush) {
  const { area, view, n } = grid;
  const cell = cellSize(grid);
  if (Math.min(cell.width, cell.height) < 9) return;
  brush.strokeStyle = grid.colors.line;
  brush.lineWidth = 1;
  brush.beginPath();
  const last = n / view.zoom + 1;
  for (let k = 0; k <= last; k += 1) {
    const x = area.left + (Math.floor(view.left) + k - view.left) * cell.width;
    const y = area.top + (Math.floor(view.top) + k - view.top) * cell.height;
    brush.moveTo(x, area.top);
    brush.lineTo(x, area.top + area.height);
    brush.moveTo(area.left, y);
    brush.lineTo(area.left + area.width, y);
  }
  brush.stroke();
}

/* Lines from a key to both margins: which two half-keys it is the pair of. */
function drawGuides(grid, brush) {
  const { area, n, selectedSlot: slot, hover } = grid;
  if (slot != null) {
    guideLines(area, brush, keyCenter(grid, Math.floor(slot / n), slot % n), grid.colors.ring);
  }
  if (hover) guideLines(area, brush, keyCenter(grid, hover.i, hover.j), grid.colors.guide);
}

function guideLines(area, brush, { x, y }, color) {
  brush.save();
  brush.strokeStyle = color;
  brush.globalAlpha = 0.7;
  brush.setLineDash([3, 3]);
  brush.beginPath();
  if (x >= area.left && x <= area.left + area.width) {
    brush.moveTo(x, area.top);
    brush.lineTo(x, area.top + area.height);
  }
  if (y >= area.top && y <= area.top + area.height) {
    brush.moveTo(area.left, y);
    brush.lineTo(area.left + area.width, y);
  }
  brush.stroke();
  brush.restore();
}

function drawAxes(grid, brush) {
  const { area, n } = grid;
  const cell = cellSize(grid);
  const bottom = area.top + area.height;
  brush.strokeStyle = grid.colors.border;
  brush.lineWidth = 1;
  brush.strokeRect(area.left - 0.5, area.top - 0.5, area.width + 1, area.height + 1);
  brush.fillStyle = grid.colors.faintText;
  brush.font = `11px ${grid.font}`;
  brush.textBaseline = "middle";
  for (let j = 0, step = tickStep(n, cell.width, 44); j < n; j += step) {
    const { x } = keyCenter(grid, 0, j);
    brush.textAlign = "center";
    if (x >= area.left && x <= area.left + area.width) brush.fillText(j, x, bottom + 11);
  }
  for (let i = 0, step = tickStep(n, cell.height, 34); i < n; i += step) {
    const { y } = keyCenter(grid, i, 0);
    brush.textAlign = "right";
    if (y >= area.top && y <= bottom) brush.fillText(i, area.left - 7, y);
  }
  brush.textAlign = "center";
  brush.fillText("half-key j of set 2", area.left + area.width / 2, bottom + 27);
  brush.save();
  brush.translate(9, area.top + area.height / 2);
  brush.rotate(-Math.PI / 2);
  brush.fillText("half-key i of set 1", 0, 0);
  brush.restore();
}

/* Total weight for each half-key, stacked by group: heads have half-keys of their own. */
function drawMargins(grid, brush) {
  const { area } = grid;
  const cell = cellSize(grid);
  const room = GRID_MARGIN.top - 10;
  const right = area.left + area.width;
  const thickness = (size) => Math.max(2, Math.min(size * 0.8, 18));
  grid.margins.columns.forEach(({ index, group, from, to }) => {
    const { x } = keyCenter(grid, 0, index);
    if (x < area.left || x > right) return;
    const width = thickness(cell.width);
    brush.fillStyle = groupColor(grid.colors.groups, group);
    brush.fillRect(x - width / 2, area.top - 3 - to * room, width, (to - from) * room);
  });
  grid.margins.rows.forEach(({ index, group, from, to }) => {
    const { y } = keyCenter(grid, index, 0);
    if (y < area.top || y > area.top + area.height) return;
    const height = thickness(cell.height);
    brush.fillStyle = groupColor(grid.colors.groups, group);
    brush.fillRect(right + 3 + from * room, y - height / 2, (to - from) * room, height);
  });
}

function readRadius(grid, read) {
  const share = grid.largestWeight > 0 ? Math.abs(read.weight) / grid.largestWeight : 0;
  return (2.6 + 7 * Math.sqrt(share)) * Math.min(1.5, 1 + Math.log2(grid.view.zoom) / 10);
}

/* A dot whose area grows with the weight; a negative weight is hollow. */
function drawRead(grid, brush, read) {
  const { x, y } = keyCenter(grid, read.i, read.j);
  const radius = readRadius(grid, read);
  const color = groupColor(grid.colors.groups, read.group);
  const cell = cellSize(grid);
  if (Math.min(cell.width, cell.height) >= 9) {
    brush.fillStyle = color;
    brush.globalAlpha = 0.22;
    brush.fillRect(x - cell.width / 2, y - cell.height / 2, cell.width, cell.height);
    brush.globalAlpha = 1;
  }
  brush.beginPath();
  brush.arc(x, y, radius, 0, 2 * Math.PI);
  brush.lineWidth = 3;
  brush.strokeStyle = grid.colors.page;
  brush.stroke();
  brush.fillStyle = read.weight < 0 ? grid.colors.page : color;
  brush.fill();
  if (read.weight < 0) {
    brush.lineWidth = 2;
    brush.strokeStyle = color;
    brush.stroke();
  }
  if (grid.hover?.read === read) outlineRead(grid, brush, x, y, radius);
}

function outlineRead(grid, brush, x, y, radius) {
  brush.beginPath();
  brush.arc(x, y, radius + 1.5, 0, 2 * Math.PI);
  brush.lineWidth = 2;
  brush.strokeStyle = grid.colors.text;
  brush.stroke();
}

function drawSelected(grid, brush) {
  const { selectedSlot: slot, n } = grid;
  if (slot == null) return;
  const { x, y } = keyCenter(grid, Math.floor(slot / n), slot % n);
  const radii = grid.reads.filter((read) => read.slot === slot).map((r) => readRadius(grid, r));
  const radius = Math.max(5, ...radii) + 4;
  for (const [width, color] of [
    [5, grid.colors.page],
    [2.5, grid.colors.ring],
  ]) {
    brush.beginPath();
    brush.arc(x, y, radius, 0, 2 * Math.PI);
    brush.lineWidth = width;
    brush.strokeStyle = color;
    brush.stroke();
  }
}
