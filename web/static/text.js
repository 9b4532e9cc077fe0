// Words and numbers as people read them.

const names = {
  euler: 'Euler', euler_ancestral: 'Euler ancestral', ddim: 'DDIM', ddpm: 'DDPM', heun: 'Heun', lms: 'LMS', lcm: 'LCM',
  dpmpp_2m: 'DPM++ 2M', dpmpp_2m_sde: 'DPM++ 2M SDE', dpmpp_sde: 'DPM++ SDE', dpmpp_3m_sde: 'DPM++ 3M SDE',
  dpmpp_2s_ancestral: 'DPM++ 2S ancestral', dpm_2: 'DPM2', dpm_2_ancestral: 'DPM2 ancestral', unipc: 'UniPC',
  normal: 'Normal', karras: 'Karras', exponential: 'Exponential', polyexponential: 'Polyexponential', simple: 'Simple',
  sgm_uniform: 'SGM uniform', ddim_uniform: 'DDIM uniform', beta: 'Beta', align_your_steps: 'Align your steps',
};

/** The name of a sampler or schedule as people write it. */
export const title = (name) => names[name] ?? name;

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
