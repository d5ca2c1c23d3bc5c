export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".token-chips");
  const tooltip = createTooltip(root);
  const scores = [...data.suppressed, ...data.promoted].map(([, score]) => Math.abs(score));
  const largest = Math.max(0, ...scores);
  root.replaceChildren(
    sideTitle("suppressed", "Suppressed"),
    sideTitle("promoted", "Promoted"),
    buildChips(data.suppressed, "suppressed", largest),
    buildChips(data.promoted, "promoted", largest),
    tooltip.box,
  );
  explainOnHover(root, tooltip);
  return () => tooltip.hide();
}

function sideTitle(kind, text) {
  const title = document.createElement("div");
  title.className = `side-title ${kind}`;
  title.textContent = text;
  return title;
}
