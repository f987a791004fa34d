'use strict';

const { EventEmitter } = require('events');
const { encode } = require('./encode');
const { currentOrigin } = require('./origin');
const { AdminClient, RequestError } = require('./admin_client');
const { Publisher } = require('./publisher');
const { Election, digestOf } = require('./election');
const { Counts } = require('./counts');
const { SseError } = require('./errors');

const DRY = Object.freeze({ sent: false, reason: 'server.dryRun is set' });

/**
 * app.sse: egg-sse's methods, which publish to Fanfare.
 *
 * Events: `error` (SseError; only with a listener), `away` (Error) and `back` when Fanfare can't be reached and can be
 * again, `takeover` ({ from, resent }) when this worker begins to send what happens in every worker.
 */
class Sse extends EventEmitter {
  /**
   * @param {object} settings from settingsOf
   * @param {object} around
   * @param {string} around.id of this worker
   * @param {boolean} around.alone whether it is the only worker
   * @param {Reporter} around.reporter the log
   * @param {(digests: string[]) => void} around.tell tells the other workers what was sent
   */
  constructor(settings, { id, alone, reporter, tell }) {
    super();
    const { server } = settings;
    Object.assign(this, { settings, reporter, tell });
    this.streams = new Map(); // key -> streams that this worker passes on
    this.counters = { published: 0, failed: 0, left: 0 };
    this.saidWhoSends = new Set();
    this.pending = new Set(); // promises of what was published and is neither answered nor given up
    this.client = new AdminClient({ url: settings.free ? null : server.admin, token: server.token, timeout: server.timeout });
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
      wait: server.once.wait,
      send: job => this.push(job, true),
      onTakeover: (from, jobs) => this.takeOver(from, jobs),
    });
    this.counts = new Counts({ ...server.count, ask: lines => this.ask(lines), guess: key => this.localStreams(key) });
  }

  /**
   * Publishes an event to a key.
   * @param {string} key the connectKey of the subscribers
   * @param {unknown} data a string, or an object with data, event, id, retry
   * @param {{ from?: 'auto' | 'this' | 'leader' }} [options] who sends it, if not by server.once.mode
   * @return {Promise<object>} what became of it; it need not be awaited
   * @throws {TypeError} the event can't be sent; `field` names what is wrong
   */
  publish(key, data, options) {
    const job = { op: 'publish', key: String(key), frame: encode(data) };
    if (job.key === '') return Promise.resolve({ sent: false, reason: 'no subscriber has the empty key' });
    return this.submit(job, options);
  }

  /** Publishes an event to every key. See publish. */
  publishAll(data, options) {
    return this.submit({ op: 'publishAll', frame: encode(data) }, options);
  }

  /** Ends the streams of a key, after what was published before. */
  close(key, options) {
    return this.submit({ op: 'close', key: String(key) }, options);
  }

  /** Ends all streams, after what was published before. */
  closeAll(options) {
    return this.submit({ op: 'closeAll' }, options);
  }

  /** The subscribers of a key, as last heard: at most server.count.refresh old, but for the first call. */
  count(key) {
    return this.settings.server.dryRun ? 0 : this.counts.get(String(key));
  }

  /** All subscribers, as last heard. */
  countAll() {
    return this.settings.server.dryRun ? 0 : this.counts.get();
  }

  /** The subscribers of a key, asked now. */
  async countAsync(key) {
    return this.askCount({ op: 'count', key: String(key) });
  }

  /** All subscribers, asked now. */
  async countAllAsync() {
    return this.askCount({ op: 'countAll' });
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
    return { ...this.counters, waiting: publisher.size + election.held.length, waitingBytes: publisher.bytes, leader: election.leader, leads: election.leads };
  }

  /** egg-sse's connections, which are Fanfare's now. */
  get ssePool() {
    throw new TypeError('app.sse.ssePool: the connections are in Fanfare, not in this process; use count, countAll or countAsync');
  }

  submit(job, options) {
    const promise = this.route(job, optionsOf(options));
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
    if (from === 'auto') {
      const origin = currentOrigin();
      own = mode === 'every' || mode === 'auto' && origin.own;
      if (!own) this.sayWhoSends(origin);
    }
    return own ? this.push(job, false) : this.election.submit(job);
  }

  push(job, shared) {
    const note = { job, shared };
    return this.publisher.push(job, note).then(answer => ({ sent: true, ...answer }));
  }

  // sayWhoSends says once for each origin that another worker sends: the setting may be wrong for this application.
  sayWhoSends({ name }) {
    const { leader, leads } = this.election;
    if (leads || leader === null || this.saidWhoSends.has(name)) return;
    this.saidWhoSends.add(name);
    this.reporter.info(`what is published from ${name} is sent by worker ${leader} for all workers (server.once.mode); if only this worker publishes it, say so: publish(key, data, { from: 'this' })`);
  }

  failed(job, err) {
    this.counters.failed++;
    err.op = job.op;
    if (job.key !== undefined) err.key = job.key;
    this.reporter.error(err.code, `${job.op}${job.key === undefined ? '' : ` to ${JSON.stringify(job.key)}`} failed: ${err.message}`);
    if (this.listenerCount('error') > 0) this.emit('error', err);
  }

  sent(items, answers) {
    const digests = [];
    items.forEach(({ note: { job, shared } }, i) => {
      const { subscribers, error } = answers[i];
      if (error !== undefined) return;
      if (shared) digests.push(digestOf(job));
      if (subscribers !== undefined) this.counts.note(job.key, subscribers);
    });
    if (digests.length > 0 && !this.election.alone && this.settings.server.once.keep > 0) this.tell(digests);
  }

  away(away, err) {
    if (away) {
      this.reporter.error('away', `Fanfare can't be reached: ${err.message}; events wait (server.queue)`);
      this.emit('away', err);
    } else {
      this.reporter.info('Fanfare is back');
      this.emit('back');
    }
  }

  takeOver(from, jobs) {
    for (const job of jobs) this.submit(job, { from: 'leader' });
    this.reporter.warn(`this worker takes over from worker ${from} what is published in every worker, and sends ${jobs.length} events that worker ${from} may have left unsent`);
    this.emit('takeover', { from, resent: jobs.length });
  }

  /** The agent tells who leads and where Fanfare is. */
  learn({ leader, admin, stream }) {
    this.election.lead(leader);
    if (!admin) return;
    this.client.use(admin);
    this.streamUrl = stream;
    this.publisher.wake();
  }

  async askCount(command) {
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

  /** Sends what waits, for at most server.closeTimeout, and lets go of everything. */
  async shutdown() {
    this.election.close();
    this.counts.close();
    await this.publisher.close(this.settings.server.closeTimeout);
    this.reporter.close();
  }
}

function optionsOf(options) {
  const from = options === undefined || options === null || options.from === undefined ? 'auto' : options.from;
  if (![ 'auto', 'this', 'leader' ].includes(from)) throw new TypeError(`from: must be 'auto', 'this' or 'leader'; it is ${JSON.stringify(from)}`);
  return from;
}

module.exports = { Sse, RequestError };
