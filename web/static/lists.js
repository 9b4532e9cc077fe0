// The two lists: what is being made and waits, and what was made lately.
import { image } from './api.js';

const $ = (id) => document.getElementById(id);
const rows = new Map(); // job id → item of the queue, kept so that focus stays

/** Shows the jobs that are not over, in the order given. act has a function of a job for each button. */
export function queue(jobs, shown, act) {
  const alone = jobs.length === 1 && jobs[0] === shown;
  $('queue').hidden = jobs.length === 0 || alone;
  $('queue').querySelector('small').textContent = jobs.length > 1 ? `${jobs.length}` : '';
  const kept = new Set(jobs.map((job) => job.id));
  for (const id of rows.keys()) if (!kept.has(id)) rows.delete(id);
  const items = jobs.map((job) => rows.get(job.id) ?? row(job, act));
  const first = new Map(jobs.filter((job) => job.state === 'queued').reverse().map((job) => [job.rank, job]));
  keepingFocus(() => {
    jobs.forEach((job, i) => fill(items[i], job, { current: job === shown, first: first.get(job.rank) === job }));
    arrange($('queue').querySelector('ol'), items);
  });
}

function row(job, act) {
  const item = $('waiting').content.firstElementChild.cloneNode(true);
  const named = { open: '', front: 'Make the next', hold: 'Pause', 'go-on': 'Resume', drop: 'Cancel' };
  for (const [name, words] of Object.entries(named)) {
    const button = item.querySelector(`.${name}`);
    button.addEventListener('click', () => act[name](job));
    if (words) button.setAttribute('aria-label', `${words}: ${job.request.prompt}`);
  }
  item.querySelector('b').textContent = job.request.prompt;
  rows.set(job.id, item);
  return item;
}

function fill(item, job, { current, first }) {
  item.dataset.state = job.held ? 'held' : job.state;
  item.querySelector('.open').setAttribute('aria-current', String(current));
  say(item.querySelector('small'), words(job));
  item.querySelector('.front').hidden = job.state !== 'queued' || first;
  item.querySelector('.hold').hidden = job.held;
  item.querySelector('.go-on').hidden = !job.held;
}

function words(job) {
  const at = job.step ? ` at ${job.step}/${job.total}` : '';
  switch (job.state) {
    case 'queued': return `waiting${at}`;
    case 'paused': return `paused${at}`;
    default: return job.pausing ? 'pausing…' : at ? `step ${job.step} of ${job.total}` : 'starting';
  }
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Makes a list of items, moving no more of them than it must. */
function arrange(list, items) {
  for (const old of [...list.children]) if (!items.includes(old)) old.remove();
  items.forEach((item, i) => list.children[i] !== item && list.insertBefore(item, list.children[i] ?? null));
}

/** Does something to the queue; whoever went through it by keyboard stays at their button, or near it if it is gone. */
function keepingFocus(change) {
  const list = $('queue').querySelector('ol');
  const button = list.contains(document.activeElement) ? document.activeElement : undefined;
  const item = button?.closest('li');
  const at = [...list.children].indexOf(item);
  change();
  if (!button) return;
  const near = item.isConnected ? item : list.children[Math.min(at, list.children.length - 1)];
  const target = button.isConnected && !button.hidden ? button : near?.querySelector('.tools > :not([hidden])');
  if (target !== document.activeElement) target?.focus();
}

function button(name, click) {
  const node = document.createElement('button');
  node.type = 'button';
  node.className = name;
  node.addEventListener('click', click);
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
