/* The faint usage picture behind the reads: one byte a cell, and halved copies of it, in which a
   cell is the mean of four, for views in which many cells share a pixel. */
function backgroundLevels(cells, n) {
  const levels = [{ cells, n }];
  while (levels.at(-1).n > 128 && levels.at(-1).n % 2 === 0) levels.push(halved(levels.at(-1)));
  return levels;
}

function halved({ cells, n }) {
  const half = n / 2;
  const result = new Uint8Array(half * half);
  for (let i = 0; i < half; i += 1) {
    let at = 2 * i * n;
    for (let j = 0; j < half; j += 1, at += 2) {
      const sum = cells[at] + cells[at + 1] + cells[at + n] + cells[at + n + 1];
      result[i * half + j] = sum === 0 ? 0 : Math.max(1, (sum + 2) >> 2);
    }
  }
  return { cells: result, n: half };
}

/* 256 colours from the theme's sequential ramp, packed for a Uint32 view of an image. */
function colorRamp(element) {
  const brush = new OffscreenCanvas(256, 1).getContext("2d");
  const stops = themePalette(element, "--st-chart-sequential-colors");
  const gradient = brush.createLinearGradient(0, 0, 256, 0);
  stops.forEach((color, k) => gradient.addColorStop(k / Math.max(1, stops.length - 1), color));
  brush.fillStyle = gradient;
  brush.fillRect(0, 0, 256, 1);
  return new Uint32Array(brush.getImageData(0, 0, 256, 1).data.buffer);
}

function drawBackground(grid, brush) {
  const { levels, view, area } = grid;
  if (!levels) return;
  const pixels = cellSize(grid).width * grid.density;
  const level =
    levels.find((_, k) => pixels * 2 ** k >= 1) ?? levels.at(-1);
  const scale = level.n / grid.n;
  const span = level.n / view.zoom;
  const x = Math.floor(view.left * scale);
  const y = Math.floor(view.top * scale);
  const width = Math.min(level.n, Math.ceil(view.left * scale + span)) - x;
  const height = Math.min(level.n, Math.ceil(view.top * scale + span)) - y;
  const tile = paintedTile(grid, level, x, y, width, height);
  const cell = { width: area.width / span, height: area.height / span };
  brush.save();
  brush.globalAlpha = grid.backgroundStrength;
  brush.imageSmoothingEnabled = cell.width * grid.density < 1;
  brush.drawImage(
    tile,
    area.left + (x - view.left * scale) * cell.width,
    area.top + (y - view.top * scale) * cell.height,
    width * cell.width,
    height * cell.height,
  );
  brush.restore();
}

function paintedTile(grid, level, x, y, width, height) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < height; i += 1) {
    const from = (y + i) * level.n + x;
    for (let j = 0; j < width; j += 1) {
      pixels[i * width + j] = grid.ramp[level.cells[from + j]];
    }
  }
  const tile = new OffscreenCanvas(width, height);
  tile.getContext("2d").putImageData(image, 0, 0);
  return tile;
}
