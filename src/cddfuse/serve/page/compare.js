// The slider between source and result, and the zoom.

const LEVELS = [0, 1, 2, 4, 8]; // screen pixels for each of the image; 0 fits it to the page

const at = (id) => document.getElementById(id);

let level = 0;
let width = 0;
let height = 0;

export function setUp() {
  const [cut, stage, viewport] = ["cut", "stage", "viewport"].map(at);
  const move = (share) => {
    cut.value = Math.round(100 * Math.min(1, Math.max(0, share)));
    stage.style.setProperty("--cut", `${cut.value}%`);
  };
  cut.addEventListener("input", () => move(cut.value / 100));
  const follow = (event) => {
    const box = stage.getBoundingClientRect();
    move((event.clientX - box.left) / box.width);
  };
  // Touch scrolls; it has the slider below.
  stage.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button !== 0) return;
    stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  });
  at("larger").addEventListener("click", () => zoom(1));
  at("smaller").addEventListener("click", () => zoom(-1));
  viewport.addEventListener("keydown", (event) => {
    const step = { "+": 1, "=": 1, "-": -1 }[event.key];
    if (!step || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    zoom(step);
  });
}

export function show(size) {
  ({ width, height } = size);
  zoom(0);
}

function zoom(step) {
  const [stage, viewport] = [at("stage"), at("viewport")];
  const x = (viewport.scrollLeft + viewport.clientWidth / 2) / (stage.offsetWidth || 1);
  const y = (viewport.scrollTop + viewport.clientHeight / 2) / (stage.offsetHeight || 1);
  level = Math.min(LEVELS.length - 1, Math.max(0, level + step));
  const scale = LEVELS[level];
  const whole = `min(100%, ${width / height} * (var(--high) - 2px))`; // without the border
  stage.style.width = scale ? `${width * scale}px` : whole;
  stage.classList.toggle("large", scale > 1);
  at("level").textContent = scale ? `${scale}x` : "fit";
  at("smaller").disabled = level === 0;
  at("larger").disabled = level === LEVELS.length - 1;
  viewport.scrollLeft = x * stage.offsetWidth - viewport.clientWidth / 2;
  viewport.scrollTop = y * stage.offsetHeight - viewport.clientHeight / 2;
}
