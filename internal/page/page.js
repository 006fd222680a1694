// What the page can do besides, with a script: nothing on it depends on this.
"use strict";
(() => {
  const all = (selector, of = document) => [...of.querySelectorAll(selector)];
  const make = (name, text) => Object.assign(document.createElement(name), { textContent: text });

  // Tables are sorted by the column whose head is pressed.
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const n = Number(text.replaceAll(",", ""));
    return text !== "" && !Number.isNaN(n) ? n : text;
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  for (const table of all("table.sortable")) {
    all("thead th", table).forEach((head, column) => {
      const button = make("button", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const numeric = head.classList.contains("num");
        const before = head.getAttribute("aria-sort");
        const order = before ? (before === "ascending" ? "descending" : "ascending") : (numeric ? "descending" : "ascending");
        all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort((a, b) => sign * compare(value(a, column), value(b, column))));
      });
    });
  }

  // Long lists can be filtered.
  for (const section of all("[data-filter]")) {
    const articles = all("article", section);
    if (articles.length < 3) continue;
    const label = make("label", section.dataset.filter);
    label.className = "filter";
    const input = Object.assign(document.createElement("input"), { type: "search" });
    label.append(input);
    section.querySelector("h2").after(label);
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase();
      for (const article of articles) article.hidden = !article.textContent.toLowerCase().includes(wanted);
    });
  }

  // Commands can be copied.
  for (const command of navigator.clipboard ? all(".command") : []) {
    const button = make("button", "Copy");
    button.type = "button";
    button.className = "copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command.querySelector("code").textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Select it, and copy";
      }
    });
    command.append(button);
  }

  // The map stays where it is on the screen when one looks into a directory; Escape
  // leads out again.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("#map a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(link.getAttribute("href"));
  });
  document.addEventListener("keydown", (event) => {
    const here = event.key === "Escape" && event.target.closest?.(".map");
    const out = here && all(".crumbs a", here).pop();
    if (out) show(out.getAttribute("href"));
  });
  function show(id) {
    const at = window.scrollY;
    window.location.hash = id;
    window.scrollTo({ top: at, behavior: "instant" });
    document.querySelector(id).focus({ preventScroll: true });
  }
})();
