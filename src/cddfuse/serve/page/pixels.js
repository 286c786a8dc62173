// Images to numbers and back, as cddfuse.io and cddfuse.colour do it for 8 bits.

import { isConverted, isPng, isTurnedWebp } from "./headers.js";

const TINT = 4; // levels that channels of a grey JPEG may differ by

// {width, height, data}: RGBA levels, upright, in sRGB.
export async function read(file, name, most = Infinity) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (isPng(bytes) && bytes[24] === 16) {
    throw new Error(`${name} has 16 bits, of which a browser shows 8: use cddfuse fuse.`);
  }
  if (isTurnedWebp(bytes)) {
    throw new Error(`${name} is to be turned, which browsers do not do to WebP: convert it to PNG first.`);
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      premultiplyAlpha: "none",
      colorSpaceConversion: isConverted(bytes) ? "default" : "none",
    });
  } catch {
    throw new Error(`${name} is no image that this browser reads: convert it to PNG first.`);
  }
  const { width, height } = bitmap;
  if (width * height > most) {
    throw new Error(`${name} has ${width}x${height} pixels, where ${most / 1e6} million are accepted: reduce it.`);
  }
  const context = canvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  for (let at = 3; at < data.length; at += 4) {
    if (data[at] !== 255) throw new Error(`${name} is transparent in places: save it without.`);
  }
  return { width, height, data };
}

export function blob({ width, height, data }, format = "png") {
  const place = canvas(width, height);
  place.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  return place.convertToBlob({ type: `image/${format}`, quality: 0.95 });
}

export function luma({ data }) {
  const grey = new Float32Array(data.length / 4);
  for (let at = 0, from = 0; at < grey.length; at++, from += 4) {
    const [r, g, b] = [data[from], data[from + 1], data[from + 2]];
    // Exact where channels are equal, as an image of one channel is read.
    grey[at] = r === g && g === b ? r / 255 : (0.299 * r + 0.587 * g + 0.114 * b) / 255;
  }
  return grey;
}

// The image whose colours the result has; null if neither has any.
export function colourSource(first, second) {
  if (present(second) && !present(first)) return second;
  return first;
}

function present({ data }) {
  for (let at = 0; at < data.length; at += 4) {
    const [r, g, b] = [data[at], data[at + 1], data[at + 2]];
    if (Math.max(r, g, b) - Math.min(r, g, b) > TINT) return true;
  }
  return false;
}

export function stretch(grey) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of grey) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const span = Math.max(high - low, 2 ** -23);
  for (let at = 0; at < grey.length; at++) grey[at] = (grey[at] - low) / span;
}

// A new luma with the chroma of a source, desaturated until it fits.
export function joined(grey, source, width, height) {
  const data = new Uint8ClampedArray(4 * grey.length);
  const before = source && luma(source);
  const chroma = [0, 0, 0];
  for (let at = 0, to = 0; at < grey.length; at++, to += 4) {
    const value = Math.min(1, Math.max(0, grey[at]));
    let saturation = 1;
    for (let channel = 0; channel < 3; channel++) {
      chroma[channel] = source ? source.data[to + channel] / 255 - before[at] : 0;
      const room = chroma[channel] > 0 ? 1 - value : value;
      saturation = Math.min(saturation, room / Math.max(Math.abs(chroma[channel]), 1e-30));
    }
    // Clamped arrays round to the nearest level, half to even.
    for (let channel = 0; channel < 3; channel++) data[to + channel] = 255 * (value + saturation * chroma[channel]);
    data[to + 3] = 255;
  }
  return { width, height, data };
}

// {width, height, levels}: grey of 8 bits, as scores take it.
export function greyLevels({ width, height, data }) {
  const levels = new Uint8ClampedArray(width * height);
  for (let at = 0, from = 0; at < levels.length; at++, from += 4) {
    levels[at] = 0.299 * data[from] + 0.587 * data[from + 1] + 0.114 * data[from + 2];
  }
  return { width, height, levels };
}

function canvas(width, height) {
  return new OffscreenCanvas(width, height);
}
