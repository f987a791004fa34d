'use strict';

const EVERY = 5000;
const MAX_TEXT = 2000; // characters of one message
// Characters that end a line, control a terminal, or reorder the text around them. A key, an error's message or another server's
// answer may contain them.
const UNPRINTABLE = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g; // eslint-disable-line no-control-regex

/** Makes a text safe for a log: one line, escaped, and not too long. */
function printable(text, max = MAX_TEXT) {
  const whole = String(text);
  const shown = whole.length <= max ? whole : `${whole.slice(0, max)}… (${whole.length} characters)`;
  return shown.replace(UNPRINTABLE, c => (c === '\n' ? '\\n' : `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`));
}

/** Writes the first error of a kind to Egg's log at once, and the number of further ones every five seconds. */
class Reporter {
  constructor(logger) {
    this.logger = logger;
    this.kinds = new Map(); // kind -> { more, last }
    this.timer = null;
  }

  error(kind, text, level = 'error') {
    const message = printable(text);
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
    this.logger.info('[fanfare-egg] %s', printable(message));
  }

  /** @param {string} [kind] if it may come often: see error */
  warn(message, kind) {
    if (kind) this.error(kind, message, 'warn');
    else this.logger.warn('[fanfare-egg] %s', printable(message));
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

module.exports = { Reporter, printable };
