"use strict";
(() => {
  // Sorting: exact integers, compared as such; text where a column is no number.
  const valueOf = (row, column) => {
    const text = row.cells[column].dataset.s ?? row.cells[column].textContent.trim();
    return /^-?\d+$/.test(text) && row.cells[column].matches("td") ? BigInt(text) : text;
  };
  const sort = (header) => {
    const table = header.closest("table");
    const body = table.tBodies[0];
    const column = header.cellIndex;
    const isText = header.classList.contains("text");
    const now = header.getAttribute("aria-sort");
    const order = now === null ? (isText ? "ascending" : "descending")
      : now === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
    rows.sort(([a], [b]) => sign * (isText ? a.localeCompare(b) : a < b ? -1 : a > b ? 1 : 0));
    body.append(...rows.map(([, row]) => row));
  };
  for (const button of document.querySelectorAll(".sort")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }
  // Every digit, for those who cannot point: phones and paper.
  const digits = document.getElementById("digits");
  const amounts = [...document.querySelectorAll("data.m")].map((node) => [node, node.textContent]);
  const press = (button, on) => button.setAttribute("aria-pressed", String(on));
  digits.hidden = amounts.length === 0;
  digits.addEventListener("click", () => {
    const on = digits.getAttribute("aria-pressed") !== "true";
    press(digits, on);
    for (const [node, short] of amounts) node.textContent = on ? node.title : short;
  });
  const unfold = document.getElementById("unfold");
  if (unfold) {
    unfold.hidden = false;
    unfold.addEventListener("click", () => {
      const on = unfold.getAttribute("aria-pressed") !== "true";
      press(unfold, on);
      unfold.textContent = on ? "Close all" : "Open all";
      for (const detail of document.querySelectorAll("details.detail")) detail.open = on;
    });
  }
})();
