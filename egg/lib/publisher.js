'use strict';

const { randomBytes } = require('crypto');
const { SseError } = require('./errors');

// Statuses after which the same request may succeed later.
const LATER = new Set([ 408, 429, 503 ]);
// Codes of commands that may succeed later: the log of Fanfare could not store an event. "unconfirmed": perhaps it has.
const LATER_CODES = new Set([ 'unconfirmed', 'away', 'full' ]);
// How long a command that may have been carried out is repeated with its key, in milliseconds. Fanfare recognizes the repetition
// for longer (duplicateWindow, by default 30 s).
const REPEAT = 20000;
const FIRST_DELAY = 50;
const LAST_DELAY = 2000;

/**
 * Sends commands to Fanfare in the order of the calls, one request at a time. A single command leaves in the next turn of the
 * event loop; commands that arrive during a request form the next batch. While Fanfare is away commands wait in a bounded queue.
 *
 * Fanfare with a backplane gets an Idempotency-Key with each event. What it may have stored is then sent again with the same key,
 * and stored once.
 *
 * A command's promise resolves with Fanfare's answer or rejects with an SseError: no command is dropped silently.
 */
class Publisher {
  /**
   * @param {object} options
   * @param {AdminClient} options.client who sends
   * @param {object} options.queue maxEvents, maxBytes, maxAge (milliseconds)
   * @param {object} options.batch maxEvents, maxBytes
   * @param {boolean} options.resend whether to send again what may have arrived already
   * @param {(items: object[], answers: object[]) => void} options.onSent after each batch that was answered
   * @param {(state: boolean, err?: Error) => void} options.onAway when Fanfare goes away, and when it is back
   */
  constructor({ client, queue, batch, resend, onSent, onAway }) {
    Object.assign(this, { client, queue, batch, resend, onSent, onAway });
    this.items = []; // waiting, the oldest first
    this.bytes = 0; // of items
    this.inFlight = 0;
    this.failures = 0; // since the last answer
    this.batchSize = batch.maxEvents;
    this.closed = false; // takes nothing more
    this.ended = false; // and sends nothing more
    this.running = false;
    this.waiting = null; // { timer, wake } during a back-off
    this.idle = []; // resolved when there is nothing left
    this.keyed = false; // whether Fanfare recognizes repetitions
    this.prefix = randomBytes(12).toString('base64url'); // of the keys
    this.count = 0; // of commands, for the keys
  }

  /** Commands that have been neither answered nor given up. */
  get size() {
    return this.items.length + this.inFlight;
  }

  /**
   * @param {object} command op, key, frame
   * @param {object} [note] kept with it for onSent
   * @return {Promise<object>} Fanfare's answer
   */
  push(command, note) {
    const line = JSON.stringify(command);
    const bytes = Buffer.byteLength(line) + 1;
    if (this.closed) return Promise.reject(new SseError('ERR_SSE_CLOSED', 'the application is closed'));
    const { maxEvents, maxBytes } = this.queue;
    if (this.items.length >= maxEvents || this.bytes + bytes > maxBytes) {
      const limit = this.items.length >= maxEvents ? `${maxEvents} events (server.queue.maxEvents)` : `${maxBytes} bytes (server.queue.maxBytes)`;
      return Promise.reject(new SseError('ERR_SSE_QUEUE_FULL', `the queue to Fanfare is full: it may hold ${limit}`));
    }
    return new Promise((resolve, reject) => {
      const key = command.op === 'publish' || command.op === 'publishAll' ? `${this.prefix}-${++this.count}` : null;
      this.items.push({ line, key, bytes, note, at: Date.now(), doubtful: null, resolve, reject });
      this.bytes += bytes;
      this.start();
    });
  }

  start() {
    if (this.running) return;
    this.running = true;
    setImmediate(() => this.run()); // what the caller publishes in one turn leaves in one request
  }

  /** Tries again at once, if Fanfare was away. */
  wake() {
    if (this.waiting) this.waiting.wake();
  }

  async run() {
    while (this.items.length > 0) {
      this.keyed = await this.client.durable();
      this.expire();
      const items = this.take();
      if (items.length > 0) await this.send(items);
      if (this.failures > 0 && this.items.length > 0) await this.backOff();
    }
    this.running = false;
    for (const resolve of this.idle.splice(0)) resolve();
  }

  // take takes the next batch from the queue. If an event cannot be stored, Fanfare executes the close that follows it in the same
  // batch, and the streams end before they get the event. With a backplane a close after events therefore begins a batch of its own.
  take() {
    let n = 0;
    let bytes = 0;
    while (n < this.items.length && n < this.batchSize && (n === 0 || bytes + this.items[n].bytes <= this.batch.maxBytes)) {
      if (this.keyed && n > 0 && this.items[n].key === null && this.items[n - 1].key !== null) break;
      bytes += this.items[n++].bytes;
    }
    this.bytes -= bytes;
    this.inFlight = n;
    return this.items.splice(0, n);
  }

  async send(items) {
    let answers;
    try {
      answers = await this.client.batch(items.map(item => this.lineOf(item)));
    } catch (err) {
      this.inFlight = 0;
      this.failed(items, err);
      return;
    }
    this.inFlight = 0;
    this.batchSize = Math.min(this.batch.maxEvents, this.batchSize * 2);
    // From the first event on that could not be stored, all that have failed are sent again: Fanfare stops there to keep the order.
    const first = answers.findIndex(answer => answer.error !== undefined && LATER_CODES.has(answer.code));
    const later = first < 0 ? [] : items.filter((item, i) => i >= first && answers[i].error !== undefined);
    if (later.length === 0) this.back();
    const done = items.map((item, i) => i).filter(i => !later.includes(items[i]));
    for (const i of done) {
      const answer = answers[i];
      if (answer.error === undefined) items[i].resolve(answer);
      else items[i].reject(new SseError('ERR_SSE_REFUSED', answer.error, { field: answer.field }));
    }
    this.onSent(done.map(i => items[i]), done.map(i => answers[i]));
    if (later.length > 0) {
      items.forEach((item, i) => { if (answers[i].code === 'unconfirmed') doubt(item); });
      this.failed(later, Object.assign(new Error(answers[first].error), { status: 503, sent: answers[first].code === 'unconfirmed' }));
    }
  }

  // lineOf is the line of a batch: with the key of the event, if Fanfare recognizes repetitions.
  lineOf({ line, key }) {
    return this.keyed && key !== null ? `{"idempotencyKey":"${key}",${line.slice(1)}` : line;
  }

  // mayRepeat tells whether commands may be sent again that may have been carried out: their repetition is recognized.
  mayRepeat(items) {
    return this.resend || this.keyed && items.every(({ key, doubtful }) => key === null || doubtful === null || Date.now() - doubtful < REPEAT);
  }

  back() {
    if (this.failures > 0) this.onAway(false);
    this.failures = 0;
  }

  failed(items, err) {
    if (err.status === 413 && items.length > 1) { // the server's maxBodyBytes is below server.batch.maxBytes
      this.batchSize = Math.ceil(items.length / 2);
      this.putBack(items);
      return;
    }
    if (err.sent) items.forEach(doubt);
    const answered = err.status !== undefined && !LATER.has(err.status);
    const safe = !err.sent || this.mayRepeat(items);
    const again = answered ? err.sent && this.keyed && safe : safe; // answered and sent: a proxy does not know
    if (err.status === undefined) this.client.forget();
    if ((again || !answered) && this.failures++ === 0) this.onAway(true, err);
    if (again && !this.ended) {
      this.putBack(items);
    } else if (err.sent) {
      this.reject(items, 'ERR_SSE_UNCERTAIN', `it may or may not have been published: ${err.message}`, err);
    } else {
      this.reject(items, answered ? 'ERR_SSE_REFUSED' : 'ERR_SSE_CLOSED', err.message, err);
    }
  }

  putBack(items) {
    this.items.unshift(...items);
    for (const item of items) this.bytes += item.bytes;
  }

  reject(items, code, message, err) {
    for (const item of items) item.reject(new SseError(code, message, { cause: err, status: err && err.status, field: err && err.field }));
  }

  // expire gives up what has waited too long.
  expire() {
    const oldest = Date.now() - this.queue.maxAge;
    let n = 0;
    while (n < this.items.length && this.items[n].at <= oldest) this.bytes -= this.items[n++].bytes;
    const expired = this.items.splice(0, n);
    const why = `Fanfare was away for longer than ${this.queue.maxAge} ms (server.queue.maxAge)`;
    this.reject(expired.filter(item => item.doubtful === null), 'ERR_SSE_EXPIRED', why);
    this.reject(expired.filter(item => item.doubtful !== null), 'ERR_SSE_UNCERTAIN', `it may or may not have been published: ${why}`);
  }

  backOff() {
    const most = Math.min(LAST_DELAY, FIRST_DELAY * 2 ** Math.min(this.failures, 10));
    const delay = most / 2 + Math.random() * most / 2;
    const untilExpiry = this.items[0].at + this.queue.maxAge - Date.now();
    return new Promise(resolve => {
      const wake = () => {
        clearTimeout(this.waiting.timer);
        this.waiting = null;
        resolve();
      };
      this.waiting = { timer: setTimeout(() => wake(), Math.max(1, Math.min(delay, untilExpiry))), wake };
    });
  }

  /** Resolves when everything that was pushed before has been answered or given up. */
  flush() {
    return this.running ? new Promise(resolve => this.idle.push(resolve)) : Promise.resolve();
  }

  /**
   * Takes no more commands and waits until all are sent, for at most `timeout` milliseconds; then gives up the rest. When it
   * resolves, each command has its answer or its error.
   */
  async close(timeout) {
    this.closed = true;
    this.wake();
    let timer;
    await Promise.race([ this.flush(), new Promise(resolve => { timer = setTimeout(resolve, timeout); }) ]);
    clearTimeout(timer);
    this.ended = true;
    this.reject(this.items.splice(0), 'ERR_SSE_CLOSED', `the application was closed before Fanfare took it (server.closeTimeout: ${timeout} ms)`);
    this.bytes = 0;
    this.wake();
    this.client.close();
    await this.flush(); // a request that was under way has failed by now
  }
}

// doubt notes that a command may have been carried out.
function doubt(item) {
  if (item.doubtful === null) item.doubtful = Date.now();
}

module.exports = { Publisher };
