// Keeps the queen's page up to date. Her heartbeats say when to look; what there is to see is in the page itself, which is asked
// for again. Parts that did not change are left alone, so that a selection or a scrolled list stays as it is.

const shortest = 1000; // milliseconds between two looks
const parts = ['summary', 'jobs', 'workers', 'nodes', 'hives']; // nodes only on a cluster
const link = document.getElementById('link');

function show(state, words) {
  link.hidden = false;
  link.dataset.state = state;
  link.querySelector('span').textContent = words;
}

async function look() {
  const response = await fetch('/', { headers: { Accept: 'text/html' } });
  if (!response.ok) throw new Error(`the queen answered ${response.status}`);
  const now = new DOMParser().parseFromString(await response.text(), 'text/html');
  for (const id of parts) take(document.getElementById(id), now.getElementById(id));
}

/** Replaces a part by its newer form, keeping the place to which its list is scrolled. */
function take(old, newer) {
  if (!old || !newer || old.isEqualNode(newer)) return;
  const place = old.querySelector('.rows')?.scrollLeft ?? 0;
  const focused = old.contains(document.activeElement);
  old.replaceWith(document.adoptNode(newer));
  const list = newer.querySelector('.rows');
  if (list) list.scrollLeft = place;
  if (focused) list?.focus({ preventScroll: true });
}

let looking = false;
let again = false;

/** Looks now, or after the look that is under way: never two at a time, never more often than makes sense. */
async function news() {
  if (looking) {
    again = true;
    return;
  }
  looking = true;
  try {
    await look();
    show('open', 'Live');
  } catch {
    show('lost', 'Connection lost');
  }
  await new Promise((done) => setTimeout(done, shortest));
  looking = false;
  if (again) {
    again = false;
    news();
  }
}

const beats = new EventSource('/v1/heartbeats/stream');
beats.addEventListener('heartbeat', () => document.hidden || news());
beats.addEventListener('open', news);
beats.addEventListener('error', () => show('lost', 'Connection lost'));
document.addEventListener('visibilitychange', () => document.hidden || news());
