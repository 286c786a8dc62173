// The engine that asks the server.

export const inBrowser = false;
export const privacy = "They go to the computer that runs this page, which keeps nothing of them.";
export const formats = { png: "PNG", tiff: "TIFF, 16 bits", jpeg: "JPEG" };

const SUFFIX = { png: "png", tiff: "tif", jpeg: "jpg" };

export async function facts() {
  return (await answer(fetch("v1/networks"))).json();
}

export async function fuse(request, report, signal) {
  const { first, second, fused, ...rest } = await watched("v1/fuse/events", request, report, signal);
  const images = [picture(first, "jpeg"), picture(second, "jpeg"), picture(fused, "png")];
  return { ...rest, first: images[0], second: images[1], fused: images[2] };
}

export async function fuseClip(request, report, signal) {
  const { fused, ...rest } = await watched("v1/fuse/clip/events", request, report, signal);
  return { ...rest, fused: binary(fused, "video/mp4") };
}

// What the last line of events says.
async function watched(path, request, report, signal) {
  const response = await post(path, form(request), signal);
  for await (const event of lines(response.body)) {
    if (event.state === "failed") throw new Error(event.detail);
    if (event.state === "done") return event;
    report(event);
  }
  throw new Error("the server ended before the result: try again.");
}

export async function scores(request, fused, signal) {
  const body = form(request);
  body.append("fused", fused);
  return (await post("v1/score", body, signal)).json();
}

export async function features(request, signal) {
  const body = form({ ...request, colour: undefined, stretch: undefined });
  const found = await (await post("v1/features", body, signal)).json();
  const image = (text) => text && picture(text, "png");
  const parts = found.parts.map((part) => ({
    ...part, first: image(part.first), second: image(part.second), fused: image(part.fused),
  }));
  return { ...found, parts };
}

export async function file(request, result, format, signal) {
  const body = form(request);
  body.append("format", format);
  if (format === "tiff") body.append("bits", "16");
  const response = await post("v1/fuse", body, signal);
  return { blob: await response.blob(), name: `fused.${SUFFIX[format]}` };
}

function form(request) {
  const body = new FormData();
  for (const [name, value] of Object.entries(request)) {
    // A name of its own, so that none leaves this computer.
    if (value instanceof Blob) body.append(name, value, name);
    else if (value !== undefined) body.append(name, String(value));
  }
  return body;
}

async function post(path, body, signal) {
  for (const value of body.values()) {
    if (value instanceof Blob) await value.slice(0, 1).arrayBuffer(); // says it if a file has gone
  }
  return answer(fetch(path, { method: "POST", body, signal }));
}

async function answer(asked) {
  let response;
  try {
    response = await asked;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer: is it running?");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Error(said.detail ?? `the server answers with status ${response.status}.`);
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = [];
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      return { done: true }; // the connection has ended
    });
    if (done) return;
    const [head, ...more] = value.split("\n");
    rest.push(head);
    for (const next of more) {
      yield JSON.parse(rest.join(""));
      rest = [next];
    }
  }
}

function picture(text, kind) {
  return binary(text, `image/${kind}`);
}

function binary(text, type) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = letters.charCodeAt(at); // clips are long
  return new Blob([bytes], { type });
}
