/* Points sorted into cells, row by row: finds the nearest, counts what is in view. All arrays of
   the index are in that order; `order` leads back to the order in which points were sent. */
const CELLS = 256; // a side
const CELL_UNITS = 256;

function indexPoints(cells, count) {
  const xy = new Uint16Array(cells, 0, 2 * count);
  const slots = new Uint32Array(cells, 4 * count, count);
  const starts = new Uint32Array(CELLS * CELLS + 1);
  const cellOf = (k) => (xy[2 * k + 1] >> 8) * CELLS + (xy[2 * k] >> 8);
  for (let k = 0; k < count; k += 1) starts[cellOf(k) + 1] += 1;
  for (let c = 0; c < CELLS * CELLS; c += 1) starts[c + 1] += starts[c];
  const next = starts.slice();
  const index = {
    count,
    starts,
    order: new Uint32Array(count),
    xy: new Uint16Array(2 * count),
    slots: new Uint32Array(count),
  };
  for (let k = 0; k < count; k += 1) {
    const at = next[cellOf(k)]++;
    index.order[at] = k;
    index.xy[2 * at] = xy[2 * k];
    index.xy[2 * at + 1] = xy[2 * k + 1];
    index.slots[at] = slots[k];
  }
  index.bounds = boundsOf(index.xy);
  return index;
}

function boundsOf(xy) {
  const bounds = { left: 65535, right: 0, top: 65535, bottom: 0 };
  for (let k = 0; k < xy.length; k += 2) {
    bounds.left = Math.min(bounds.left, xy[k]);
    bounds.right = Math.max(bounds.right, xy[k]);
    bounds.top = Math.min(bounds.top, xy[k + 1]);
    bounds.bottom = Math.max(bounds.bottom, xy[k + 1]);
  }
  return bounds;
}

function reordered(index, values) {
  const result = new values.constructor(index.count);
  for (let at = 0; at < index.count; at += 1) result[at] = values[index.order[at]];
  return result;
}

function cellRange(low, high) {
  const clamp = (value) => Math.max(0, Math.min(CELLS - 1, Math.floor(value / CELL_UNITS)));
  return [clamp(low), clamp(high)];
}

/* Points whose row of cells touches a box lie one after the other: [first, behind the last]. */
function rowsInBox(index, box) {
  const [top, bottom] = cellRange(box.top, box.bottom);
  return [index.starts[top * CELLS], index.starts[(bottom + 1) * CELLS]];
}

function countInBox(index, box) {
  const [top, bottom] = cellRange(box.top, box.bottom);
  const [left, right] = cellRange(box.left, box.right);
  let count = 0;
  for (let row = top; row <= bottom; row += 1) {
    count += index.starts[row * CELLS + right + 1] - index.starts[row * CELLS + left];
  }
  return count;
}

/* The point nearest to (x, y) within a reach, in map units; lit points win over grey ones. */
function nearestPoint(index, lit, x, y, reach) {
  const [top, bottom] = cellRange(y - reach, y + reach);
  const [left, right] = cellRange(x - reach, x + reach);
  let best = -1;
  let least = reach * reach;
  let bestLit = false;
  for (let row = top; row <= bottom; row += 1) {
    const end = index.starts[row * CELLS + right + 1];
    for (let at = index.starts[row * CELLS + left]; at < end; at += 1) {
      const dx = index.xy[2 * at] - x;
      const dy = index.xy[2 * at + 1] - y;
      const far = dx * dx + dy * dy;
      const on = !lit || lit[at] === 1;
      if (far > reach * reach || (bestLit && !on)) continue;
      if (far < least || (on && !bestLit)) {
        best = at;
        least = far;
        bestLit = on;
      }
    }
  }
  return best;
}

/* The nearest point in a direction; leaving it costs more than going along it. */
function pointTowards(index, lit, x, y, dx, dy) {
  let best = -1;
  let least = Infinity;
  for (let at = 0; at < index.count; at += 1) {
    if (lit && !lit[at]) continue;
    const [ox, oy] = [index.xy[2 * at] - x, index.xy[2 * at + 1] - y];
    const along = ox * dx + oy * dy;
    const cost = along + 2 * Math.abs(ox * dy + oy * dx);
    if (along > 0 && cost < least) {
      best = at;
      least = cost;
    }
  }
  return best;
}

/* Which points lie in a polygon (even-odd rule, as in point_map_data.py): one byte a point. */
function pointsInside(index, corners) {
  const inside = new Uint8Array(index.count);
  corners.forEach(([ax, ay], k) => {
    const [bx, by] = corners[(k + 1) % corners.length];
    if (ay === by) return;
    const [first, last] = rowsInBox(index, { top: Math.min(ay, by), bottom: Math.max(ay, by) });
    for (let at = first; at < last; at += 1) {
      const y = index.xy[2 * at + 1];
      if (ay > y === by > y) continue;
      if (index.xy[2 * at] < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside[at] ^= 1;
    }
  });
  return inside;
}
