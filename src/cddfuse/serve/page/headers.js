// What a file says of itself that browsers take otherwise than cddfuse.io does.

const TURNED = 0x112; // the tag of EXIF

export function isPng(bytes) {
  return text(bytes, 1, 3) === "PNG";
}

// Whether colours become those of sRGB: they do where they have a profile. Levels of grey, and
// those of which only a gamma is told, are taken as they are.
export function isConverted(bytes) {
  if (isPng(bytes)) return ![0, 4].includes(bytes[25]) && hasProfile(bytes);
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return channels(bytes) !== 1;
  return true;
}

// Whether it is a WebP that is to be turned upright, which browsers do not do.
export function isTurnedWebp(bytes) {
  if (text(bytes, 0, 4) !== "RIFF" || text(bytes, 8, 4) !== "WEBP") return false;
  const view = viewOf(bytes);
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    if (text(bytes, at, 4) === "EXIF") return orientation(bytes.subarray(at + 8, at + 8 + size)) > 1;
    at += 8 + size + (size % 2);
  }
  return false;
}

function orientation(exif) {
  const start = text(exif, 0, 4) === "Exif" ? 6 : 0;
  const [view, little] = [viewOf(exif), exif[start] === 0x49];
  if (exif.length < start + 8) return 1;
  const entries = start + view.getUint32(start + 4, little);
  for (let at = entries + 2; at + 12 <= exif.length; at += 12) {
    if (view.getUint16(at, little) === TURNED) return view.getUint16(at + 8, little);
  }
  return 1;
}

// Of a PNG: profiles stand before the pixels.
function hasProfile(bytes) {
  const view = viewOf(bytes);
  for (let at = 8; at + 8 <= bytes.length; at += 12 + view.getUint32(at)) {
    const type = text(bytes, at + 4, 4);
    if (type === "iCCP") return true;
    if (type === "IDAT") break;
  }
  return false;
}

// Of a JPEG.
function channels(bytes) {
  const view = viewOf(bytes);
  for (let at = 2; at + 10 <= bytes.length; at += 2 + view.getUint16(at + 2)) {
    const marker = bytes[at + 1];
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return bytes[at + 9];
  }
  return 3;
}

function text(bytes, at, length) {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
