// Lists what openapi.json says.

const element = (name, text = "") => {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
};

const response = await fetch("openapi.json");
const { info, paths } = await response.json();
document.getElementById("about").textContent = info.description.replaceAll("`", "");
document.getElementById("routes").replaceChildren(
  ...Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, route]) => described(path, method, route))),
);

function described(path, method, route) {
  const title = element("h2", `${method.toUpperCase()} ${path}`);
  const schema = route.requestBody?.content["multipart/form-data"].schema;
  const parts = [title, element("p", (route.description ?? route.summary).replaceAll("`", ""))];
  if (schema) parts.push(fields(path, schema), example(path, schema));
  const answers = element("ul");
  for (const [status, { description }] of Object.entries(route.responses)) {
    answers.append(element("li", `${status}: ${description}`));
  }
  parts.push(answers);
  return parts;
}

function fields(path, { properties, required }) {
  const table = element("table");
  table.append(element("caption", `Fields of ${path}`));
  const head = table.createTHead().insertRow();
  for (const name of ["field", "values", "meaning"]) {
    const cell = element("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const [name, field] of Object.entries(properties)) {
    const row = body.insertRow();
    const cell = element("th", name);
    cell.scope = "row";
    const kind = field.enum?.join(", ") ?? (field.format === "binary" ? "file" : field.type);
    const start = field.default === undefined || field.default === "" ? "" : ` (${field.default})`;
    const need = required.includes(name) ? ", required" : "";
    row.append(cell, element("td", `${kind}${start}${need}`), element("td", field.description ?? ""));
  }
  const scroll = element("div");
  scroll.className = "scroll plain";
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", `Fields of ${path}`);
  scroll.append(table);
  return scroll;
}

function example(path, { properties }) {
  const files = { first: "visible.png", second: "infrared.png" };
  const sent = Object.entries(files).filter(([name]) => name in properties);
  const words = sent.map(([name, file]) => `-F ${name}=@${file}`).join(" ");
  const output = path === "/v1/fuse" ? " -o fused.png" : "";
  const block = element("pre", `curl ${words} ${new URL(`.${path}`, location.href)}${output}`);
  block.tabIndex = 0;
  return block;
}
