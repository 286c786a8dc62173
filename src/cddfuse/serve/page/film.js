// A fused clip and one of its sources: the one is played, the other follows.

const APART = 0.05; // seconds that the source may be off before it is moved

const at = (id) => document.getElementById(id);

export function setUp() {
  const [clip, source, moment] = ["clip", "source-clip", "moment"].map(at);
  at("play").addEventListener("click", () => (clip.paused ? clip.play() : clip.pause()));
  moment.addEventListener("input", () => {
    if (clip.duration) clip.currentTime = moment.value * clip.duration;
  });
  clip.addEventListener("play", () => {
    at("play").textContent = "Pause";
    source.play().catch(() => {}); // one that cannot be played says so by itself
  });
  clip.addEventListener("pause", () => {
    at("play").textContent = "Play";
    source.pause();
    follow();
  });
  for (const name of ["loadedmetadata", "timeupdate", "seeking"]) clip.addEventListener(name, follow);
  source.addEventListener("loadedmetadata", () => {
    if (!clip.paused) source.play().catch(() => {});
    follow();
  });
  source.addEventListener("error", () => {
    if (!source.getAttribute("src")) return;
    at("over").hidden = true;
    at("unplayable").textContent = "This browser cannot play this source, so there is nothing to compare with.";
  });
}

export function load(fused) {
  at("clip").src = fused;
  at("play").textContent = "Play";
}

export function unload() {
  for (const id of ["clip", "source-clip"]) at(id).removeAttribute("src");
  at("over").hidden = false;
  at("unplayable").textContent = "";
}

// Shows a side of the source, which may be a half of its frames.
export function compare(url, side, layout) {
  const source = at("source-clip");
  at("over").hidden = false;
  at("unplayable").textContent = "";
  const [wide, high] = [layout?.startsWith("side"), layout?.startsWith("stacked")];
  const after = (side === "second") !== Boolean(layout?.endsWith("swapped"));
  source.style.width = wide ? "200%" : "100%";
  source.style.height = high ? "200%" : "100%";
  source.style.left = wide && after ? "-100%" : "0";
  source.style.top = high && after ? "-100%" : "0";
  source.setAttribute("aria-label", `The ${side} clip`);
  source.src = url;
}

function follow() {
  const [clip, source] = ["clip", "source-clip"].map(at);
  if (Math.abs(source.currentTime - clip.currentTime) > APART) source.currentTime = clip.currentTime;
  if (clip.duration) at("moment").value = clip.currentTime / clip.duration;
  at("time").textContent = `${clip.currentTime.toFixed(1)} s`;
}
