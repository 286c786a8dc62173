"use strict";
const sets = JSON.parse(document.getElementById("payload").textContent);

/* Text only, never markup: names of files and methods are other people's. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function variant() {
  return document.querySelector("input[name=variant]:checked").value;
}

/* Sorting: baselines and published rows stay below the methods. */
const order = { method: 0, baseline: 1, published: 2 };
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => {
      const cell = row.cells[column];
      const text = cell.dataset.sort ?? cell.textContent.trim().replaceAll(",", "");
      return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
    };
    const compare = (a, b) => {
      const one = key(a), other = key(b);
      if (one === "" || other === "") return (one === "") - (other === "");
      const less = typeof one === "number" && typeof other === "number"
        ? one - other : String(one).localeCompare(String(other));
      return down ? -less : less;
    };
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => (order[a.className] ?? 0) - (order[b.className] ?? 0) || compare(a, b));
    table.tBodies[0].append(...rows);
  }));
}

function shown(value) {
  if (value === null) return "–";
  return typeof value === "number" ? (Math.abs(value) < 100 ? value.toFixed(3) : value.toFixed(1)) : value;
}

function values(set, index) {
  const numbers = set.values[variant()];
  const head = make("tr", {}, make("th", { scope: "col", textContent: "method" }));
  for (const column of set.columns) {
    head.append(make("th", { scope: "col", className: "number", textContent: `${column.name} ${column.arrow}` }));
  }
  const body = make("tbody");
  set.rows.forEach((label, row) => {
    const line = make("tr", {}, make("th", { scope: "row", textContent: label }));
    set.columns.forEach((column, place) => {
      line.append(make("td", { className: "number", textContent: shown(numbers[row][place][index]) }));
    });
    body.append(line);
  });
  const table = make("table", {}, make("thead", {}, head), body);
  return make("div", { className: "scroll", tabIndex: 0 }, table);
}

function choice(text, labels, selected) {
  const select = make("select", {}, ...labels.map((label) => make("option", { value: label, textContent: label })));
  select.value = selected;
  return [make("label", {}, `${text} `, select), select];
}

function comparison(set, picture, chosen) {
  const labels = Object.keys(picture.images);
  const methods = labels.filter((label) => !["first", "second", "mean", "max"].includes(label));
  const start = {
    left: labels.includes(chosen.left) ? chosen.left : "first",
    right: labels.includes(chosen.right) ? chosen.right : methods[0] ?? "max",
  };
  const [leftLabel, left] = choice("Left", labels, start.left);
  const [rightLabel, right] = choice("Right", labels, start.right);
  const under = make("img"), over = make("img", { className: "over" });
  const box = make("div", { className: "compare" }, under, over, make("div", { className: "bar" }));
  const slider = make("input", { type: "range", min: 0, max: 100, value: 50, className: "slider" });
  slider.setAttribute("aria-label", "Border between the left and the right image");
  slider.addEventListener("input", () => box.style.setProperty("--cut", `${slider.value}%`));
  const update = () => {
    Object.assign(chosen, { left: left.value, right: right.value });
    under.src = picture.images[left.value];
    over.src = picture.images[right.value];
    under.alt = left.value;
    over.alt = right.value;
  };
  left.addEventListener("change", update);
  right.addEventListener("change", update);
  update();
  return [make("p", { className: "controls" }, leftLabel, rightLabel), box, slider];
}

function sheet(images) {
  return make("div", { className: "sheet" }, ...Object.entries(images).map(([label, source]) =>
    make("figure", {}, make("img", { src: source, alt: label }), make("figcaption", { textContent: label }))));
}

function drill(set, name, place, chosen) {
  const index = set.images.indexOf(name);
  place.replaceChildren();
  if (index < 0) return;
  place.append(values(set, index));
  const picture = set.pictures[name];
  if (!picture) {
    place.append(make("p", { textContent: "This pair has no pictures in this page." }));
    return;
  }
  place.append(...comparison(set, picture, chosen), make("p", { textContent: `All results, ${picture.size} pixels:` }), sheet(picture.images));
  for (const [text, images] of picture.crops) {
    place.append(make("p", { textContent: `Detail, ${text}:` }), sheet(images));
  }
}

const refreshers = [];
for (const section of document.querySelectorAll("section.set")) {
  const set = sets[Number(section.dataset.set)], chosen = {};
  const select = section.querySelector("select.image"), filter = section.querySelector("input.filter");
  const place = section.querySelector(".drill");
  const fill = () => {
    const before = select.value, wanted = filter.value.toLowerCase();
    const names = set.images.filter((name) => name.toLowerCase().includes(wanted));
    names.sort((a, b) => (b in set.pictures) - (a in set.pictures));
    select.replaceChildren(...names.map((name) =>
      make("option", { value: name, textContent: name in set.pictures ? name : `${name} (numbers only)` })));
    if (names.includes(before)) select.value = before;
    refresh();
  };
  const refresh = () => drill(set, select.value, place, chosen);
  select.addEventListener("change", refresh);
  filter.addEventListener("input", fill);
  for (const link of section.querySelectorAll("button.link")) {
    link.addEventListener("click", () => {
      filter.value = "";
      fill();
      select.value = link.dataset.image;
      refresh();
      section.querySelector(".images").open = true;
      section.querySelector(".images").scrollIntoView();
    });
  }
  refreshers.push(refresh);
  fill();
}

function switchVariant() {
  for (const part of document.querySelectorAll("[data-variant]")) part.hidden = part.dataset.variant !== variant();
  refreshers.forEach((refresh) => refresh());
}
document.querySelectorAll("input[name=variant]").forEach((input) => input.addEventListener("change", switchVariant));
switchVariant();
