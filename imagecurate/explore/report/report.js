"use strict";
// Without this script everything is there to be read; with it pictures open large, and can be filtered.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // The lightbox: pictures of one list, one after another.
  const dialog = document.getElementById("lightbox");
  const part = (name) => dialog.querySelector(`.${name}`);
  let tiles = [];
  let shown = 0;

  const veilOf = (tile) => tile.querySelector("details.veiled:not([open])");

  function show(number) {
    shown = (number + tiles.length) % tiles.length;
    const tile = tiles[shown];
    const veil = veilOf(tile);
    const content = (veil ?? tile).querySelector(veil ? "summary img" : "button.open").cloneNode(true);
    const stage = part("stage");
    stage.replaceChildren(...(content.matches("img") ? [content] : content.childNodes));
    if (veil) {
      const reveal = document.createElement("button");
      reveal.type = "button";
      reveal.textContent = "Show this picture";
      reveal.addEventListener("click", () => { veil.open = true; show(shown); part("caption").focus(); });
      stage.append(reveal);
    }
    for (const image of all("img", stage)) image.loading = "eager";
    part("position").textContent = `${shown + 1} of ${tiles.length}`;
    part("caption").textContent = tile.querySelector(".caption").textContent;
    part("details").replaceChildren(tile.querySelector("dl.facts").cloneNode(true));
  }

  function open(button) {
    const list = button.closest("section, article") ?? document.body;
    tiles = all("figure.tile", list).filter((tile) => tile.checkVisibility());
    show(tiles.indexOf(button.closest("figure.tile")));
    dialog.showModal();
    part("caption").focus();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.open");
    if (button && !dialog.contains(button)) open(button);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
    const control = event.target.closest(".controls button");
    if (control) control.value ? show(shown + Number(control.value)) : dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); show(shown + step); }
  });
  dialog.addEventListener("close", () => tiles[shown]?.querySelector("details.veiled:not([open]) > summary, button.open")?.focus());

  // The filters above the samples.
  const form = document.querySelector("form.filters");
  if (form) {
    const chips = all(".chips button", form);
    const search = form.querySelector("input");
    const source = form.querySelector("select");
    const groups = all(".group[data-fate]");
    const words = new Map(all("figure.tile", document.getElementById("samples")).map(
      (tile) => [tile, tile.textContent.toLowerCase()]));

    function filter() {
      const fate = chips.find((chip) => chip.getAttribute("aria-pressed") === "true").dataset.fate;
      const text = search.value.trim().toLowerCase();
      const from = source?.value ?? "";
      let count = 0;
      for (const group of groups) {
        let left = 0;
        const items = all("li", group);
        for (const item of items) {
          const tile = item.firstElementChild;
          const fits = (!text || words.get(tile).includes(text)) && (!from || tile.dataset.source === from);
          item.hidden = !fits;
          left += fits;
        }
        group.hidden = (fate && fate !== group.dataset.fate) || (!left && Boolean(text || from));
        if (!group.hidden) count += left;
      }
      form.querySelector("output").textContent = `${count} of ${words.size} pictures`;
    }
    function press(chip) {
      for (const other of chips) other.setAttribute("aria-pressed", String(other === chip));
      filter();
    }
    for (const chip of chips) chip.addEventListener("click", () => press(chip));
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    // A link of the flow leads to its samples, whatever was filtered before.
    for (const link of all('a[href^="#fate-"]')) {
      link.addEventListener("click", () => { search.value = ""; if (source) source.value = ""; press(chips[0]); });
    }
    form.hidden = false;
    filter();
  }

  // The section that is being read, in the bar above.
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const seen = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) entry.isIntersecting ? seen.add(entry.target.id) : seen.delete(entry.target.id);
    const current = [...links.keys()].find((name) => seen.has(name));
    for (const [name, link] of links) {
      if (name === current) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-80px 0px -60% 0px" });
  for (const name of links.keys()) watcher.observe(document.getElementById(name));
})();
