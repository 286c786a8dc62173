// Scores that need histograms and sums only, as cddfuse.metrics computes them (profile "paper").

const METRICS = [
  { name: "EN", title: "Entropy", better: "higher", of: ({ fused }) => bits(histogram(fused)) },
  { name: "SD", title: "Standard deviation", better: "higher", of: deviation },
  { name: "SF", title: "Spatial frequency", better: "higher", of: frequency },
  {
    name: "MI", title: "Mutual information", better: "higher",
    of: ({ fused, first, second }) => information(fused, first) + information(fused, second),
  },
  { name: "SCD", title: "Sum of the correlations of differences", better: "higher", of: differences },
];

// Of three images {width, height, levels}; stretched: each row is, as the fused image has been.
export function scored(fused, { levels: first }, { levels: second }, stretched = false) {
  const { width, height } = fused;
  const made = {
    fused: fused.levels, first, second,
    mean: Float64Array.from(first, (value, at) => (value + second[at]) / 2),
    max: first.map((value, at) => Math.max(value, second[at])),
  };
  const rows = {};
  for (const [row, image] of Object.entries(made)) {
    const levels = (stretched ? fullRange(image) : image).map(even);
    const images = { fused: levels, first, second, width, height };
    const values = METRICS.map(({ name, of }) => [name, of(images)]);
    rows[row] = Object.fromEntries(values.map(([name, x]) => [name, Number.isFinite(x) ? x : null]));
  }
  return { metrics: METRICS.map(({ of, ...facts }) => facts), rows };
}

function fullRange(image) {
  let [low, high] = [255, 0];
  for (const value of image) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return Float64Array.from(image, (value) => ((value - low) * 255) / Math.max(high - low, 1e-9));
}

function even(value) {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + (low % 2) : Math.round(value);
}

function histogram(image) {
  const counts = new Float64Array(256);
  for (const level of image) counts[level]++;
  return counts.map((count) => count / image.length);
}

function nats(shares) {
  let sum = 0;
  for (const share of shares) if (share) sum -= share * Math.log(share);
  return sum;
}

const bits = (shares) => nats(shares) / Math.LN2;

function information(one, other) {
  const joint = new Float64Array(65536);
  for (let at = 0; at < one.length; at++) joint[256 * one[at] + other[at]] += 1 / one.length;
  return Math.max(0, nats(histogram(one)) + nats(histogram(other)) - nats(joint));
}

function deviation({ fused }) {
  return Math.sqrt(covariance(fused, fused));
}

function frequency({ fused, width, height }) {
  let [down, across] = [0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      if (y) down += (fused[at] - fused[at - width]) ** 2;
      if (x) across += (fused[at] - fused[at - 1]) ** 2;
    }
  }
  return Math.sqrt(down / ((height - 1) * width) + across / (height * (width - 1)));
}

function differences({ fused, first, second }) {
  const less = (other) => Float64Array.from(fused, (value, at) => value - other[at]);
  return correlation(less(second), first) + correlation(less(first), second);
}

function correlation(one, other) {
  return covariance(one, other) / Math.sqrt(covariance(one, one) * covariance(other, other));
}

function covariance(one, other) {
  const [a, b] = [one, other].map((image) => image.reduce((sum, value) => sum + value, 0) / image.length);
  let sum = 0;
  for (let at = 0; at < one.length; at++) sum += (one[at] - a) * (other[at] - b);
  return sum / one.length;
}
