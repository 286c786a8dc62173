// Runs the network beside the page, which stays responsive.

import * as runtime from "./runtime/ort.wasm.min.mjs";
import { padded, cropped } from "./padding.js";

runtime.env.wasm.numThreads = 1; // more need headers that plain web servers do not send
runtime.env.wasm.wasmPaths = new URL("runtime/", self.location.href).href;

const facts = fetch("network.json").then((answer) => answer.json());
const sessions = {}; // by file

self.onmessage = async ({ data: { number, file, first, second, width, height } }) => {
  let fault = "the network cannot be loaded";
  let cure = "check the connection, and try again";
  try {
    const { multiple_of: multiple, smallest } = await facts;
    sessions[file] ??= runtime.InferenceSession.create(new URL(file, self.location.href).href, {
      executionProviders: ["wasm"],
    });
    const session = await sessions[file];
    [fault, cure] = ["the network fails", "use smaller images"];
    const sides = { width, height, multiple, smallest };
    const given = {};
    for (const [name, image] of Object.entries({ first, second })) {
      const { image: wider, width: right, height: below } = padded(image, sides);
      given[name] = new runtime.Tensor("float32", wider, [1, 1, below, right]);
    }
    const { fused } = await session.run(given);
    const image = cropped(fused.data, fused.dims[3], width, height);
    self.postMessage({ number, fused: image }, [image.buffer]);
  } catch (error) {
    self.postMessage({ number, error: `${fault} (${error.message}): ${cure}.` });
  }
};
