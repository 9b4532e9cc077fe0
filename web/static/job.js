// A job as this page knows it: what was asked, and what has been heard of it.

const window = 8; // steps over which the speed is averaged
const turns = ['running', 'queued', 'paused'];
const priorities = ['high', 'normal', 'low'];
const over = new Set(['complete', 'failed', 'cancelled']);

export class Job {
  constructor(id, request, state = 'queued') {
    this.id = id;
    this.request = request;
    this.state = state;
    this.step = 0;
    this.total = request.steps ?? 0;
    this.seed = request.seed;
    this.width = request.width;
    this.height = request.height;
    this.created = Date.now();
    this.marks = []; // [step, time] of the latest steps
  }

  /** From the server's record. */
  static from(record) {
    const job = new Job(record.id ?? record.job_id, record.request ?? record, record.state);
    job.learn(record);
    job.created = Date.parse(record.created) || 0;
    return job;
  }

  /** Takes over what a newer record or state message says. */
  learn(record) {
    if (record.state) this.state = record.state;
    this.pausing = this.state === 'running' && Boolean(record.pause_requested);
    this.place = record.place;
    const [picture] = record.pictures ?? [];
    this.seed = picture?.seed ?? record.seed ?? this.seed;
    this.width = picture?.width ?? this.width;
    this.height = picture?.height ?? this.height;
    this.step = Math.max(this.step, record.step ?? 0);
    this.total = record.total ?? this.total;
    this.message = record.message ?? this.message;
    this.elapsed = record.elapsed_ms ?? this.elapsed;
  }

  /** Whether it is paused, or will be after the step that runs. */
  get held() {
    return this.state === 'paused' || this.state === 'running' && Boolean(this.pausing);
  }

  get done() {
    return over.has(this.state);
  }

  /** Applies one event of the stream. */
  apply(event, now) {
    switch (event.type) {
      case 'progress':
      case 'preview':
        this.state = 'running';
        this.step = event.step;
        this.total = event.total;
        this.marks = [...this.marks, [event.step, now]].slice(-window);
        break;
      case 'state':
        this.state = event.state;
        this.pausing = false;
        this.restart();
        break;
      case 'complete':
        this.state = 'complete';
        this.step = this.total;
        this.learn(event);
        break;
      case 'error':
        this.message = event.message;
        this.state = event.kind === 'cancelled' || event.message === 'Job cancelled by user' ? 'cancelled' : 'failed';
    }
  }

  /** Before or after another in the order in which they are made: what runs, what waits, what is paused. */
  compare(other) {
    const turn = turns.indexOf(this.state) - turns.indexOf(other.state);
    const [mine, theirs] = this.state === 'queued' ? [this.line, other.line] : [this.age, other.age];
    return turn || (mine < theirs ? -1 : Number(mine > theirs));
  }

  get rank() {
    return priorities.indexOf(this.request.priority ?? 'normal');
  }

  /** Its place among those that wait, as text; one that the server has not told yet is the last. */
  get line() {
    return `${this.rank} ${this.place ?? `~ ${this.age}`}`;
  }

  get age() {
    return `${this.created} ${this.id}`;
  }

  /** Forgets the speed: what comes next may be a replay. */
  restart() {
    this.marks = [];
  }

  /** Milliseconds a step, or undefined until two steps were seen. */
  get rate() {
    if (this.marks.length < 2) return undefined;
    const [first, last] = [this.marks[0], this.marks.at(-1)];
    const rate = (last[1] - first[1]) / (last[0] - first[0]);
    return rate > 0.5 ? rate : undefined;
  }

  /** Milliseconds until the last step. */
  get left() {
    return this.rate && this.rate * (this.total - this.step);
  }
}
