// Images with sides that the network takes, as cddfuse.runtime pads them.

export function padded(image, { width, height, multiple, smallest }) {
  const [right, below] = [width, height].map((side) => missing(side, multiple, smallest));
  const reflect = right < width && below < height;
  const columns = places(width, right, reflect);
  const rows = places(height, below, reflect);
  const wide = columns.length;
  const result = new Float32Array(wide * rows.length);
  rows.forEach((row, y) => {
    for (let x = 0; x < wide; x++) result[y * wide + x] = image[row * width + columns[x]];
  });
  return { image: result, width: wide, height: rows.length };
}

export function cropped(image, wide, width, height) {
  const result = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    result.set(image.subarray(y * wide, y * wide + width), y * width);
  }
  return result;
}

function missing(side, multiple, smallest) {
  return Math.ceil(Math.max(side, smallest) / multiple) * multiple - side;
}

function places(side, more, reflect) {
  return Array.from({ length: side + more }, (_, at) =>
    at < side ? at : reflect ? 2 * (side - 1) - at : side - 1);
}
