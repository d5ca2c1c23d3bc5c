export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".decoding-rows");
  const tooltip = createTooltip(root);
  const heading = rowOf("heading", [
    cellOf("decoding-name", "Decoding"),
    cellOf("", "Suppressed"),
    cellOf("", "Promoted"),
    cellOf("decoding-quality", "Quality"),
  ]);
  root.replaceChildren(heading, ...data.rows.map(decodingRow), tooltip.box);
  explainOnHover(root, tooltip);
  return () => tooltip.hide();
}

function cellOf(className, text) {
  const cell = document.createElement("div");
  cell.className = className;
  cell.textContent = text;
  return cell;
}

function rowOf(kind, cells) {
  const row = document.createElement("div");
  row.className = `decoding-row ${kind}`;
  row.setAttribute("role", "listitem");
  row.append(...cells);
  return row;
}

/* Chips are shaded within a row: logits of a raw value and of a projected one share no scale. */
function decodingRow(row) {
  const scores = [...row.suppressed, ...row.promoted].map(([, score]) => Math.abs(score));
  const largest = Math.max(0, ...scores);
  const name = cellOf("decoding-name", row.name);
  name.dataset.tip = row.tip;
  const quality = cellOf(row.passes ? "decoding-quality passes" : "decoding-quality", row.quality);
  quality.dataset.tip = row.qualityTip;
  return rowOf(row.passes ? "" : "faded", [
    name,
    buildChips(row.suppressed, "suppressed", largest),
    buildChips(row.promoted, "promoted", largest),
    quality,
  ]);
}
