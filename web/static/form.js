// The form: settings in, an operation out. It remembers itself between visits.
import { learnNames, title } from './text.js';

const $ = (id) => document.getElementById(id);
const form = $('compose');
const memory = 'waggle.form';
const seedLimit = 2n ** 64n;
const fields = ['prompt', 'negative', 'model', 'width', 'height', 'steps', 'guidance', 'sampler', 'schedule', 'seed'];

let models = [];
export const model = (name) => models.find((m) => m.name === name) ?? models[0];

/** Fills the choices and the model's own defaults, then what was set here before. */
export function fill(list, { samplers, schedules }) {
  if (JSON.stringify(list) === JSON.stringify(models)) return; // what was typed stays
  models = list;
  options($('model'), models.map((m) => m.name), (name) => name);
  options($('sampler'), learnNames(samplers), title);
  options($('schedule'), learnNames(schedules), title);
  defaults();
  recall();
  refresh();
}

function options(select, values, label) {
  select.replaceChildren(...values.map((value) => new Option(label(value), value)));
}

/** Sets what the chosen model works best with. */
function defaults() {
  const { defaults: own, limits } = model($('model').value) ?? {};
  if (limits) bound(limits);
  if (!own) return;
  $('width').value = own.width;
  $('height').value = own.height;
  $('steps').value = own.steps;
  $('guidance').value = own.guidance_scale;
  choose($('sampler'), own.sampler);
  choose($('schedule'), own.schedule);
}

function bound({ size_min: low, size_max: high, size_multiple: multiple, steps_max: steps }) {
  for (const side of [$('width'), $('height')]) Object.assign(side, { min: low, max: high, step: multiple });
  $('steps').max = steps;
}

/** Selects a value, adding it where the server does not list it. */
function choose(select, value) {
  if (!value) return;
  if (![...select.options].some((o) => o.value === value)) select.add(new Option(title(value), value));
  select.value = value;
}

function recall() {
  try {
    const saved = JSON.parse(localStorage.getItem(memory) ?? 'null');
    if (!saved || !models.some((m) => m.name === saved.model)) return;
    if ($('prompt').value) delete saved.prompt; // typed while the server was being asked
    for (const name of fields) if (saved[name] !== undefined) put($(name), saved[name]);
  } catch {
    // storage may be switched off; then there is nothing to recall
  }
}

function remember() {
  try {
    localStorage.setItem(memory, JSON.stringify(Object.fromEntries(fields.map((name) => [name, $(name).value]))));
  } catch {
    // as above
  }
}

function put(field, value) {
  if (field.tagName === 'SELECT') choose(field, value);
  else field.value = value;
}

/** The operation to submit, or undefined when a field needs attention: complain(text) says which. */
export function operation(complain) {
  for (const field of form.elements) field.removeAttribute('aria-invalid');
  const wrong = problem();
  if (wrong) {
    mark(wrong.field);
    complain(wrong.text);
    return undefined;
  }
  remember();
  return {
    operation: 'image_generation', hive_id: 'localhost', model: $('model').value,
    prompt: $('prompt').value.trim(), negative_prompt: $('negative').value.trim() || null,
    width: Number($('width').value), height: Number($('height').value),
    steps: Number($('steps').value), guidance_scale: Number($('guidance').value),
    sampler: $('sampler').value || undefined, schedule: $('schedule').value || undefined,
    seed: $('seed').value || null, loras: [],
  };
}

function problem() {
  if (!$('prompt').value.trim()) return { field: $('prompt'), text: 'Write a prompt first: what should the picture show?' };
  for (const [id, name] of [['width', 'Width'], ['height', 'Height'], ['steps', 'Steps'], ['guidance', 'Guidance']]) {
    const field = $(id);
    if (!field.validity.valid || field.value === '') return { field, text: `${name}: ${range(field)}` };
  }
  const seed = $('seed');
  if (seed.value && (!/^\d+$/.test(seed.value) || BigInt(seed.value) >= seedLimit)) {
    return { field: seed, text: 'Seed: a whole number below 2^64, or empty for a new one each time.' };
  }
  return undefined;
}

const range = ({ min, max, step }) => `a number from ${min} to ${max}${step > 1 ? `, a multiple of ${step}` : ''}.`;

/** Marks the field that an error of the server names. */
export function blame(text) {
  const match = /\b(prompt|width|height|steps|guidance|sampler|schedule|seed|model)/i.exec(text);
  if (match) mark($(match[1].toLowerCase()));
}

function mark(field) {
  if (field.closest('details')) field.closest('details').open = true;
  field.setAttribute('aria-invalid', 'true');
  field.focus();
}

/** Sets the form to what made a picture. */
export function adopt(request, seed) {
  const values = {
    prompt: request.prompt, negative: request.negative_prompt ?? '', model: request.model,
    width: request.width, height: request.height, steps: request.steps, guidance: request.guidance_scale,
    sampler: request.sampler, schedule: request.schedule, seed: seed ?? '',
  };
  for (const name of fields) if (values[name] !== undefined) put($(name), String(values[name]));
  refresh();
}

export function setPrompt(text) {
  $('prompt').value = text;
  refresh();
}

/** keepable is the seed that the lock button would keep. */
let keepable;
export function offerSeed(seed) {
  keepable = seed;
  refresh();
}

/** Brings everything that mirrors a field up to date. */
function refresh() {
  const [width, height] = [Number($('width').value), Number($('height').value)];
  for (const button of form.querySelectorAll('[data-shape]')) {
    const [w, h] = shape(button.dataset.shape);
    button.setAttribute('aria-pressed', String(w === width && h === height));
    button.title = `${button.getAttribute('aria-label')}, ${w} × ${h}`;
  }
  for (const slider of form.querySelectorAll('[data-for]')) {
    slider.value = $(slider.dataset.for).value;
    slider.style.setProperty('--v', `${(100 * (slider.value - slider.min)) / (slider.max - slider.min)}%`);
  }
  $('keep').setAttribute('aria-pressed', String($('seed').value !== ''));
  $('keep').disabled = $('seed').value === '' && keepable === undefined;
  $('summary').textContent = `${width} × ${height} · ${$('steps').value} steps · ${title($('sampler').value)}`;
}

/** Width and height of about the model's own area. */
function shape(name) {
  const { width = 512, height = 512 } = model($('model').value)?.defaults ?? {};
  if (name === 'square') return [width, height];
  const side = Math.sqrt(width * height);
  const round = (x) => Math.max(64, Math.round(x / 8) * 8);
  const [short, long] = [round(side * Math.sqrt(2 / 3)), round(side * Math.sqrt(3 / 2))];
  return name === 'portrait' ? [short, long] : [long, short];
}

function setShape(name) {
  [$('width').value, $('height').value] = shape(name);
  refresh();
}

form.addEventListener('input', ({ target }) => {
  target.removeAttribute('aria-invalid');
  if (target.dataset.for) $(target.dataset.for).value = target.value;
  refresh();
});
$('model').addEventListener('change', () => { defaults(); refresh(); });
form.addEventListener('click', ({ target }) => {
  const shaped = target.closest('[data-shape]');
  if (shaped) setShape(shaped.dataset.shape);
});
$('dice').addEventListener('click', () => { $('seed').value = ''; refresh(); });
$('keep').addEventListener('click', () => { $('seed').value = $('seed').value ? '' : String(keepable); refresh(); });
$('settings').open = !matchMedia('(max-width: 760px)').matches;
