// The WebSocket: many jobs on one connection. It comes back by itself after a
// loss and asks for the events after the last one seen, so that none is missed.
import { parse } from './text.js';

const firstDelay = 300;
const longestDelay = 8000;
const pingEvery = 20_000;
const silenceLimit = 45_000;

export class Channel {
  /**
   * on.state('open' | 'lost'), on.event(job, event), on.record(record): a job changed,
   * on.preview(job, message), on.refused(job, text): no more will come of a subscription.
   */
  constructor(on) {
    this.on = on;
    this.jobs = new Map(); // id → {after, preview}
    this.delay = firstDelay;
    addEventListener('online', () => this.hurry());
    document.addEventListener('visibilitychange', () => document.hidden || this.hurry());
    setInterval(() => this.ping(), pingEvery);
    this.connect();
  }

  get open() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** Resolves when connected, or after limit milliseconds. */
  opened(limit) {
    if (this.open) return Promise.resolve();
    return new Promise((resolve) => {
      this.waiting = resolve;
      setTimeout(resolve, limit);
    });
  }

  /** Hears of a job ('*': of every job's changes) from its event number `after` + 1 on. preview: 'latent', 'png' or 'none'. */
  subscribe(job, preview, after = 0) {
    if (this.jobs.has(job)) return;
    this.jobs.set(job, { after, preview });
    this.ask(job);
  }

  has(job) {
    return this.jobs.has(job);
  }

  unsubscribe(job) {
    if (this.jobs.delete(job)) this.send({ type: 'unsubscribe', job });
  }

  ask(job) {
    const { after, preview } = this.jobs.get(job);
    this.send({ type: 'subscribe', job, after, preview, ref: job });
  }

  send(message) {
    if (this.open) this.socket.send(JSON.stringify(message));
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = undefined;
    const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/ws`);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => this.opening();
    socket.onmessage = ({ data }) => this.receive(data);
    socket.onclose = () => this.closing(socket);
    this.socket = socket;
  }

  opening() {
    this.delay = firstDelay;
    this.heard = Date.now();
    for (const job of this.jobs.keys()) this.ask(job);
    this.on.state('open');
    this.waiting?.();
  }

  closing(socket) {
    if (socket !== this.socket || this.timer) return;
    this.on.state('lost');
    this.timer = setTimeout(() => this.connect(), this.delay * (0.75 + Math.random() / 2));
    this.delay = Math.min(longestDelay, this.delay * 2);
  }

  /** Does not wait for the next try when there is reason to believe it works now. */
  hurry() {
    if (this.timer) this.connect();
  }

  ping() {
    if (!this.open) return;
    if (Date.now() - this.heard > silenceLimit) this.socket.close();
    else this.send({ type: 'ping' });
  }

  receive(data) {
    this.heard = Date.now();
    if (typeof data !== 'string') return this.binary(new Uint8Array(data));
    let message;
    try {
      message = parse(data);
    } catch {
      return;
    }
    if (message.type === 'event') this.event(message);
    else if (message.type === 'state' && message.record) this.on.record(message.record);
    else if (message.type === 'error' && this.jobs.has(message.ref)) this.refuse(message);
  }

  /** Hands on each event once, also when a reconnect brings it twice. */
  event({ job, id, event }) {
    const subscription = this.jobs.get(job);
    if (!subscription || id <= subscription.after) return;
    subscription.after = id;
    this.on.event(job, event);
  }

  refuse({ ref, message }) {
    this.jobs.delete(ref);
    this.on.refused(ref, message);
  }

  /** Header of a preview: version, kind, step, total, channels, length of the id, height, width, id. */
  binary(bytes) {
    if (bytes.length < 12 || bytes[0] !== 1 || bytes.length < 12 + bytes[7]) return;
    const job = new TextDecoder().decode(bytes.subarray(12, 12 + bytes[7]));
    if (!this.jobs.has(job)) return;
    const payload = bytes.subarray((12 + bytes[7] + 3) & ~3);
    this.on.preview(job, { kind: bytes[1] === 2 ? 'png' : 'latent', bytes, payload });
  }
}
