// The page: images or clips in, result, scores and features out. What computes is in engine.js.

import * as clips from "./clips.js";
import * as compare from "./compare.js";
import * as engine from "./engine.js";
import * as film from "./film.js";

const at = (id) => document.getElementById(id);
const SIDES = ["first", "second"];
const CALLED = { first: "first image", second: "second image" };
const ROWS = { fused: "fused", first: "first image", second: "second image", mean: "mean", max: "maximum" };

const chosen = { first: null, second: null };
const kinds = { first: undefined, second: undefined }; // clip or image
const urls = new Map(); // place of an image: its object URL
let known = { networks: [] };
let networkChosen = false; // by the user, so that it is left alone
let made = null; // { request, result } of what is shown
let running = null; // the AbortController of what is computed

start();

async function start() {
  if (engine.inBrowser) for (const part of document.querySelectorAll(".server-only")) part.remove();
  at("about").textContent = "";
  at("privacy").textContent = engine.privacy;
  at("format").append(...Object.entries(engine.formats).map(([value, text]) => new Option(text, value)));
  compare.setUp();
  film.setUp();
  for (const side of SIDES) setUpSource(side);
  addEventListener("pageshow", restore);
  setUpDrop();
  at("swap").addEventListener("click", swap);
  at("clear").addEventListener("click", () => SIDES.forEach((side) => choose(side, null)));
  for (const button of document.querySelectorAll("[data-example]")) {
    button.addEventListener("click", () => example(button.dataset.example));
  }
  at("network").addEventListener("change", () => {
    networkChosen = true;
    describe();
  });
  at("layout")?.addEventListener("change", describe);
  at("against").addEventListener("change", showPair);
  at("form").addEventListener("submit", (event) => {
    event.preventDefault();
    fuse();
  });
  at("cancel").addEventListener("click", () => running?.abort());
  at("download").addEventListener("click", download);
  at("scores").addEventListener("toggle", () => fill("scores", drawScores));
  at("features").addEventListener("toggle", () => fill("features", drawFeatures));
  await guarded(async () => {
    known = await engine.facts();
    at("network").append(...known.networks.map(({ name }) => new Option(name, name)));
    describe();
  });
}

function describe() {
  const network = known.networks.find(({ name }) => name === at("network").value);
  const task = { ivf: "infrared and visible images", mif: "medical images" }[network?.task];
  const parts = [task && `For ${task}`, network?.trained_on && `trained on ${network.trained_on}`];
  const text = parts.filter(Boolean).join("; ");
  const other = network?.name.includes("=") ? "With weights from a file." : "A method without learning.";
  at("about").textContent = text ? `${text}.` : network ? other : "";
  describeClips();
}

function describeClips() {
  const first = videos().find((video) => !video.hidden);
  const sort = SIDES.map((side) => kinds[side]);
  at("about-clips").textContent = sort.includes("clip")
    ? clips.about(engine.inBrowser, known, at("network").value, first, at("layout")?.value)
    : "";
  if (at("holds")) at("holds").hidden = sort[0] !== "clip" || sort[1] !== undefined;
}

// Proposes the network that is fast enough for clips, unless the user has chosen one.
function propose() {
  const clip = SIDES.some((side) => kinds[side] === "clip");
  const usual = known.networks[0]?.name ?? "";
  if (!networkChosen) at("network").value = (clip && known.clips?.network) || usual;
  describe();
}

function videos() {
  return [...document.querySelectorAll(".preview video")];
}

// Sources

function setUpSource(side) {
  at(side).addEventListener("change", () => choose(side, at(side).files[0] ?? null));
}

// Browsers fill in the files again when one comes back to the page.
function restore() {
  for (const side of SIDES) {
    const file = at(side).files[0];
    if (file && file !== chosen[side]) choose(side, file);
  }
}

function setUpDrop() {
  const over = (place, on) => place?.classList.toggle("over-drop", on);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    over(event.target.closest?.(".source"), true);
  });
  addEventListener("dragleave", (event) => over(event.target.closest?.(".source"), false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    const place = event.target.closest?.(".source");
    over(place, false);
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length > 1) SIDES.forEach((side, index) => choose(side, files[index]));
    else if (files.length) choose(place?.dataset.side ?? (chosen.first ? "second" : "first"), files[0]);
    if (files.length > 2) fail(new Error("two files are fused at a time: the others are left out."));
  });
}

async function choose(side, file) {
  chosen[side] = file;
  kinds[side] = undefined;
  const place = document.querySelector(`[data-side=${side}] .preview`);
  const [text, image, video] = ["p", "img", "video"].map((name) => place.querySelector(name));
  if (!file || at(side).files[0] !== file) at(side).value = ""; // it would name another file
  const name = file?.name ? `${file.name}: ` : "";
  text.textContent = file ? `${name}loading` : "Drop an image here";
  text.hidden = false;
  for (const part of [image, video]) {
    part.hidden = true;
    part.removeAttribute("src");
  }
  at("error").textContent = "";
  const clip = file && (await clips.isClip(file).catch(() => null)); // a folder cannot be read
  if (file) kinds[side] = clip ? "clip" : "image";
  if (chosen[side] !== file) return; // another one was chosen meanwhile
  propose();
  if (!file) return;
  const part = kinds[side] === "clip" ? video : image;
  image.onload = video.onloadedmetadata = () => {
    part.hidden = false;
    image.alt = `The ${CALLED[side]}`;
    text.textContent = file.name ?? "";
    text.hidden = !file.name;
    describeClips();
  };
  image.onerror = video.onerror = () => (text.textContent = `${name}this browser shows no preview of it`);
  part.src = url(`preview ${side}`, file);
}

function swap() {
  const { first, second } = chosen;
  choose("first", second);
  choose("second", first);
}

async function example(number) {
  await guarded(async () => {
    const names = { first: "visible", second: "infrared" };
    const load = async (side) => {
      const response = await fetch(`examples/${number}_${names[side]}.webp`);
      if (!response.ok) throw new Error("the example is not here.");
      return new File([await response.blob()], `street ${number}, ${names[side]}`);
    };
    const files = await Promise.all(SIDES.map(load));
    SIDES.forEach((side, index) => choose(side, files[index]));
    say(`Example ${number} is chosen.`);
  });
}

// Work

async function fuse() {
  if (running) return;
  const request = {
    first: chosen.first ?? undefined,
    second: chosen.second ?? undefined,
    network: at("network").value,
    colour: at("colour").value,
    stretch: at("stretch").checked,
    resize: at("resize")?.checked ?? false,
  };
  await guarded(async () => {
    made = await watched("Fusing", async (signal) => {
      const clip = await areClips(request);
      require(request, clip ? known.clips.max_file_bytes : known.max_file_bytes);
      if (clip) request.layout = request.second ? "" : at("layout").value;
      const work = clip ? engine.fuseClip : engine.fuse;
      return { request, result: await work(request, reporter(), signal), clip };
    });
    showResult();
    known = await engine.facts(); // it has learned how long the network takes
    describe();
  });
}

async function areClips({ first, second }) {
  const found = await Promise.all([first, second].filter(Boolean).map(clips.isClip));
  if (!found.includes(true)) return false;
  if (engine.inBrowser || !known.clips) throw new Error(clips.none(engine.inBrowser));
  if (found.includes(false)) throw new Error("one is a clip and the other is an image: choose two of a kind.");
  return true;
}

function require({ first, second }, most) {
  if (!first) throw new Error("the first image is missing: choose or drop it.");
  if (!second && engine.inBrowser) throw new Error("the second image is missing: choose or drop it.");
  if (most && [first, second].some((file) => file?.size > most)) {
    throw new Error(`a file is larger than ${(most / 1e6).toFixed(0)} MB: reduce it.`);
  }
}

async function watched(doing, work) {
  running = new AbortController();
  at("fuse").disabled = true;
  at("cancel").hidden = at("progress").hidden = false;
  at("progress").removeAttribute("value");
  say(`${doing}.`);
  const started = performance.now();
  try {
    const result = await work(running.signal);
    say(`Done in ${((performance.now() - started) / 1000).toFixed(1)} s.`);
    return result;
  } finally {
    running = null;
    at("fuse").disabled = false;
    at("cancel").hidden = at("progress").hidden = true;
    at("frame").textContent = "";
  }
}

function reporter() {
  let begun; // when the first frame was begun
  return ({ state, share, ahead, text, frame, frames }) => {
    if (frames) {
      begun ??= performance.now();
      at("frame").textContent = clips.left(frame, frames, share, (performance.now() - begun) / 1000);
    }
    if (text) say(text);
    else if (state === "waiting") say(`Waiting: ${ahead} before this one.`);
    else if (share) {
      at("progress").value = share;
      say(`Fusing: ${10 * Math.floor(10 * share)} %.`); // tens, for screen readers
    } else say("Fusing.");
  };
}

async function guarded(work) {
  at("error").textContent = "";
  try {
    await work();
  } catch (error) {
    if (error.name === "AbortError") return say("Cancelled.");
    say("");
    fail(error);
  }
}

function fail(error) {
  at("error").textContent = sentence(error);
}

function sentence(error) {
  const gone = ["NotFoundError", "NotReadableError"].includes(error.name);
  const text = gone ? "a file cannot be read any more: choose it again." : error.message || String(error);
  return text[0].toUpperCase() + text.slice(1);
}

function say(text) {
  if (at("status").textContent !== text) at("status").textContent = text;
}

// Result

function showResult() {
  const { result, clip } = made;
  at("result").hidden = false;
  const length = clip ? `, ${result.frames} frames` : "";
  at("facts").textContent = `${result.network}, ${result.width} x ${result.height} pixels${length}`;
  at("notes").replaceChildren(...(result.notes ?? []).map((note) => element("li", note)));
  for (const id of ["under", "source", "formats", "scores", "features"]) at(id).hidden = clip;
  for (const id of ["clip", "source-clip", "film"]) at(id).hidden = !clip;
  if (clip) film.load(url("fused", result.fused));
  else showImage();
  showPair();
  at("title").focus({ preventScroll: true });
  at("result").scrollIntoView({ block: "start" });
}

function showImage() {
  const { result } = made;
  film.unload();
  at("under").src = url("fused", result.fused);
  for (const id of ["scores", "features"]) at(id).querySelector(".content").replaceChildren();
  const network = known.networks.find(({ name }) => name === result.network);
  at("features").hidden = !network?.features;
  for (const [id, draw] of [["scores", drawScores], ["features", drawFeatures]]) fill(id, draw);
}

function showPair() {
  if (!made) return;
  const { request, result, clip } = made;
  const side = at("against").value;
  at("left").textContent = clip ? CALLED[side].replace("image", "clip") : CALLED[side];
  if (clip) {
    film.compare(url("source", request[side] ?? request.first), side, request.layout);
  } else {
    at("source").alt = `The ${CALLED[side]}`;
    at("source").src = url("source", result[side]);
  }
  compare.show(result);
}

async function download() {
  await guarded(async () => {
    const format = at("format").value;
    const { request, result, clip } = made;
    const work = (signal) => engine.file(request, result, format, signal);
    const ready = clip || (format === "png" && result.bits !== 16);
    const { blob, name } = ready
      ? { blob: result.fused, name: clip ? "fused.mp4" : "fused.png" }
      : await watched("Writing the file", work);
    const link = document.createElement("a");
    link.href = url("download", blob);
    link.download = name;
    link.click();
  });
}

async function fill(id, draw) {
  const content = at(id).querySelector(".content");
  if (!at(id).open && content.querySelector(".error")) content.replaceChildren(); // to try again
  if (!at(id).open || at(id).hidden || !made || content.childNodes.length) return;
  const { request, result } = made;
  content.append(element("p", "Computing."));
  try {
    const drawn = await draw(request, result);
    if (made?.result === result) content.replaceChildren(...drawn);
  } catch (error) {
    if (made?.result !== result) return;
    const text = element("p", sentence(error));
    text.className = "error";
    content.replaceChildren(text);
  }
}

async function drawScores(request, result) {
  const { metrics, rows } = await engine.scores(request, result.fused);
  const shown = Object.keys(ROWS).filter((row) => rows[row]);
  const best = (metric) => {
    const values = shown.map((row) => rows[row][metric.name]).filter((value) => value !== null);
    return metric.better === "higher" ? Math.max(...values) : Math.min(...values);
  };
  const table = element("table");
  table.append(element("caption", "Bold is the best of a column. The arrow says whether higher or lower is better."));
  const head = table.createTHead().insertRow();
  head.append(heading("Image", "col"));
  for (const metric of metrics) {
    const cell = heading(`${metric.name} `, "col");
    cell.title = metric.title;
    const arrow = element("span", metric.better === "higher" ? "↑" : "↓");
    arrow.setAttribute("aria-hidden", "true");
    const said = element("span", `${metric.better} is better`);
    said.className = "hidden";
    cell.append(arrow, said);
    head.append(cell);
  }
  const body = table.createTBody();
  for (const row of shown) {
    const line = body.insertRow();
    line.append(heading(ROWS[row], "row"));
    for (const metric of metrics) {
      const value = rows[row][metric.name];
      const text = value === null ? "–" : value.toFixed(Math.abs(value) >= 100 ? 1 : 3);
      line.insertCell().append(value !== null && value === best(metric) ? element("strong", text) : text);
    }
  }
  const scroll = element("div");
  scroll.className = "scroll";
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Scores");
  scroll.append(table);
  return [scroll, element("p", "A source, the mean or the maximum can lead a column: judge the image by eye too.")];
}

async function drawFeatures(request) {
  const { parts } = await engine.features(request);
  return parts.flatMap((part) => {
    const alike = part.correlation;
    const text = alike === null ? "" : ` (correlation of both sources: ${alike.toFixed(2)})`;
    const kind = part.kind[0].toUpperCase() + part.kind.slice(1);
    const maps = element("div");
    maps.className = "maps";
    for (const [side, called] of Object.entries({ ...CALLED, fused: "after fusion" })) {
      if (!part[side]) continue;
      const figure = element("figure");
      const image = element("img");
      image.src = url(`${part.kind} ${side}`, part[side]);
      image.alt = `${part.kind} features, ${called}`;
      figure.append(image, element("figcaption", called));
      maps.append(figure);
    }
    return [element("h3", `${kind}${text}`), maps];
  });
}

// Elements

function url(place, blob) {
  if (urls.has(place)) URL.revokeObjectURL(urls.get(place));
  urls.set(place, URL.createObjectURL(blob));
  return urls.get(place);
}

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function heading(text, scope) {
  const cell = element("th", text);
  cell.scope = scope;
  return cell;
}
