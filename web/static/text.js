// Words and numbers as people read them.

const labels = new Map(); // of samplers and schedules, as the server gives them

/** Learns what choices ({name, label}) are called; returns their names. */
export const learnNames = (choices) => choices.map(({ name, label }) => (labels.set(name, label || name), name));

/** The name of a sampler or schedule for people. */
export const title = (name) => labels.get(name) ?? name;

/** A length of time: 41 ms, 1.4 s, 2 min 5 s. */
export function duration(ms) {
  if (ms < 950) return `${Math.round(ms)} ms`;
  if (ms < 59_500) return `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** A time to wait, which is never told in milliseconds. */
export const seconds = (ms) => (ms < 1000 ? `${(ms / 1000).toFixed(1)} s` : duration(ms));

// Seeds have 64 bits, more than a JavaScript number holds, so they live here as
// text. A quote inside a JSON string is always escaped: neither pattern can
// match within someone's prompt.

/** JSON.parse that keeps long seeds exact, as strings. */
export const parse = (text) => JSON.parse(text.replace(/("seed"\s*:\s*)(\d{16,20})/g, '$1"$2"'));

/** JSON.stringify that writes a seed given as text as the number it is. */
export const stringify = (value) => JSON.stringify(value).replace(/"seed":"(\d{1,20})"/g, '"seed":$1');
