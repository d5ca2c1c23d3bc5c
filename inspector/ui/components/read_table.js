export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".read-table");
  const tooltip = createTooltip(root);
  const selection = createSelection(root, data, setStateValue);

  root.style.setProperty("--table-height", `${data.height}px`);
  const built = JSON.stringify([data.columns, data.rows]);
  if (root.builtFrom !== built) {
    root.builtFrom = built;
    buildHeader(root, data);
    root.builtRows = buildRows(data);
    root.shownSelection = null;
    orderRows(root, data);
  }
  colorBadges(root);
  markRow(root, selection.value);
  listenToHeader(root, data);
  listenToRows(root, selection);
  explainOnHover(root, tooltip);
  return () => tooltip.hide();
}

function buildHeader(root, data) {
  const cells = data.columns.map((column) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.className = column.kind;
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.column = column.name;
    button.dataset.tip = `${column.title}\n${column.help}`;
    const title = document.createElement("span");
    title.textContent = column.title;
    const mark = document.createElement("span");
    mark.className = "sort-mark";
    mark.setAttribute("aria-hidden", "true");
    button.append(title, mark);
    cell.appendChild(button);
    return cell;
  });
  root.querySelector("thead tr").replaceChildren(...cells);
}

function buildRows(data) {
  const largest = Object.fromEntries(
    data.columns.map(({ name }) => [name, largestMagnitude(data.rows, name)]),
  );
  return data.rows.map((row, index) => {
    const element = document.createElement("tr");
    element.dataset.index = index;
    element.append(
      ...data.columns.map((column) => buildCell(column, row, largest[column.name])),
    );
    return element;
  });
}

function largestMagnitude(rows, name) {
  const magnitude = (value) => {
    if (Array.isArray(value)) return Math.max(0, ...value.map(([, score]) => Math.abs(score)));
    return typeof value === "number" ? Math.abs(value) : 0;
  };
  return Math.max(0, ...rows.map((row) => magnitude(row[name])));
}

/* A column is sorted by numbers from the largest down, by text from A up; a second click turns
   it round, a third restores the order of the page. */
function listenToHeader(root, data) {
  root.querySelector("thead").onclick = (event) => {
    const name = event.target.closest("button")?.dataset.column;
    if (!name) return;
    const { sortColumn, sortTurned } = root;
    const again = sortColumn === name;
    root.sortColumn = again && sortTurned ? null : name;
    root.sortTurned = again && !sortTurned;
    orderRows(root, data);
  };
}

function orderRows(root, data) {
  const name = data.columns.some((column) => column.name === root.sortColumn)
    ? root.sortColumn
    : null;
  const order = data.rows.map((_, index) => index);
  if (name) {
    order.sort((a, b) => compareCells(data.rows[a][name], data.rows[b][name], root.sortTurned));
  }
  root.querySelector("tbody").replaceChildren(...order.map((index) => root.builtRows[index]));
  root.querySelectorAll("thead th").forEach((cell) => {
    const mark = cell.querySelector(".sort-mark");
    const sorted = name !== null && cell.firstChild.dataset.column === name;
    const rising = (cell.className === "address") !== Boolean(root.sortTurned);
    if (sorted) cell.setAttribute("aria-sort", rising ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
    mark.textContent = sorted ? (rising ? "▲" : "▼") : "";
  });
}

/* Missing values stay last in both directions; a list of tokens counts by its strongest. */
function compareCells(a, b, turned) {
  const [left, right] = [a, b].map((value) =>
    Array.isArray(value) ? (value.length ? Math.abs(value[0][1]) : null) : value,
  );
  if (left == null || right == null) return (left == null) - (right == null);
  const order =
    typeof left === "string"
      ? left.localeCompare(right, undefined, { numeric: true })
      : right - left;
  return turned ? -order : order;
}

function markRow(root, selected) {
  root.builtRows.forEach((row, index) => {
    row.setAttribute("aria-selected", index === selected);
    setReachable(row, index === selected);
  });
  const first = root.querySelector("tbody tr");
  if (selected == null && first) setReachable(first, true);
  if (selected != null && root.shownSelection !== selected) revealRow(root, selected);
  root.shownSelection = selected;
}

function setReachable(row, reachable) {
  row.tabIndex = reachable ? 0 : -1;
  row.querySelector(".copy").tabIndex = reachable ? 0 : -1;
}

/* Scrolls the table, never the page. */
function revealRow(root, index) {
  const box = root.querySelector(".scroll");
  const row = root.builtRows[index];
  const header = root.querySelector("thead").offsetHeight;
  if (row.offsetTop < box.scrollTop + header) box.scrollTop = row.offsetTop - header;
  const bottom = row.offsetTop + row.offsetHeight;
  if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
}

function listenToRows(root, selection) {
  const body = root.querySelector("tbody");
  const rowOf = (event) => event.target.closest("tr");
  const select = (row) => {
    selection.pick(+row.dataset.index);
    markRow(root, +row.dataset.index);
  };
  body.onclick = (event) => {
    const copy = event.target.closest(".copy");
    if (copy) copyAddress(copy);
    else if (rowOf(event)) select(rowOf(event));
  };
  body.onkeydown = (event) => {
    if (event.target.closest(".copy")) return;
    const row = rowOf(event);
    const target = {
      ArrowDown: row.nextElementSibling,
      ArrowUp: row.previousElementSibling,
      Home: body.firstElementChild,
      End: body.lastElementChild,
      Enter: row,
      " ": row,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    if (target === row && (event.key === "Enter" || event.key === " ")) return select(row);
    if (!target) return;
    root.builtRows.forEach((other) => setReachable(other, other === target));
    target.focus({ preventScroll: true });
    revealRow(root, +target.dataset.index);
  };
}
