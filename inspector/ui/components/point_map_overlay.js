/* What lies over the points: names of clusters, rings, the area that is or was drawn. */
const LABEL_HEIGHT = 16;

function drawOverlay(map) {
  const brush = map.canvases.overlay.getContext("2d");
  brush.setTransform(map.density, 0, 0, map.density, 0, 0);
  brush.clearRect(0, 0, map.width, map.height);
  drawArea(map, brush);
  drawLabels(map, brush);
  for (const slot of map.data.marked) {
    const at = pointOfSlot(map, slot);
    if (at >= 0) drawRing(map, brush, at, { radius: 5, width: 1.3, color: map.colors.text });
  }
  if (map.hover >= 0) {
    drawRing(map, brush, map.hover, { radius: 6, width: 1.8, color: map.colors.text });
  }
  if (map.selected >= 0) {
    drawRing(map, brush, map.selected, { radius: 8, width: 2.6, color: map.colors.ring });
  }
}

/* A ring with a halo in the page's colour, so that it shows on any ground. */
function drawRing(map, brush, at, { radius, width, color }) {
  const { x, y } = toScreen(map, map.index.xy[2 * at], map.index.xy[2 * at + 1]);
  const around = radius + pointSize(map) / 2 - 1;
  for (const [lineWidth, strokeStyle] of [
    [width + 2.4, map.colors.page],
    [width, color],
  ]) {
    brush.beginPath();
    brush.arc(x, y, around, 0, 2 * Math.PI);
    Object.assign(brush, { lineWidth, strokeStyle });
    brush.stroke();
  }
}

function drawArea(map, brush) {
  const corners = map.drawing?.corners ?? map.area;
  if (corners.length < 2) return;
  brush.save();
  brush.beginPath();
  corners.forEach(([unitX, unitY], k) => {
    const { x, y } = toScreen(map, unitX, unitY);
    if (k === 0) brush.moveTo(x, y);
    else brush.lineTo(x, y);
  });
  brush.closePath();
  brush.fillStyle = map.colors.area;
  brush.globalAlpha = 0.07;
  brush.fill();
  brush.globalAlpha = 0.9;
  brush.strokeStyle = map.colors.area;
  brush.lineWidth = 1.4;
  if (map.drawing) brush.setLineDash([5, 4]);
  brush.stroke();
  brush.restore();
}

/* Names stand at their clusters; of two that would overlap, that of the larger cluster stays. */
function drawLabels(map, brush) {
  brush.font = `600 12.5px ${map.font}`;
  brush.textAlign = "center";
  brush.textBaseline = "middle";
  brush.lineJoin = "round";
  const taken = [{ left: map.width - 190, right: map.width, top: 0, bottom: 38 }];
  for (const label of map.labels) {
    const box = freeBox(map, brush, label, taken);
    if (!box) continue;
    taken.push(box);
    const [x, y] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
    brush.globalAlpha = 0.9;
    brush.strokeStyle = map.colors.page;
    brush.lineWidth = 4;
    brush.strokeText(label.text, x, y);
    brush.globalAlpha = 1;
    brush.fillStyle = map.colors.text;
    brush.fillText(label.text, x, y);
  }
}

/* Where a name may stand: at its place, or a line above or below; null where all is taken. */
function freeBox(map, brush, label, taken) {
  const place = toScreen(map, label.x, label.y);
  const half = brush.measureText(label.text).width / 2 + 5;
  const edge = (x) => Math.max(half + 4, Math.min(map.width - half - 4, x));
  const visible =
    place.x > 0 && place.y > 0 && place.x < map.width && place.y < map.height && half > 5;
  if (!visible) return null;
  const x = edge(place.x);
  for (const lines of [0, -1, 1]) {
    const y = place.y + lines * LABEL_HEIGHT;
    const box = {
      left: x - half,
      right: x + half,
      top: y - LABEL_HEIGHT / 2,
      bottom: y + LABEL_HEIGHT / 2,
    };
    const inside = box.top > 2 && box.bottom < map.height - 2;
    if (inside && !taken.some((other) => boxesOverlap(box, other))) return box;
  }
  return null;
}

function boxesOverlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}
