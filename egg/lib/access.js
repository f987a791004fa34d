'use strict';

const { refusal } = require('./encode');
const { SseError } = require('./errors');

const DELAYS = [ 50, 250, 1000 ]; // ms before a request is repeated: a Fanfare that is started again is back within a second
const LONGEST = 3000; // ms after which none is repeated
const TTL = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/;
const DEFAULT_TTL = 3600 * 1000; // ms, Fanfare's
const STREAM_TTL = '24h'; // the longest that Fanfare's tokens may live
const REUSE = 3600 * 1000; // ms for which the token of a proxied stream is used again
const MAX_REUSED = 1000;

/** Who may subscribe, and who has: requests to Fanfare's admin listener. The workers and the agent have one each. */
class Access {
  /**
   * @param {object} settings from settingsOf
   * @param {AdminClient} client
   */
  constructor(settings, client) {
    this.client = client;
    this.dryRun = settings.server.dryRun;
    this.reused = new Map(); // grant as text -> { token, made }
  }

  /**
   * Makes a token with which a page may subscribe to keys.
   * @param {string | string[]} keys keys, or patterns such as `user.42.*`
   * @param {{ subject?: string, ttl?: number | string }} [options]
   * @return {Promise<{ token: string, expires: Date }>}
   */
  async token(keys, options = {}) {
    const body = tokenRequest(keys, options);
    if (this.dryRun) return { token: 'dry-run', expires: new Date(Date.now() + DEFAULT_TTL) };
    const { token, expires } = await this.ask('POST', '/token', body);
    return { token, expires: new Date(expires) };
  }

  /**
   * Ends the streams of a subject, on this Fanfare.
   * @return {Promise<number>} how many there were
   */
  async disconnect(subject) {
    const name = subjectOf(subject);
    if (!name) throw refusal('subject', 'is missing: name whose streams are to end');
    if (this.dryRun) return 0;
    return (await this.ask('POST', `/disconnect?subject=${encodeURIComponent(name)}`)).disconnected;
  }

  /**
   * Who has a stream on a key.
   * @return {Promise<{ subscribers: number, subjects: { subject: string, streams: number }[] }>}
   */
  async presence(key) {
    const name = textOf(key, 'key');
    if (this.dryRun) return { subscribers: 0, subjects: [] };
    return this.ask('GET', `/presence?key=${encodeURIComponent(name)}`);
  }

  /**
   * The token with which a worker opens a stream that the application has allowed. Who subscribes has been decided each time
   * before, so the token can be used again for another stream with the same grant.
   * @param {object} grant keys, subject and ttl, as the application gave them
   * @param {boolean} fresh whether the one of before was not accepted
   */
  async streamToken({ keys = [ '**' ], subject, ttl }, fresh) {
    const name = JSON.stringify([ keys, subject ]);
    const known = this.reused.get(name);
    if (known && ttl === undefined && !fresh && Date.now() - known.made < REUSE) return known.token;
    const { token } = await this.token(keys, { subject, ttl: ttl === undefined ? STREAM_TTL : ttl });
    if (ttl === undefined) {
      if (this.reused.size >= MAX_REUSED) this.reused.clear();
      this.reused.set(name, { token, made: Date.now() });
    }
    return token;
  }

  // ask repeats a request that got no answer: these may happen twice.
  async ask(method, path, body) {
    const bytes = body && Buffer.from(JSON.stringify(body));
    const began = Date.now();
    for (let i = 0; ; i++) {
      try {
        return JSON.parse(await this.client.request(method, path, bytes, 'application/json'));
      } catch (err) {
        if (err.status !== undefined) throw refused(err);
        if (i === DELAYS.length || Date.now() - began > LONGEST) throw new SseError('ERR_SSE_AWAY', err.message, { cause: err });
        await new Promise(resolve => setTimeout(resolve, DELAYS[i]));
      }
    }
  }
}

function refused(err) {
  const text = err.status === 404 ? `${err.message} (of a Fanfare that the agent starts: set sse.server.authorize)` : err.message;
  return new SseError('ERR_SSE_REFUSED', text, { cause: err, status: err.status, field: err.field });
}

function tokenRequest(keys, options) {
  const list = Array.isArray(keys) ? keys : [ keys ];
  if (list.length === 0) throw refusal('keys', 'is empty: name the keys that the token is for');
  const { subject, ttl } = options || {};
  const body = { keys: list.map(key => textOf(key, 'keys')) };
  if (subject !== undefined && subject !== null) body.subject = subjectOf(subject);
  if (ttl !== undefined) body.ttl = durationOf(ttl);
  return body;
}

function textOf(key, field) {
  if (typeof key === 'string' && key !== '' || typeof key === 'number') return String(key);
  throw refusal(field, 'must have a text or a number for each key');
}

/** The name of a subject. */
function subjectOf(subject) {
  if (typeof subject === 'string' || typeof subject === 'number') return String(subject);
  throw refusal('subject', 'must be a text or a number');
}

/** A time as Fanfare reads it. */
function durationOf(ttl, field = 'ttl') {
  if (typeof ttl === 'number' && Number.isFinite(ttl) && ttl > 0) return `${Math.ceil(ttl)}ms`;
  if (typeof ttl === 'string' && TTL.test(ttl)) return ttl;
  throw refusal(field, "must be milliseconds, or a time such as '90s', '15m' or '1h30m'");
}

module.exports = { Access, subjectOf, durationOf };
