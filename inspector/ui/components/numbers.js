/* Numbers as people read them: a true minus sign, and no more digits than carry meaning. */
function signed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value < 0 ? "\u2212" : "+") + text;
}

function plain(value, digits) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : text.replace("-", "\u2212");
}

/* Digits after the point that give a column's largest value three significant ones. */
function digitsFor(largest) {
  if (!(largest > 0)) return 3;
  return Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(largest))));
}

function percent(share) {
  if (share > 0 && share < 0.0005) return "<0.1 %";
  return `${plain(share * 100, 1)} %`;
}
