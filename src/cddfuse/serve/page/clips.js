// Clips: what is one, and what is said of them.

const RATE = 25; // frames per second that most clips have; browsers do not tell

// By the content, for browsers go by the name.
export async function isClip(file) {
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  if (/^....ftyp/s.test(start)) return !/^(avif|avis|hei|hev|mif1|msf1)/.test(start.slice(8));
  return start.startsWith("\x1aE\xdf\xa3") || /^RIFF....AVI /s.test(start);
}

export function none(inBrowser) {
  return inBrowser
    ? "this page fuses images; clips are fused by cddfuse serve and cddfuse fuse."
    : "this server takes no clips: it lacks the package av (cddfuse[video]).";
}

// What there is to know before a clip is fused: limits, and how long it takes.
export function about(inBrowser, known, network, video, layout) {
  const text = inBrowser || !known.clips ? none(inBrowser) : sentences(known, network, video, layout);
  return text[0].toUpperCase() + text.slice(1);
}

function sentences({ networks, clips }, network, video, layout) {
  const { network: fast, max_frames: frames, max_pixels: pixels, seconds } = clips;
  const said = [`clips may have up to ${frames} frames of up to ${pixels / 1e6} million pixels.`];
  if (fast && fast !== network) said.push(`${fast} is the network that is fast enough for most clips.`);
  const pace = networks.find(({ name }) => name === network)?.seconds_per_megapixel;
  if (video?.videoWidth && Number.isFinite(video.duration) && pace) {
    const size = (video.videoWidth * video.videoHeight) / 1e6 / (layout ? 2 : 1);
    const count = Math.min(frames, Math.max(1, Math.round(video.duration * RATE)));
    const time = pace * size * count;
    said.push(`${network} takes about ${span(time)} for this one at ${RATE} frames a second.`);
    if (time > seconds) said.push(`That is longer than the ${span(seconds)} that the server gives.`);
  }
  return said.join(" ");
}

// How far the work is.
export function left(frame, frames, share, elapsed) {
  const place = `frame ${Math.min(frame + 1, frames)} of ${frames}`;
  const worth = share > 0 && elapsed > 2;
  return worth ? `${place}, about ${span((elapsed * (1 - share)) / share)} left` : place;
}

function span(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  return `${(seconds / 3600).toFixed(1)} hours`;
}
