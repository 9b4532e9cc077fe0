// The stage: one job's picture, its progress, and what made it.
import { image } from './api.js';
import { draw, coloursOf } from './drawer.js';
import * as form from './form.js';
import { duration, seconds, title } from './text.js';

const $ = (id) => document.getElementById(id);
const [frame, canvas, picture, notice] = ['frame', 'canvas', 'picture', 'notice'].map($);

let shown; // the job on the stage
let due = false; // a drawing is scheduled

export const job = () => shown;

/** Whether nothing forms or is about to: another job may take the stage. */
export const free = () => !shown || shown.done || shown.state === 'paused';

/** Puts a job on the stage. */
export function show(next) {
  const other = next.id !== shown?.id;
  shown = next;
  if (other) clear();
  if (next.preview) preview(next);
  update(next);
}

/** Without a job: says what the page waits for, or that it is ready. */
export function idle(text) {
  if (shown) return;
  frame.dataset.state = text ? 'waiting' : 'empty';
  $('status').textContent = text || 'Ready';
}

function clear() {
  delete frame.dataset.drawn;
  frame.dataset.state = 'empty';
  picture.hidden = true;
  picture.removeAttribute('src');
  $('progress').dataset.still = '';
  requestAnimationFrame(() => requestAnimationFrame(() => delete $('progress').dataset.still));
}

/** Draws the newest preview of the job shown, at most once a frame of the screen. */
export function preview(of) {
  if (of !== shown || due) return;
  due = true;
  requestAnimationFrame(async () => {
    const { preview: latest, request, id } = shown;
    due = false;
    if (latest && (await draw(canvas, latest, coloursOf(form.model(request.model)))) && id === shown.id) frame.dataset.drawn = '';
  });
}

const views = {
  queued: (of) => ({ state: 'waiting', status: of.step ? `Waiting to go on at step ${of.step} of ${of.total}` : 'Waiting for its turn', notice: '' }),
  paused: (of) => ({ state: 'paused', status: of.step ? `Paused at step ${of.step} of ${of.total}` : 'Paused before it began', notice: '' }),
  running: (of) => ({
    state: of.preview ? 'forming' : 'waiting', notice: '',
    status: of.step < of.total || !of.step ? (of.step ? `Step ${of.step} of ${of.total}` : 'Starting') : 'Finishing the picture',
  }),
  complete: (of) => ({ state: 'done', status: of.elapsed ? `Done in ${duration(of.elapsed)}` : 'Done', notice: '' }),
  failed: (of) => ({ state: 'failed', status: 'Failed', notice: of.message || 'The server gave no reason.' }),
  cancelled: (of) => ({ state: 'cancelled', status: of.step ? `Cancelled after step ${of.step} of ${of.total}` : 'Cancelled', notice: '' }),
};

/** Brings the stage up to date with its job. */
export function update(of) {
  if (of !== shown) return;
  const view = views[of.state](of);
  frame.parentElement.style.setProperty('--ratio', of.width && of.height ? of.width / of.height : 1);
  frame.dataset.state = view.state;
  notice.textContent = view.notice;
  $('status').textContent = of.cancelling && !of.done ? 'Cancelling…' : of.pausing && of.state === 'running' ? 'Pausing after this step…' : view.status;
  progress(of);
  $('hold').hidden = of.done;
  $('hold').textContent = of.held ? 'Resume' : 'Pause';
  $('cancel').hidden = of.done;
  $('cancel').disabled = Boolean(of.cancelling);
  $('retry').hidden = of.state !== 'failed' && of.state !== 'cancelled';
  finished(of);
  details(of);
}

function progress(of) {
  const total = Math.max(1, of.total);
  const done = of.state === 'complete' ? total : of.step;
  const bar = $('progress');
  bar.setAttribute('aria-valuemax', total);
  bar.setAttribute('aria-valuenow', done);
  bar.setAttribute('aria-valuetext', `Step ${done} of ${total}`);
  bar.firstElementChild.style.setProperty('--done', done / total);
  const busy = of.state === 'running' && of.rate && of.step < of.total;
  $('rate').textContent = busy ? `${duration(of.rate)} a step` : '';
  $('left').textContent = busy ? `${seconds(of.left)} left` : '';
  document.title = of.done || !of.step ? 'Waggle' : `${Math.round((100 * of.step) / total)} % · Waggle`;
}

/** Shows the finished picture; the last preview stays below until it is loaded. */
function finished(of) {
  const link = $('download');
  link.hidden = of.state !== 'complete';
  if (of.state !== 'complete') return;
  const address = image(of.id);
  link.href = address;
  link.download = `waggle-${of.seed ?? of.id}.png`;
  if (picture.getAttribute('src') === address) return;
  picture.alt = of.request.prompt;
  picture.src = address;
  picture.decode().then(
    () => { if (of === shown) picture.hidden = false; },
    () => { if (of === shown) missing(of); },
  );
}

/** The job is done, its picture does not come: try again by itself once, then say so. */
function missing(of) {
  picture.removeAttribute('src');
  if (of.asked) {
    frame.dataset.state = 'failed';
    notice.textContent = 'The picture was made, and the server does not hand it out. It may have expired.';
    return;
  }
  of.asked = true;
  setTimeout(() => of === shown && finished(of), 800);
}

function details(of) {
  const { request } = of;
  const prompt = document.querySelector('#details .prompt');
  if (prompt.textContent !== request.prompt) prompt.textContent = request.prompt;
  const rows = [
    ['Seed', of.seed], ['Size', of.width && `${of.width} × ${of.height}`], ['Steps', request.steps],
    ['Guidance', request.guidance_scale], ['Sampler', request.sampler && title(request.sampler)],
    ['Schedule', request.schedule && title(request.schedule)], ['Without', request.negative_prompt],
    ['Model', request.model], ['Took', of.elapsed && duration(of.elapsed)],
  ].filter(([, value]) => value !== undefined && value !== null && value !== '');
  const list = document.querySelector('#details dl');
  list.replaceChildren(...rows.flatMap(([name, value]) => [element('dt', name), element('dd', String(value))]));
  document.querySelector('#details .acts').hidden = false;
}

function element(name, text) {
  const node = document.createElement(name);
  node.textContent = text;
  return node;
}
