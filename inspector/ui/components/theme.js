/* The theme's colours as lists of CSS colours. Streamlit calls a component again when the theme
   changes, so nobody needs to watch for it. */
function themeColor(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

function themePalette(element, name) {
  return themeColor(element, name)
    .split(/,(?![^(]*\))/)
    .map((color) => color.trim())
    .filter(Boolean);
}

/* The colour of a head, site or other numbered group: the same in every component. */
function groupColor(palette, group) {
  return palette[((group % palette.length) + palette.length) % palette.length];
}
