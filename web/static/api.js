// The HTTP half of the API.
import { parse, stringify } from './text.js';

/** A failed call, with a message for a person. status 0: no answer at all. */
export class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** What the server wrote about an error: plain text, or {error:{message}}. */
function said(text) {
  try {
    const body = JSON.parse(text);
    return body.error?.message ?? body.message ?? body.reason ?? text;
  } catch {
    return text.trim().slice(0, 500);
  }
}

/** The protocol's text as a sentence: without its fixed first words, with a capital and a full stop. */
function sentence(text) {
  const plain = text.replace(/^(Invalid input|Failed to (parse operation|add request to queue|queue request)): /, '');
  return plain && plain[0].toUpperCase() + plain.slice(1).replace(/[^.!?]$/, '$&.');
}

function explain(response, text) {
  const after = Number(response.headers.get('Retry-After'));
  const later = after > 0 ? `Try again in ${after} s.` : 'Try again in a moment.';
  const words = sentence(said(text));
  switch (response.status) {
    case 401: return 'This server asks for a token. Open the address that it printed when it started.';
    case 413: return 'That is more than the server takes in one request.';
    case 429: return `Too many requests. ${later}`;
    case 503: return `${words || 'The server is busy.'} ${later}`;
    default: return words || `The server answered ${response.status}.`;
  }
}

/** One call; returns parsed JSON, or the text where it is none. */
async function call(method, path, body) {
  const options = { method, headers: { Accept: 'application/json' } };
  if (body !== undefined) {
    options.headers['Content-Type'] = 'application/json';
    options.body = stringify(body);
  }
  let response, text;
  try {
    response = await fetch(path, options);
    text = await response.text();
  } catch {
    throw new Problem('The server does not answer. Is it still running?', 0);
  }
  if (!response.ok) throw new Problem(explain(response, text), response.status);
  try {
    return parse(text);
  } catch {
    return text;
  }
}


const jobPath = (id) => `/v1/jobs/${encodeURIComponent(id)}`;

export const submit = (operation) => call('POST', '/v1/jobs', operation);
export const cancel = (id) => call('DELETE', jobPath(id));
/** order is 'pause', 'resume' or 'front': before the others that wait. Returns the job's state, or 'pausing'. */
export const direct = async (id, order) => (await call('POST', `${jobPath(id)}/${order}`)).status;
export const record = (id) => call('GET', jobPath(id));
export const records = async (query) => (await call('GET', `/v1/jobs?${query}`)).jobs ?? [];
/** The models whose settings are known; those still loading have none. */
export const models = async () => ((await call('GET', '/v1/models')).models ?? []).filter((m) => m.defaults?.width);
export const info = () => call('GET', '/info');

/** Why the server cannot make pictures yet; empty when it can. */
export async function notReady() {
  try {
    const response = await fetch('/ready');
    return response.ok ? '' : said(await response.text());
  } catch {
    return '';
  }
}

/** The samplers and schedules on offer, each {name, label}. */
export async function samplers() {
  const { samplers: rules, schedules } = await call('GET', '/v1/samplers');
  return { samplers: rules ?? [], schedules: schedules ?? [] };
}

/** The address of a job's picture; thumb is a width in pixels. */
export const image = (id, thumb) => `${jobPath(id)}/image${thumb ? `?thumb=${thumb}` : ''}`;

/**
 * A new job id of the server's own form (UUIDv7, ordered by time), so that a
 * submission repeated after a lost answer is one job.
 */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  new DataView(bytes.buffer).setBigUint64(0, (BigInt(Date.now()) << 16n) | BigInt((bytes[6] << 8) | bytes[7]));
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
  return `job-${hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')}`;
}
