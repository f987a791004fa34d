'use strict';

const ALL = Symbol('countAll');

/**
 * Numbers of subscribers without waiting. A key is watched from the first call for it, and refreshed until nobody has asked for
 * it for a while. The answers to publishes update the numbers, too.
 */
class Counts {
  /**
   * @param {object} options
   * @param {(lines: string[]) => Promise<object[]>} options.ask runs commands
   * @param {number} options.refresh milliseconds between two refreshes
   * @param {number} options.keep milliseconds for which a key is refreshed after it was asked for
   * @param {number} options.maxKeys how many keys are watched
   * @param {(key?: string) => number} options.guess a number for a key that is asked for the first time
   */
  constructor({ ask, refresh, keep, maxKeys, guess }) {
    Object.assign(this, { ask, refresh, keep, maxKeys, guess });
    this.watched = new Map(); // key or ALL -> { count, asked }, least recently asked first
    this.timer = null;
    this.pending = new Set(); // keys to ask for in the next turn
    this.closed = false;
  }

  /** @param {string} [key] all keys if it is absent */
  get(key) {
    const name = key === undefined ? ALL : key;
    let entry = this.watched.get(name);
    if (entry) {
      this.watched.delete(name);
    } else {
      entry = { count: this.guess(key), asked: 0 };
      if (this.watched.size >= this.maxKeys) this.watched.delete(this.watched.keys().next().value);
      this.soon(name);
    }
    entry.asked = Date.now();
    this.watched.set(name, entry);
    if (!this.timer && !this.closed) {
      this.timer = setInterval(() => this.refreshAll(), this.refresh);
      this.timer.unref();
    }
    return key === undefined ? Math.max(entry.count, this.sum()) : entry.count;
  }

  // sum adds the known numbers of single keys: the number for all keys may be older than theirs, or a guess.
  sum() {
    let sum = 0;
    for (const [ name, { count } ] of this.watched) if (name !== ALL) sum += count;
    return sum;
  }

  /** Takes a number from another source. */
  note(key, count) {
    const entry = this.watched.get(key === undefined ? ALL : key);
    if (entry) entry.count = count;
  }

  soon(name) {
    if (this.closed) return;
    if (this.pending.size === 0) {
      setImmediate(() => {
        const names = [ ...this.pending ];
        this.pending.clear();
        this.load(names);
      });
    }
    this.pending.add(name);
  }

  refreshAll() {
    const oldest = Date.now() - this.keep;
    for (const [ name, entry ] of this.watched) {
      if (entry.asked >= oldest) break;
      this.watched.delete(name);
    }
    if (this.watched.size > 0) {
      this.load([ ...this.watched.keys() ]);
    } else {
      clearInterval(this.timer);
      this.timer = null;
    }
  }

  async load(names) {
    if (this.loading || this.closed) return; // the next refresh will do
    this.loading = true;
    let counts;
    try {
      counts = await this.ask(names.map(commandFor));
    } catch (err) {
      // If no server is there, nobody is subscribed; after other errors the last number stands.
      if (err.sent === false && err.status === undefined) counts = names.map(() => ({ count: 0 }));
      else counts = [];
    }
    this.loading = false;
    counts.forEach((answer, i) => {
      const entry = this.watched.get(names[i]);
      if (entry && typeof answer.count === 'number') entry.count = answer.count;
    });
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
    this.watched.clear();
  }
}

function commandFor(name) {
  return JSON.stringify(name === ALL ? { op: 'countAll' } : { op: 'count', key: name });
}

module.exports = { Counts };
