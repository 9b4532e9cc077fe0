// The two lists: what waits, and what was made lately.
import { image } from './api.js';

const $ = (id) => document.getElementById(id);
const states = { queued: 'waiting', paused: 'paused', running: 'starting' };

/** Shows the jobs that are not over; open and drop are called with a job. */
export function queue(jobs, shown, { open, drop }) {
  const alone = jobs.length === 1 && jobs[0] === shown;
  $('queue').hidden = jobs.length === 0 || alone;
  $('queue').querySelector('small').textContent = jobs.length > 1 ? `${jobs.length}` : '';
  $('queue').querySelector('ol').replaceChildren(...jobs.map((job) => waiting(job, job === shown, open, drop)));
}

function waiting(job, current, open, drop) {
  const item = document.createElement('li');
  const row = button('open', () => open(job));
  row.setAttribute('aria-current', String(current));
  row.append(element('b', job.request.prompt), element('small', job.step ? `step ${job.step} of ${job.total}` : states[job.state]));
  const cross = button('drop', () => drop(job));
  cross.setAttribute('aria-label', `Cancel: ${job.request.prompt}`);
  cross.textContent = '✕';
  item.append(row, cross);
  return item;
}

function button(name, click) {
  const node = document.createElement('button');
  node.type = 'button';
  node.className = name;
  node.addEventListener('click', click);
  return node;
}

function element(name, text) {
  const node = document.createElement(name);
  node.textContent = text;
  return node;
}

const tiles = new Map(); // job id → list item, kept so that pictures are not loaded again

/** Shows finished jobs, newest first. */
export function gallery(jobs, shown, open) {
  const kept = new Set(jobs.map((job) => job.id));
  for (const id of tiles.keys()) if (!kept.has(id)) tiles.delete(id);
  const items = jobs.map((job) => tiles.get(job.id) ?? tile(job, open));
  if (items.some((item, i) => $('tiles').children[i] !== item) || $('tiles').children.length !== items.length) {
    $('tiles').replaceChildren(...items);
  }
  jobs.forEach((job, i) => items[i].firstChild.setAttribute('aria-current', String(job.id === shown?.id)));
  $('none').hidden = jobs.length > 0;
}

function tile(job, open) {
  const item = document.createElement('li');
  const frame = button('tile', () => open(job));
  const picture = new Image();
  picture.loading = 'lazy';
  picture.decoding = 'async';
  picture.alt = frame.title = job.request.prompt;
  picture.src = image(job.id, 256);
  frame.append(picture);
  item.append(frame);
  tiles.set(job.id, item);
  return item;
}
