/* A multi-line tip beside an element, in the browser's top layer, so that no container clips it.
   Text enters through textContent only. */
function createTooltip(root) {
  if (root.tooltip) return root.tooltip;
  const box = document.createElement("div");
  box.className = "tooltip";
  box.id = "tooltip";
  box.setAttribute("role", "tooltip");
  box.setAttribute("popover", "manual");
  root.appendChild(box);
  root.tooltip = {
    box,
    show(text, anchor) {
      const lines = text.split("\n").map((line) => {
        const row = document.createElement("div");
        row.textContent = line || "\u00a0";
        return row;
      });
      box.replaceChildren(...lines);
      if (!box.matches(":popover-open")) box.showPopover();
      placeTooltip(box, anchor);
    },
    hide() {
      if (box.matches(":popover-open")) box.hidePopover();
    },
  };
  return root.tooltip;
}

function placeTooltip(box, anchor) {
  const gap = 7;
  const edge = 8;
  const left = Math.min(anchor.left, innerWidth - box.offsetWidth - edge);
  const below = anchor.bottom + gap;
  const fitsBelow = below + box.offsetHeight + edge <= innerHeight;
  box.style.left = `${Math.max(edge, left)}px`;
  box.style.top = `${fitsBelow ? below : anchor.top - gap - box.offsetHeight}px`;
}

/* Elements with data-tip explain themselves while the pointer or the focus is on them. */
function explainOnHover(root, tooltip) {
  if (root.explains) return;
  root.explains = true;
  const explain = (event) => {
    const element = event.target.closest("[data-tip]");
    if (!element?.dataset.tip) return tooltip.hide();
    element.setAttribute("aria-describedby", tooltip.box.id);
    tooltip.show(element.dataset.tip, element.getBoundingClientRect());
  };
  const hide = () => tooltip.hide();
  root.addEventListener("pointerover", explain);
  root.addEventListener("pointerleave", hide);
  root.addEventListener("focusin", explain);
  root.addEventListener("focusout", hide);
  root.addEventListener("scroll", hide, true);
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
}
