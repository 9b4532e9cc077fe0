// The page: what happens when, from opening it to the picture.
import * as api from './api.js';
import { Channel } from './channel.js';
import * as drawer from './drawer.js';
import * as form from './form.js';
import { Job } from './job.js';
import * as lists from './lists.js';
import * as stage from './stage.js';
import { duration } from './text.js';

const $ = (id) => document.getElementById(id);
const visited = 'waggle.visited';
const galleryLength = 24;
const listLength = 50; // records asked for: pictures, failures and what waits
const retryEvery = 1000;
const startLimit = 2000; // longest wait for the program and the socket before the first picture

const jobs = new Map(); // every job this page has heard of
let pinned = false; // the visitor chose what is on the stage

const channel = new Channel({
  state: linkState,
  event: heard,
  record: noticed,
  preview(id, message) {
    const job = jobs.get(id);
    if (!job || job.done) return;
    job.preview = message;
    stage.preview(job);
  },
  refused: lost,
});

// --- what the server says

function linkState(state) {
  $('link').dataset.state = state;
  $('link').lastElementChild.textContent = state === 'open' ? 'Connected' : 'Connection lost. Trying again…';
  if (state === 'open') return refresh();
  for (const job of active()) job.restart();
  if (stage.job()) stage.update(stage.job());
  return undefined;
}

/** The record of a job, ours or another client's, has changed. Its last event tells of its end. */
function noticed(record) {
  const known = jobs.get(record.id);
  if (!known) jobs.set(record.id, Job.from(record));
  else if (known.done || channel.has(record.id) && Job.from(record).done) return;
  else known.learn(record);
  listen(jobs.get(record.id));
  changed(jobs.get(record.id));
}

function heard(id, event) {
  const job = jobs.get(id);
  if (!job) return;
  job.apply(event, performance.now());
  if (event.type === 'preview' && drawer.wanted(coloursOf(job)) === 'png') {
    job.preview = drawer.previewOf(event) ?? job.preview;
    stage.preview(job);
  }
  if (job.done) settle(job);
  follow(job);
  changed(job);
  tell(job, event);
}

/** A job is over: nothing more will come for it. */
function settle(job) {
  channel.unsubscribe(job.id);
  if (job.state === 'complete' && job === stage.job()) form.offerSeed(job.seed);
}

/** A subscription ended early: the job expired, the server was restarted, or it stumbled. */
async function lost(id, text) {
  const job = jobs.get(id);
  if (!job || job.done) return;
  try {
    job.learn(await api.record(id));
    if (!job.done) setTimeout(listen, retryEvery, job);
  } catch (problem) {
    job.state = 'failed';
    job.message = problem.status === 404 ? 'The server does not know this job any more. Was it restarted?' : text;
  }
  changed(job);
}

/** After the picture on the stage is finished, the next of ours that forms takes its place. */
function follow(job) {
  if (job.ours && !pinned && job.state === 'running' && stage.free()) present(job);
}

/** Tells screen readers what matters: the start, every quarter, the end. */
function tell(job, event) {
  if (job !== stage.job()) return;
  const quarter = Math.max(1, Math.round(job.total / 4));
  const say = {
    progress: () => (job.step % quarter === 0 && job.step < job.total ? `Step ${job.step} of ${job.total}` : undefined),
    complete: () => `The picture is done${job.elapsed ? `, it took ${duration(job.elapsed)}` : ''}`,
    state: () => (job.state === 'paused' ? 'Paused' : undefined),
    error: () => (job.state === 'cancelled' ? 'Cancelled' : `It failed: ${job.message}`),
  };
  const text = (say[event.type] ?? say.progress)();
  if (text) $('announce').textContent = text;
}

// --- what the visitor does

/** Submits an operation and shows its job. */
async function make(operation) {
  complain('');
  operation.id = api.newId();
  $('make').disabled = true;
  try {
    const answer = await sendUntilAnswered(operation);
    accepted(new Job(answer.job_id ?? operation.id, operation));
  } catch (problem) {
    complain(problem.message);
    if (problem.status === 400) form.blame(problem.message);
  } finally {
    $('make').disabled = false;
  }
}

/** Posts a job; tries once more under the same id when no answer came. */
async function sendUntilAnswered(operation) {
  try {
    return await api.submit(operation);
  } catch (problem) {
    if (problem.status !== 0) throw problem;
    return api.submit(operation);
  }
}

/** Shows a new job, unless another is forming; then it waits in the queue. */
function accepted(job) {
  if (jobs.has(job.id)) job = jobs.get(job.id); // the socket was faster
  else jobs.set(job.id, job);
  job.ours = true;
  if (stage.free()) {
    pinned = false;
    present(job);
  }
  listen(job);
  changed(job);
}

function submit() {
  const operation = form.operation(complain);
  if (operation) make(operation);
}

async function cancel(job) {
  if (!job || job.done || job.cancelling) return;
  job.cancelling = true;
  stage.update(job);
  try {
    await api.cancel(job.id);
  } catch (problem) {
    job.cancelling = false;
    if (problem.status !== 404) complain(`Cannot cancel: ${problem.message}`);
    stage.update(job);
  }
}

/** Tells the server to pause, resume or advance ('front') a job; the socket tells what comes of it. */
async function direct(job, order) {
  if (!job || job.done || job.asking) return;
  job.asking = true;
  try {
    const status = await api.direct(job.id, order);
    job.pausing = status === 'pausing' && job.state === 'running';
    $('announce').textContent = `${{ pause: 'Paused', resume: 'Resumed', front: 'Next' }[order]}: ${job.request.prompt}`;
  } catch (problem) {
    if (problem.status !== 404 && problem.status !== 409) complain(`Cannot ${order === 'front' ? 'move it' : order}: ${problem.message}`);
  } finally {
    job.asking = false;
    changed(job);
  }
}

const hold = (job) => direct(job, job.held ? 'resume' : 'pause');

/** Makes a shown job's picture again, as it was asked for or with a new seed. */
function repeat(job, seed) {
  make({ ...job.request, seed: seed ?? null });
}

/** Puts a job on the stage and into the address, so that a reload or a link shows it again. */
function present(job) {
  stage.show(job);
  if (job.state === 'complete') form.offerSeed(job.seed);
  history.replaceState(null, '', `#${job.id}`);
}

function open(job) {
  pinned = true;
  present(job);
  render();
  if ($('frame').getBoundingClientRect().top < 0) $('frame').scrollIntoView({ block: 'center' });
}

function complain(text) {
  $('alert').hidden = !text;
  $('alert').firstElementChild.textContent = text;
}

// --- keeping up

const coloursOf = (job) => drawer.coloursOf(form.model(job.request.model));
const newestFirst = () => [...jobs.values()].sort((a, b) => b.created - a.created);
const active = () => [...jobs.values()].filter((job) => !job.done).sort((a, b) => a.compare(b));

function listen(job) {
  if (!job.done) channel.subscribe(job.id, drawer.wanted(coloursOf(job)));
}

function changed(job) {
  stage.update(job);
  render();
}

function render() {
  lists.queue(active(), stage.job(), { open, front: (job) => direct(job, 'front'), hold, 'go-on': hold, drop: cancel });
  const finished = newestFirst().filter((job) => job.state === 'complete');
  finished.splice(galleryLength).forEach(forget);
  lists.gallery(finished, stage.job(), open);
}

function forget(job) {
  if (job !== stage.job()) jobs.delete(job.id);
}

/** Takes over the server's list; from then on the socket tells of changes. */
async function refresh() {
  const found = await api.records(`limit=${listLength}`).catch(() => undefined);
  if (!found) return;
  const ids = new Set(found.map((record) => record.id));
  if (found.length < listLength) [...jobs.values()].filter((job) => job.done && !ids.has(job.id)).forEach(forget);
  found.forEach(noticed);
  render();
}

/** Reads what the server can do; tries again until it answers. */
async function learnServer() {
  for (let wait = 500; ; wait = Math.min(8000, wait * 2)) {
    try {
      const [models, samplers, node] = await Promise.all([api.models(), api.samplers(), api.info().catch(() => ({}))]);
      if (models.length) form.fill(models, samplers);
      $('node').textContent = node.device ?? '';
      if (models.length) return known();
      await noModel();
    } catch (problem) {
      complain(problem.message);
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function known() {
  complain('');
  stage.idle('');
}

async function noModel() {
  const reason = await api.notReady();
  const loading = !reason || reason === 'model loading';
  stage.idle(loading ? 'The model is loading…' : '');
  complain(loading ? '' : `The server has no model ready: ${reason}`);
}

/** Whether this browser opens the page for the first time. */
function firstVisit() {
  try {
    const first = !localStorage.getItem(visited);
    localStorage.setItem(visited, '1');
    return first;
  } catch {
    return jobs.size === 0;
  }
}

/** Shows something at once: the linked job, what runs, the newest picture, or on a first visit the example. */
function begin() {
  const first = firstVisit();
  const linked = jobs.get(location.hash.slice(1));
  if (linked) return open(linked);
  if (first) {
    form.setPrompt(form.model()?.example || document.querySelector('[data-prompt]').dataset.prompt);
    return submit();
  }
  const best = active()[0] ?? newestFirst().find((job) => job.state === 'complete');
  if (!best) return undefined;
  present(best);
  return render();
}

// --- wiring

$('insecure').hidden = window.isSecureContext;
$('compose').addEventListener('submit', (event) => { event.preventDefault(); submit(); });
$('cancel').addEventListener('click', () => cancel(stage.job()));
$('hold').addEventListener('click', () => hold(stage.job()));
$('retry').addEventListener('click', () => repeat(stage.job(), stage.job().request.seed));
$('again').addEventListener('click', () => repeat(stage.job()));
$('reuse').addEventListener('click', () => {
  form.adopt(stage.job().request, stage.job().seed);
  $('prompt').focus();
});
$('alert').lastElementChild.addEventListener('click', () => complain(''));
document.querySelector('.examples').addEventListener('click', ({ target }) => {
  if (target.dataset.prompt) form.setPrompt(target.dataset.prompt);
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    submit();
  } else if (event.key === 'Escape') {
    cancel(stage.job());
  }
});
channel.subscribe('*', 'none');
await learnServer();
await Promise.race([
  Promise.all([drawer.started, channel.opened(startLimit)]),
  new Promise((resolve) => setTimeout(resolve, startLimit)),
]);
await refresh();
begin();
