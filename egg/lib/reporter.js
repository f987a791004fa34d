'use strict';

const EVERY = 5000;

/** Writes to Egg's log the first error of a kind at once, and how many more there were every five seconds. */
class Reporter {
  constructor(logger) {
    this.logger = logger;
    this.kinds = new Map(); // kind -> { more, last }
    this.timer = null;
  }

  error(kind, message, level = 'error') {
    const known = this.kinds.get(kind);
    if (known) {
      known.more++;
      known.last = message;
      return;
    }
    this.kinds.set(kind, { more: 0, last: message, level });
    this.logger[level]('[fanfare-egg] %s', message);
    if (!this.timer) {
      this.timer = setInterval(() => this.sum(), EVERY);
      this.timer.unref();
    }
  }

  info(message) {
    this.logger.info('[fanfare-egg] %s', message);
  }

  /** @param {string} [kind] if it may come often: see error */
  warn(message, kind) {
    if (kind) this.error(kind, message, 'warn');
    else this.logger.warn('[fanfare-egg] %s', message);
  }

  sum() {
    for (const [ kind, known ] of this.kinds) {
      if (known.more === 0) {
        this.kinds.delete(kind);
        continue;
      }
      this.logger[known.level]('[fanfare-egg] %d more of these (%s), the last: %s', known.more, kind, known.last);
      known.more = 0;
    }
    if (this.kinds.size === 0) {
      clearInterval(this.timer);
      this.timer = null;
    }
  }

  close() {
    this.sum();
    clearInterval(this.timer);
    this.timer = null;
  }
}

module.exports = { Reporter };
