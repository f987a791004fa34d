'use strict';

const { SseError } = require('./errors');

// Statuses after which the same request may succeed later.
const LATER = new Set([ 408, 429, 503 ]);
const FIRST_DELAY = 50;
const LAST_DELAY = 2000;

/**
 * Sends commands to Fanfare in the order of the calls, one request at a time. A single command leaves in the next turn of the
 * event loop; commands that arrive during a request form the next batch. While Fanfare is away commands wait in a bounded queue.
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
      this.items.push({ line, bytes, note, at: Date.now(), resolve, reject });
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
      this.expire();
      const items = this.take();
      if (items.length > 0) await this.send(items);
      if (this.failures > 0 && this.items.length > 0) await this.backOff();
    }
    this.running = false;
    for (const resolve of this.idle.splice(0)) resolve();
  }

  take() {
    let n = 0;
    let bytes = 0;
    while (n < this.items.length && n < this.batchSize && (n === 0 || bytes + this.items[n].bytes <= this.batch.maxBytes)) {
      bytes += this.items[n++].bytes;
    }
    this.bytes -= bytes;
    this.inFlight = n;
    return this.items.splice(0, n);
  }

  async send(items) {
    let answers;
    try {
      answers = await this.client.batch(items.map(item => item.line));
    } catch (err) {
      this.inFlight = 0;
      this.failed(items, err);
      return;
    }
    this.inFlight = 0;
    this.batchSize = Math.min(this.batch.maxEvents, this.batchSize * 2);
    this.back();
    items.forEach((item, i) => {
      const answer = answers[i];
      if (answer.error === undefined) item.resolve(answer);
      else item.reject(new SseError('ERR_SSE_REFUSED', answer.error, { field: answer.field }));
    });
    this.onSent(items, answers);
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
    const answered = err.status !== undefined && !LATER.has(err.status);
    if (!answered && this.failures++ === 0) this.onAway(true, err);
    if (!this.ended && (LATER.has(err.status) || !answered && (!err.sent || this.resend))) {
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
    this.reject(this.items.splice(0, n), 'ERR_SSE_EXPIRED', `Fanfare was away for longer than ${this.queue.maxAge} ms (server.queue.maxAge)`);
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

module.exports = { Publisher };
