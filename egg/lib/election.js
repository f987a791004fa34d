'use strict';

const { createHash } = require('crypto');
const { SseError } = require('./errors');

const ID_LINE = /(^|\n)id: [^\n]*\n/;
const MAX_KEPT = 10000;
const SWEEP = 100; // ms between two checks of what nobody has reported; the event loop's lateness is measured by this timer
const ASK_AGAIN = 2000; // ms without an answer after which a question is repeated: the leader hangs or has died
const GRACE = 100; // ms for which the leader waits before it answers: it may be about to publish what is asked about

/**
 * Decides which worker sends an event that happens in every worker. The agent names one worker, the leader, and tells all
 * workers; it leads until it dies. The others keep what they leave to it, and the leader tells them what it has sent:
 *
 *     leader                             another worker
 *     submit: sends it                   submit: keeps it (kept)
 *     sent: tells its digests   ------>  matches it with what it kept: done, { sent: false }
 *     (never published it)               not told of it for `skew`: asks
 *     waits GRACE, then grants  ------>  sends it itself, late: { sent: true, late: true }
 *     (dies)                             the new leader sends what it kept; the others ask the new leader
 *
 * An event has a digest of its content without its id (egg-sse's README uses Math.random(), which differs in each worker). If it
 * came from a message to all workers it also has one of that message, since the content may then differ. Two events are the same
 * if they share a digest and were published within `skew` of each other, plus the lateness of the event loops. Times are those
 * of the host's monotonic clock, which its processes share.
 */
class Election {
  /**
   * @param {object} options
   * @param {string} options.id of this worker
   * @param {boolean} options.alone whether this is the only worker
   * @param {number} options.keep milliseconds for which the leader's reports are remembered; 0: what it does not send is lost
   * @param {number} options.skew milliseconds between the workers within which the same content is one event
   * @param {number} options.wait milliseconds to wait until a leader is known
   * @param {(job: object) => Promise} options.send publishes a job for all workers
   * @param {(question: object) => void} options.ask sends a question to the other workers
   * @param {(grant: object) => void} options.grant sends an answer to the other workers
   * @param {(from: string, jobs: object[]) => void} options.onTakeover when this worker takes over
   * @param {(jobs: object[], leader: string) => void} options.onLate when this worker sends what the leader never published
   * @param {(job: object, err: Error) => void} options.onLost when a job fails whose promise has been resolved already
   */
  constructor({ id, alone, keep, skew, wait, send, ask, grant, onTakeover, onLate, onLost }) {
    Object.assign(this, { id, alone, keep, skew, wait, send, ask, grant, onTakeover, onLate, onLost });
    this.leader = alone ? id : null;
    this.former = null; // the previous leader, whose work may be unfinished
    this.held = []; // { job, resolve, reject, timer } until a leader is known
    this.kept = new Matches(); // entries that were left to the leader
    this.told = new Matches(); // what the leader reported before it happened here
    this.own = new Matches(); // what this worker sends as the leader and has not reported yet
    this.serial = 0;
    this.lateness = 0; // ms by which the event loop was late recently
    this.timer = null;
  }

  get leads() {
    return this.leader === this.id;
  }

  /** Calls that wait for a leader, or for its report. */
  get waiting() {
    return this.held.length + this.kept.size;
  }

  /**
   * @param {object} job op, key, frame, digests (of digestsOf)
   * @param {boolean} [declared] the caller says that it happens in every worker: this worker sends it only after a takeover
   * @return {Promise<object>} the answer, or { sent: false, … } if another worker sends it
   */
  submit(job, declared = false, at = now()) {
    if (this.leads) return this.sendForAll(job, at);
    if (this.leader !== null) return this.leave(job, declared, at);
    return new Promise((resolve, reject) => {
      const entry = { job, declared, at, resolve, reject };
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

  sendForAll(job, at) {
    this.watch();
    job.at = at;
    const entry = this.own.add(job.digests, { at });
    const done = () => this.own.remove(entry);
    const promise = this.send(job);
    promise.then(done, done);
    return promise;
  }

  leave(job, declared, at) {
    const outcome = { sent: false, reason: `worker ${this.leader} sends it for all workers`, worker: this.leader };
    if (this.keep === 0) return Promise.resolve(outcome);
    this.watch();
    const told = this.told.match(job.digests, t => this.same(t.at, at, t.late));
    if (told) {
      this.told.remove(told);
      return Promise.resolve(outcome);
    }
    if (this.kept.size >= MAX_KEPT) {
      return Promise.reject(new SseError('ERR_SSE_QUEUE_FULL', `${MAX_KEPT} events wait to hear whether worker ${this.leader} has sent them: does it hang? It sends this one if it happens there, too`));
    }
    return new Promise((resolve, reject) => {
      this.kept.add(job.digests, { serial: ++this.serial, job, declared, at, outcome, asked: -Infinity, resolve, reject });
      if (declared) resolve(outcome); // kept for a takeover alone
    });
  }

  // same reports whether two times may be those of one event. The message distinguishes events of different messages.
  same(one, other, late = 0) {
    return Math.abs(one - other) <= this.skew + this.lateness + late;
  }

  /** The agent names a leader. */
  lead(leader) {
    if (this.alone || leader === this.leader) return;
    if (this.leader !== null) this.former = this.leader;
    this.leader = leader;
    if (leader === null) return;
    if (this.leads && this.former !== null && this.former !== this.id) {
      const entries = this.kept.clear();
      this.told.clear();
      const from = this.former;
      const jobs = entries.map(entry => entry.job);
      this.onTakeover(from, jobs);
      for (const { job, declared, at, resolve, reject } of entries) {
        this.submit(job, false, at).then(resolve, err => (declared ? this.onLost(job, err) : reject(err)));
      }
    } else {
      for (const entry of this.kept) entry.asked = -Infinity; // the new leader knows of no question
    }
    for (const { job, declared, at, resolve, reject, timer } of this.held.splice(0)) { // younger than what was kept
      clearTimeout(timer);
      this.submit(job, declared, at).then(resolve, reject);
    }
  }

  /** The report of what the leader has sent, for tell in the other workers. */
  account(jobs) {
    return jobs.map(({ digests, at }) => ({ digests, at, late: this.lateness }));
  }

  /** The leader has sent these events. */
  tell(events) {
    if (this.leads || this.keep === 0) return;
    this.watch();
    for (const { digests, at, late } of events) {
      const entry = this.kept.match(digests, k => this.same(k.at, at, late));
      if (entry) {
        this.kept.remove(entry);
        entry.resolve(entry.outcome);
      } else if (this.told.size < MAX_KEPT) {
        this.told.add(digests, { at, late });
      }
    }
  }

  // watch checks what is kept and told, as long as there is anything.
  watch() {
    if (this.timer || this.alone) return;
    let last = now();
    this.timer = setInterval(() => {
      const late = now() - last - SWEEP;
      last = now();
      this.lateness = Math.max(late, this.lateness * 0.9, 0);
      if (this.lateness < 1) this.lateness = 0;
      this.sweep();
      if (this.kept.size + this.told.size + this.own.size > 0 || this.lateness > 0) return;
      clearInterval(this.timer);
      this.timer = null;
    }, SWEEP);
    this.timer.unref();
  }

  sweep() {
    const time = now();
    for (const entry of this.told) {
      if (time - entry.at <= this.keep + this.lateness + entry.late) break;
      this.told.remove(entry);
    }
    const questions = [];
    for (const entry of this.kept) {
      const told = this.told.match(entry.job.digests, t => this.same(t.at, entry.at, t.late));
      if (told) {
        this.told.remove(told);
        this.kept.remove(entry);
        entry.resolve(entry.outcome);
      } else if (entry.declared) {
        if (time - entry.at > this.keep + this.lateness) this.kept.remove(entry);
      } else if (time - entry.at > this.skew + this.lateness && time - entry.asked > ASK_AGAIN) {
        entry.asked = time;
        questions.push({ serial: entry.serial, digests: entry.job.digests, at: entry.at });
        if (questions.length >= 1000) break; // the rest is asked in the next turn
      }
    }
    if (questions.length > 0 && !this.leads && this.leader !== null) this.ask({ from: this.id, questions });
  }

  /** Another worker asks whether this one, as the leader, publishes events that it has not reported. */
  asked({ from, questions }) {
    if (!this.leads || from === this.id) return;
    this.watch();
    const answer = open => {
      if (!this.leads) return;
      const own = q => this.own.match(q.digests, o => this.same(o.at, q.at));
      const granted = open.filter(q => !own(q)).map(q => q.serial);
      // What has been sent by now has already been reported: the other worker no longer keeps it.
      if (granted.length > 0) this.grant({ to: from, by: this.id, serials: granted });
      const unsure = open.filter(own); // on its way to Fanfare
      if (unsure.length > 0) setTimeout(() => answer(unsure), GRACE).unref();
    };
    setTimeout(() => setImmediate(() => answer(questions)), GRACE + this.lateness).unref();
  }

  /** The leader does not publish what this worker asked about. */
  granted({ to, by, serials }) {
    if (to !== this.id || by !== this.leader) return;
    const wanted = new Set(serials);
    this.sendLate([ ...this.kept ].filter(entry => wanted.has(entry.serial) && !entry.declared));
  }

  sendLate(entries) {
    if (entries.length === 0) return;
    for (const entry of entries) this.kept.remove(entry);
    this.onLate(entries.map(entry => entry.job), this.leader);
    for (const entry of entries) this.send(entry.job, true).then(answer => entry.resolve({ ...answer, late: true }), entry.reject);
  }

  /** The application closes: what is not reported within `timeout` is sent, and what waits for a leader is given up. */
  async close(timeout = 0) {
    for (const { reject, timer } of this.held.splice(0)) {
      clearTimeout(timer);
      reject(new SseError('ERR_SSE_CLOSED', 'the application was closed before a worker was known to send it'));
    }
    const undeclared = () => [ ...this.kept ].filter(entry => !entry.declared);
    for (const end = now() + timeout; now() < end && undeclared().length > 0;) {
      await new Promise(resolve => setTimeout(resolve, 10));
    }
    this.sendLate(undeclared());
    clearInterval(this.timer);
    this.kept.clear();
  }
}

/** Entries in the order of arrival. They are found by any of their digests, the oldest match first. */
class Matches {
  constructor() {
    this.entries = new Set();
    this.byDigest = new Map(); // digest -> Set of entries
  }

  get size() {
    return this.entries.size;
  }

  [Symbol.iterator]() {
    return this.entries.values();
  }

  add(digests, entry) {
    entry.digests = digests;
    this.entries.add(entry);
    for (const digest of digests) {
      const set = this.byDigest.get(digest);
      if (set) set.add(entry);
      else this.byDigest.set(digest, new Set([ entry ]));
    }
    return entry;
  }

  match(digests, fits) {
    for (const digest of digests) {
      const set = this.byDigest.get(digest);
      // The same content may wait thousands of times: only the first ones are checked.
      let looked = 0;
      if (set) {
        for (const entry of set) {
          if (fits(entry)) return entry;
          if (++looked >= 100) break;
        }
      }
    }
    return null;
  }

  remove(entry) {
    if (!this.entries.delete(entry)) return;
    for (const digest of entry.digests) {
      const set = this.byDigest.get(digest);
      if (!set) continue;
      set.delete(entry);
      if (set.size === 0) this.byDigest.delete(digest);
    }
  }

  clear() {
    const all = [ ...this.entries ];
    this.entries.clear();
    this.byDigest.clear();
    return all;
  }
}

/** Milliseconds of the host's monotonic clock. */
function now() {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

/**
 * Returns the digests of an event: of its content without its id, and of the message to all workers that led to it, if there is one.
 * @param {object} job op, key, frame
 * @param {(op: string, key: string) => string} [place] names the place of the event in what the message led to
 */
function digestsOf({ op, key = '', frame = '' }, place) {
  const content = hash(`${op}\0${key}\0${frame.replace(ID_LINE, '$1')}`);
  return place ? [ hash(`message\0${op}\0${key}\0${place(op, key)}`), content ] : [ content ];
}

function hash(text) {
  return createHash('sha1').update(text).digest('base64').slice(0, 16);
}

module.exports = { Election, digestsOf, now };
