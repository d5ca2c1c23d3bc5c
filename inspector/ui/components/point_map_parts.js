/* Takes the parts of a map from the store when they have come, each once. */
function takeParts(map) {
  const had = { ...map.digests };
  if (takePart(map, "points", (part) => placePoints(map, part))) map.digests.tips = null;
  if (!map.index) return;
  const moved = had.points !== map.digests.points;
  takePart(map, "colours", (part) => colourPoints(map, part), moved);
  takePart(map, "lit", (part) => (map.search = unpackBits(map.index, part.cells)), moved);
  if (!map.data.parts.lit) {
    map.search = null;
    map.digests.lit = null;
  }
  takePart(map, "tips", (part) => {
    map.tips = {
      top: part.top,
      vocabulary: part.vocabulary,
      tokens: new Int32Array(part.cells),
    };
  });
  if (!map.data.parts.tips) map.tips = null;
}

/* Hands a part to `take` if it's the one asked for and not taken yet; says whether it did. */
function takePart(map, name, take, again = false) {
  const wanted = map.data.parts[name];
  const part = globalThis.pointMapParts?.get(`${map.data.map}/${name}`);
  if (!wanted || part?.digest !== wanted) return false;
  if (map.digests[name] === wanted && !again) return false;
  take(part);
  map.digests[name] = wanted;
  return true;
}

function placePoints(map, { cells, count }) {
  map.index = indexPoints(cells, count);
  map.view = wholeMap(map);
  map.hover = -1;
  map.levels = new Uint8Array(count);
  map.tips = map.search = map.values = null;
  if (map.painter) uploadAttribute(map.painter, "place", map.index.xy);
}

function colourPoints(map, { cells, values }) {
  const { count } = map.index;
  map.levels = reordered(map.index, new Uint8Array(cells, 0, count));
  map.values = values ? new Float32Array(cells, 4 * Math.ceil(count / 4), count) : null;
  if (map.painter) uploadAttribute(map.painter, "level", map.levels);
}

function unpackBits(index, cells) {
  const bits = new Uint8Array(cells);
  const lit = new Uint8Array(index.count);
  for (let at = 0; at < index.count; at += 1) {
    const k = index.order[at];
    lit[at] = (bits[k >> 3] >> (k & 7)) & 1;
  }
  return lit;
}

/* Lit is what the search found and the area holds. */
function lightPoints(map) {
  const { index, search, area } = map;
  const inside = area.length ? pointsInside(index, area) : null;
  if (!inside) map.lit = search;
  else map.lit = search ? inside.map((value, at) => value & search[at]) : inside;
  map.litCount = map.lit ? map.lit.reduce((sum, value) => sum + value, 0) : index.count;
  if (!map.painter) return;
  uploadAttribute(map.painter, "lit", map.lit ?? new Uint8Array(index.count).fill(1));
}

/* After the graphics card was lost and has come back. */
function uploadAll(map) {
  uploadLevels(map.painter, map.levelTable);
  uploadAttribute(map.painter, "place", map.index.xy);
  uploadAttribute(map.painter, "level", map.levels);
  lightPoints(map);
}

function pointOfSlot(map, slot) {
  return slot == null || !map.index ? -1 : map.index.slots.indexOf(slot);
}
