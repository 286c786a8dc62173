// The engine that computes in the browser: nothing leaves it.

import * as pixels from "./pixels.js";
import { scored } from "./scores.js";

export const inBrowser = true;
export const privacy = "They are fused in this browser and never leave this computer.";
export const formats = { png: "PNG", jpeg: "JPEG" };

let known;
let worker;
let answers = new Map(); // number of a question: what to do with its answer
let asked = 0;

export async function facts() {
  known ??= await (await fetch("network.json")).json();
  return known;
}

export async function fuse({ first, second, network, colour, stretch }, report, signal) {
  const { networks, max_pixels: most } = await facts();
  const one = await pixels.read(first, "the first image", most);
  const other = await pixels.read(second, "the second image", most);
  if (one.width !== other.width || one.height !== other.height) {
    throw new Error(
      `the first image is ${one.width}x${one.height} and the second is ${other.width}x${other.height}: use images of one size.`,
    );
  }
  signal?.throwIfAborted(); // reading takes no notice of it
  const { name, file } = networks.find((each) => each.name === network) ?? networks[0];
  if (!worker) report({ text: "Loading the network, once." });
  const grey = await ask({ file, first: pixels.luma(one), second: pixels.luma(other), width: one.width, height: one.height }, signal);
  if (stretch) pixels.stretch(grey);
  const source = colour === "grey" ? null : pixels.colourSource(one, other);
  const fused = pixels.joined(grey, source, one.width, one.height);
  return {
    width: one.width, height: one.height, bits: 8, network: name,
    first: await pixels.blob(one), second: await pixels.blob(other), fused: await pixels.blob(fused),
  };
}

export async function scores({ first, second, stretch }, fused) {
  const images = [];
  for (const image of [fused, first, second]) images.push(await pixels.read(image, "an image"));
  return scored(...images.map(pixels.greyLevels), stretch);
}

export async function file(request, result, format) {
  const image = await pixels.read(result.fused, "the result");
  const name = `fused.${format === "jpeg" ? "jpg" : format}`;
  return { blob: await pixels.blob(image, format), name };
}

function ask(question, signal) {
  worker ??= started();
  const number = asked++;
  return new Promise((resolve, reject) => {
    const end = (error) => {
      worker?.terminate(); // nothing else ends what it computes, and one that has failed may be broken
      worker = undefined;
      reject(error);
    };
    const cancel = () => end(new DOMException("cancelled", "AbortError"));
    signal?.addEventListener("abort", cancel, { once: true });
    answers.set(number, ({ fused, error }) => {
      signal?.removeEventListener("abort", cancel);
      if (error) end(new Error(error));
      else resolve(fused);
    });
    worker.postMessage({ number, ...question }, [question.first.buffer, question.second.buffer]);
  });
}

function started() {
  const made = new Worker("worker.js", { type: "module" });
  answers = new Map();
  made.onmessage = ({ data }) => {
    answers.get(data.number)?.(data);
    answers.delete(data.number);
  };
  made.onerror = (event) => {
    event.preventDefault();
    const error = "the network cannot be loaded: check the connection, and try again.";
    for (const answer of answers.values()) answer({ error });
    worker = undefined;
  };
  return made;
}
