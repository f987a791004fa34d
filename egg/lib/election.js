'use strict';

const { createHash } = require('crypto');
const { SseError } = require('./errors');

const ID_LINE = /(^|\n)id: [^\n]*\n/;
const MAX_KEPT = 10000;

/**
 * Which worker sends what happens in every worker alike. The agent names one, the leader, and tells all workers; it stays
 * until it dies. The others keep what they leave to it for a short time. The leader tells them what it has sent, by a
 * digest of the event without its id, so that a new leader can send what the old one did not live to send.
 */
class Election {
  /**
   * @param {object} options
   * @param {string} options.id of this worker
   * @param {boolean} options.alone whether this is the only worker
   * @param {number} options.keep milliseconds for which what is left to the leader is kept
   * @param {number} options.wait milliseconds to wait until a leader is known
   * @param {(job: object) => Promise} options.send publishes a job for all workers
   * @param {(from: string, jobs: object[]) => void} options.onTakeover when this worker takes over
   */
  constructor({ id, alone, keep, wait, send, onTakeover }) {
    Object.assign(this, { id, alone, keep, wait, send, onTakeover });
    this.leader = alone ? id : null;
    this.former = null; // who led before, whose work may be left unfinished
    this.held = []; // { job, resolve, reject, timer } until a leader is known
    this.kept = []; // { digest, job, at } that was left to the leader, the oldest first
    this.told = new Map(); // digest -> times at which the leader told of it before it happened here
    this.toldCount = 0;
  }

  get leads() {
    return this.leader === this.id;
  }

  /**
   * @param {object} job op, key, frame
   * @return {Promise<object>} the answer, or { sent: false, … } if another worker sends it
   */
  submit(job) {
    if (this.leads) return this.send(job);
    if (this.leader !== null) return Promise.resolve(this.leave(job));
    return new Promise((resolve, reject) => {
      const entry = { job, resolve, reject };
      entry.timer = setTimeout(() => {
        this.held.splice(this.held.indexOf(entry), 1);
        reject(new SseError('ERR_SSE_NO_LEADER', `after ${this.wait} ms no worker is known to send what happens in every worker (server.once.wait): does the agent run?`));
      }, this.wait);
      if (this.held.length < MAX_KEPT) {
        this.held.push(entry);
      } else {
        clearTimeout(entry.timer);
        reject(new SseError('ERR_SSE_NO_LEADER', `${MAX_KEPT} events wait for a worker that sends them: does the agent run?`));
      }
    });
  }

  leave(job) {
    if (this.keep > 0) {
      this.forget();
      const digest = digestOf(job);
      if (!this.wasTold(digest)) {
        this.kept.push({ digest, job, at: Date.now() });
        if (this.kept.length > MAX_KEPT) this.kept.shift();
      }
    }
    return { sent: false, reason: `worker ${this.leader} sends it for all workers`, worker: this.leader };
  }

  /** The agent names a leader. */
  lead(leader) {
    if (this.alone || leader === this.leader) return;
    if (this.leader !== null) this.former = this.leader;
    this.leader = leader;
    if (leader === null) return;
    if (this.leads && this.former !== null && this.former !== this.id) {
      this.forget();
      const jobs = this.kept.map(k => k.job);
      this.kept = [];
      this.told.clear();
      this.toldCount = 0;
      this.onTakeover(this.former, jobs);
    }
    for (const { job, resolve, reject, timer } of this.held.splice(0)) { // younger than what was kept
      clearTimeout(timer);
      this.submit(job).then(resolve, reject);
    }
  }

  /** The leader has sent events with these digests. */
  tell(digests) {
    if (this.leads || this.keep === 0) return;
    this.forget();
    for (const digest of digests) {
      const i = this.kept.findIndex(k => k.digest === digest);
      if (i >= 0) {
        this.kept.splice(i, 1);
      } else if (this.toldCount < MAX_KEPT) {
        this.toldCount++;
        const times = this.told.get(digest);
        if (times) times.push(Date.now());
        else this.told.set(digest, [ Date.now() ]);
      }
    }
  }

  wasTold(digest) {
    const times = this.told.get(digest);
    if (!times) return false;
    this.toldCount--;
    times.shift();
    if (times.length === 0) this.told.delete(digest);
    return true;
  }

  forget() {
    const oldest = Date.now() - this.keep;
    let n = 0;
    while (n < this.kept.length && this.kept[n].at < oldest) n++;
    this.kept.splice(0, n);
    for (const [ digest, times ] of this.told) { // in the order of their first times
      if (times[times.length - 1] >= oldest) break;
      this.toldCount -= times.length;
      this.told.delete(digest);
    }
  }

  close() {
    for (const { reject, timer } of this.held.splice(0)) {
      clearTimeout(timer);
      reject(new SseError('ERR_SSE_CLOSED', 'the application was closed before a worker was known to send it'));
    }
  }
}

/** Names an event without its id: README's Math.random() differs in each worker. */
function digestOf({ op, key, frame }) {
  const text = `${op}\0${key === undefined ? '' : key}\0${frame === undefined ? '' : frame.replace(ID_LINE, '$1')}`;
  return createHash('sha1').update(text).digest('base64').slice(0, 16);
}

module.exports = { Election, digestOf };
