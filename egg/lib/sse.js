'use strict';

const { EventEmitter } = require('events');
const { encode, refusal } = require('./encode');
const { currentOrigin } = require('./origin');
const { AdminClient, RequestError } = require('./admin_client');
const { Publisher } = require('./publisher');
const { Election, digestsOf } = require('./election');
const { Counts } = require('./counts');
const { Access } = require('./access');
const { SseError } = require('./errors');

const METHODS = [ 'publish', 'publishAll', 'close', 'closeAll', 'count', 'countAll', 'countAsync', 'countAllAsync', 'flush', 'token', 'disconnect', 'presence' ];
const SHOWN_KEY = 100; // characters of a key in the log
const DRY = Object.freeze({ sent: false, reason: 'server.dryRun is set' });

/**
 * app.sse: egg-sse's methods, which publish to Fanfare.
 *
 * Events: `error` (SseError; only with a listener), `away` (Error) and `back` when Fanfare can't be reached, or can't publish, and
 * can again, `takeover` ({ from, resent }) when this worker begins to send what happens in every worker.
 */
class Sse extends EventEmitter {
  /**
   * @param {object} settings from settingsOf
   * @param {object} around
   * @param {string} around.id of this worker
   * @param {boolean} around.alone whether it is the only worker
   * @param {Reporter} around.reporter the log
   * @param {(events: object[]) => void} around.tell tells the other workers what was sent
   * @param {(question: object) => void} around.ask asks the leading worker about what it did not tell of
   * @param {(grant: object) => void} around.grant answers such a question
   */
  constructor(settings, { id, alone, reporter, tell, ask = () => {}, grant = () => {} }) {
    super();
    const { server } = settings;
    Object.assign(this, { settings, reporter, tell });
    // Bound, so that they work as listeners and timer functions, where nobody would catch the error of a missing this.
    for (const name of METHODS) this[name] = this[name].bind(this);
    this.streamUrl = settings.own ? null : server.stream; // the stream listener, if it is known
    this.streams = new Map(); // key -> streams that this worker passes on
    this.counters = { published: 0, failed: 0, left: 0 };
    this.saidWhoSends = new Set();
    this.pending = new Set(); // promises of events that are neither answered nor given up
    this.client = new AdminClient({ url: settings.own ? null : server.admin, token: server.token, timeout: server.timeout });
    this.access = new Access(settings, this.client);
    this.publisher = new Publisher({
      client: this.client,
      queue: server.queue,
      batch: server.batch,
      resend: server.uncertain === 'resend',
      onSent: (items, answers) => this.sent(items, answers),
      onAway: (away, err) => this.away(away, err),
    });
    this.election = new Election({
      id,
      alone,
      keep: server.once.keep,
      skew: server.once.skew,
      wait: server.once.wait,
      send: (job, late) => this.push(job, !late),
      ask,
      grant,
      onTakeover: (from, jobs) => this.takeOver(from, jobs),
      onLate: (jobs, leader) => this.sayLate(jobs, leader),
      onLost: (job, err) => this.failed(job, err),
    });
    this.counts = new Counts({ ...server.count, ask: lines => this.ask(lines), guess: key => this.localStreams(key) });
  }

  /**
   * Publishes an event to a key.
   * @param {string} key the connectKey of the subscribers
   * @param {unknown} data a string, or an object with data, event, id, retry
   * @param {{ from?: 'auto' | 'this' | 'leader' }} [options] who sends it, if not by server.once.mode
   * @return {Promise<object>} the outcome; it need not be awaited
   * @throws {TypeError} in a request: the event can't be sent; `field` names what is wrong. Elsewhere the promise is
   *   rejected with it, since nobody would catch it and the process would end
   */
  publish(key, data, options) {
    return this.attempt('publish', key, () => {
      if (data === undefined && key !== null && typeof key === 'object') {
        throw refusal('key', 'is an object, and there is no data: publish(key, data) publishes to a key, publishAll(data) to all');
      }
      return { key: keyOf(key), frame: encode(data) };
    }, options);
  }

  /** Publishes an event to every key. See publish. */
  publishAll(data, options) {
    return this.attempt('publishAll', undefined, () => ({ frame: encode(data) }), options);
  }

  /** Ends the streams of a key, after what was published before. See publish for what is thrown. */
  close(key, options) {
    return this.attempt('close', key, () => ({ key: keyOf(key) }), options);
  }

  /** Ends all streams, after what was published before. See publish for what is thrown. */
  closeAll(options) {
    return this.attempt('closeAll', undefined, () => ({}), options);
  }

  // attempt makes a job of a call and submits it. Only in a request does an invalid call throw.
  attempt(op, key, make, options) {
    let job;
    let from;
    try {
      from = optionsOf(options);
      job = { op, ...make() };
    } catch (err) {
      if (currentOrigin().throws) throw err;
      return this.reject(op, key, err);
    }
    if (job.key === '') return Promise.resolve({ sent: false, reason: 'no subscriber has the empty key' });
    return this.submit(job, from);
  }

  reject(op, key, err) {
    const promise = Promise.reject(err);
    promise.catch(() => {}); // it is reported here, and need not be awaited
    this.failed({ op, key: typeof key === 'string' ? key : undefined }, err);
    return promise;
  }

  /** The subscribers of a key, as last reported: at most server.count.refresh old, except at the first call. */
  count(key) {
    try {
      return this.settings.server.dryRun ? 0 : this.counts.get(keyOf(key));
    } catch (err) {
      if (currentOrigin().throws) throw err;
      this.failed({ op: 'count' }, err);
      return 0;
    }
  }

  /** All subscribers, as last reported. */
  countAll() {
    return this.settings.server.dryRun ? 0 : this.counts.get();
  }

  /** The subscribers of a key, asked now. */
  countAsync(key) {
    return this.askCount('count', () => ({ key: keyOf(key) }));
  }

  /** All subscribers, asked now. */
  countAllAsync() {
    return this.askCount('countAll', () => ({}));
  }

  /**
   * Makes a token with which a page may subscribe to keys. See Access for this and the next two.
   * @return {Promise<{ token: string, expires: Date }>}
   */
  token(keys, options) {
    return this.access.token(keys, options);
  }

  /** Ends the streams of a subject. Resolves with how many there were. */
  disconnect(subject) {
    return this.access.disconnect(subject);
  }

  /** Who has a stream on a key. */
  presence(key) {
    return this.access.presence(key);
  }

  /** Resolves when what was published so far has been answered or given up. */
  async flush() {
    await Promise.allSettled([ ...this.pending ]);
  }

  /**
   * What this worker has done: events published, failed, left to another worker; those that wait; who sends what happens in
   * every worker.
   */
  get stats() {
    const { publisher, election } = this;
    return { ...this.counters, waiting: publisher.size + election.waiting, waitingBytes: publisher.bytes, leader: election.leader, leads: election.leads };
  }

  /** egg-sse's connections, which are Fanfare's now. */
  get ssePool() {
    const reason = 'app.sse.ssePool: the connections are in Fanfare, not in this process; use count, countAll or countAsync';
    const err = Object.assign(new TypeError(reason), { code: 'ERR_SSE_EVENT', field: 'ssePool' });
    if (currentOrigin().throws) throw err;
    this.failed({ op: 'ssePool' }, err);
    return Object.freeze({});
  }

  submit(job, from) {
    const promise = this.route(job, from);
    this.pending.add(promise);
    promise.then(answer => {
      this.pending.delete(promise);
      this.counters[answer.sent ? 'published' : 'left']++;
    }, err => {
      this.pending.delete(promise);
      this.failed(job, err);
    });
    return promise;
  }

  route(job, from) {
    const { mode } = this.settings.server.once;
    if (this.settings.server.dryRun) return Promise.resolve(DRY);
    let own = from === 'this';
    const origin = currentOrigin();
    if (from === 'auto') {
      own = mode === 'every' || mode === 'auto' && origin.own;
      if (!own) this.sayWhoSends(origin);
    }
    if (own) return this.push(job, false);
    Object.defineProperty(job, 'digests', { value: digestsOf(job, origin.place) });
    Object.defineProperty(job, 'at', { value: 0, writable: true });
    return this.election.submit(job, from === 'leader');
  }

  // push sends a job; `tells` says whether the other workers are told.
  push(job, tells) {
    const note = { job, tells };
    return this.publisher.push(job, note).then(answer => ({ sent: true, ...answer }));
  }

  // sayWhoSends logs once for each origin that another worker sends: the setting may be wrong for this application.
  sayWhoSends({ name }) {
    const { leader, leads } = this.election;
    if (leads || leader === null || this.saidWhoSends.has(name)) return;
    this.saidWhoSends.add(name);
    this.reporter.info(`what is published from ${name} is sent by worker ${leader} for all workers (server.once.mode); if only this worker publishes it, say so: publish(key, data, { from: 'this' })`);
  }

  // sayLate logs that the leader did not publish what this worker left to it: the events differ in each worker, or happen in
  // only one of them.
  sayLate(jobs, leader) {
    const [ { op, key } ] = jobs;
    this.reporter.warn(`worker ${leader} did not publish ${jobs.length} events that this worker left to it (${label(op, key)}): this worker sends them itself, late. If one worker alone publishes such events, say publish(key, data, { from: 'this' }); if every worker does, with different content or at different times, { from: 'leader' }`, 'late');
  }

  failed(job, err) {
    this.counters.failed++;
    if (err !== null && typeof err === 'object' && Object.isExtensible(err)) {
      err.op = job.op;
      if (job.key !== undefined) err.key = job.key;
    }
    this.reporter.error(err && err.code || 'call', `${label(job.op, job.key)} failed: ${err && err.message}`);
    if (this.listenerCount('error') > 0) this.tellListeners('error', err);
  }

  // tellListeners emits an event where nobody would catch an error of a listener.
  tellListeners(event, ...args) {
    try {
      this.emit(event, ...args);
    } catch (err) {
      this.reporter.error('listener', `a listener of '${event}' of app.sse threw: ${err && err.stack}`);
    }
  }

  sent(items, answers) {
    const shared = [];
    items.forEach(({ note: { job, tells } }, i) => {
      const { subscribers, error } = answers[i];
      if (error !== undefined) return;
      if (tells) shared.push(job);
      if (subscribers !== undefined) this.counts.note(job.key, subscribers);
    });
    if (shared.length > 0 && !this.election.alone && this.settings.server.once.keep > 0) this.tell(this.election.account(shared));
  }

  away(away, err) {
    if (away) {
      const what = err.status === undefined ? "can't be reached" : "can't publish";
      this.reporter.error('away', `Fanfare ${what}: ${err.message}; events wait (server.queue)`);
      this.tellListeners('away', err);
    } else {
      this.reporter.info('Fanfare is back');
      this.tellListeners('back');
    }
  }

  takeOver(from, jobs) {
    this.reporter.warn(`this worker takes over from worker ${from} what is published in every worker, and sends ${jobs.length} events that worker ${from} may have left unsent`);
    this.tellListeners('takeover', { from, resent: jobs.length });
  }

  /** The agent says who leads and where Fanfare is. */
  learn({ leader, admin, stream, token }) {
    this.election.lead(leader);
    if (!admin) return;
    this.client.use(admin, token);
    this.streamUrl = stream;
    this.publisher.wake();
  }

  // askCount resolves with a count. A failure is logged, since the promise need not be awaited.
  askCount(op, make) {
    const promise = this.askedCount(op, make);
    promise.catch(err => this.reporter.error('count', `${op}Async failed: ${err && err.message}`));
    return promise;
  }

  async askedCount(op, make) {
    const command = { op, ...make() };
    if (this.settings.server.dryRun) return 0;
    const [ answer ] = await this.ask([ JSON.stringify(command) ]);
    if (answer.error !== undefined) throw new SseError('ERR_SSE_REFUSED', answer.error, { field: answer.field });
    this.counts.note(command.key, answer.count);
    return answer.count;
  }

  ask(lines) {
    return this.client.batch(lines);
  }

  localStreams(key) {
    if (key !== undefined) return this.streams.get(key) || 0;
    let sum = 0;
    for (const n of this.streams.values()) sum += n;
    return sum;
  }

  /** A stream of this worker begins (1) or ends (-1). */
  countStream(key, by) {
    const n = this.localStreams(key) + by;
    if (n > 0) this.streams.set(key, n);
    else this.streams.delete(key);
  }

  /** Sends what waits, for at most server.closeTimeout, and releases everything. */
  async shutdown() {
    this.counts.close();
    const { closeTimeout } = this.settings.server;
    await this.election.close(Math.min(1000, closeTimeout)); // the leader closes, too, and reports what it has sent
    await this.publisher.close(closeTimeout);
    this.reporter.close();
  }
}

function keyOf(key) {
  try {
    return String(key);
  } catch (err) {
    throw refusal('key', `has no text: ${err && err.message}; use a string or a number`, err);
  }
}

// label names a call in the log, with a long key shortened.
function label(op, key) {
  if (key === undefined) return op;
  return `${op} to ${quoted(key)}`;
}

function quoted(text) {
  return text.length <= SHOWN_KEY ? JSON.stringify(text) : `${JSON.stringify(text.slice(0, SHOWN_KEY))}… (${text.length} characters)`;
}

function optionsOf(options) {
  const from = options === undefined || options === null || options.from === undefined ? 'auto' : options.from;
  if (![ 'auto', 'this', 'leader' ].includes(from)) throw refusal('from', `must be 'auto', 'this' or 'leader'; it is ${typeof from === 'string' ? quoted(from) : `a ${typeof from}`}`);
  return from;
}

module.exports = { Sse, RequestError };
