'use strict';

const http = require('http');
const https = require('https');

// Fanfare closes a connection that is idle for 60 s. This side closes it earlier, so no request is written to a connection that
// is being closed.
const IDLE = 30000;
const HEALTH_TIMEOUT = 2000;
const MAX_ANSWER = 64 * 1024 * 1024;

/**
 * What went wrong with a request. `sent` is false if Fanfare cannot have acted on it.
 */
class RequestError extends Error {
  constructor(message, { sent, cause, status, field }) {
    super(message, { cause });
    this.sent = sent;
    this.status = status;
    this.field = field;
  }
}

/** Requests to Fanfare's admin listener over kept connections. */
class AdminClient {
  /**
   * @param {object} options
   * @param {string} [options.url] the origin of the admin listener; it can be set later
   * @param {string} options.token its publishToken, or ''
   * @param {number} options.timeout milliseconds until an answer is given up
   */
  constructor({ url, token, timeout }) {
    this.token = token;
    this.timeout = timeout;
    this.url = null;
    this.agent = null;
    this.open = new Set(); // requests without an answer
    this.stores = null; // see durable; null: not known
    if (url) this.use(url);
  }

  /** Uses this address and token from now on. */
  use(url, token = this.token) {
    this.token = token;
    if (this.url && this.url.href === new URL(url).href) return;
    this.close();
    this.stores = null;
    this.url = new URL(url);
    this.module = this.url.protocol === 'https:' ? https : http;
    this.agent = new this.module.Agent({ keepAlive: true, maxSockets: 4, timeout: IDLE });
  }

  /** The value of Authorization, or undefined. */
  get authorization() {
    return this.token ? `Bearer ${this.token}` : undefined;
  }

  /**
   * Whether Fanfare stores events in a backplane, which it says in its health. Only then it recognizes each repetition, whatever
   * the number of events: without one it keeps Idempotency-Keys in memory, and there is a limit.
   * @return {Promise<boolean>} false also if it is not known
   */
  async durable() {
    if (this.stores === null) {
      try {
        this.stores = /^broker: /m.test(await this.request('GET', '/healthz', undefined, undefined, Math.min(this.timeout, HEALTH_TIMEOUT)));
      } catch {
        return false; // the batch that follows meets the same problem, and reports it
      }
    }
    return this.stores;
  }

  /** What durable has found is to be asked again: Fanfare was away, and may come back with other settings. */
  forget() {
    this.stores = null;
  }

  /**
   * Runs a batch of commands.
   * @param {string[]} lines JSON texts
   * @return {Promise<object[]>} an answer for each
   */
  async batch(lines) {
    const body = Buffer.from(lines.join('\n'));
    const text = await this.request('POST', '/batch', body, 'application/x-ndjson');
    let answers;
    try {
      answers = text.split('\n').filter(Boolean).map(line => JSON.parse(line));
    } catch (err) {
      throw new RequestError('the answer is no NDJSON: is server.admin the address of Fanfare?', { sent: true, cause: err });
    }
    if (answers.length !== lines.length) {
      throw new RequestError(`${answers.length} answers to ${lines.length} commands: is server.admin the address of Fanfare?`, { sent: true });
    }
    return answers;
  }

  /**
   * One request, with a status of 200.
   * @return {Promise<string>} the body
   */
  request(method, path, body, type, timeout = this.timeout) {
    if (!this.url) return Promise.reject(new RequestError('the address of Fanfare is not known yet', { sent: false }));
    return new Promise((resolve, reject) => {
      let connected = false;
      const headers = {};
      if (body) Object.assign(headers, { 'Content-Type': type, 'Content-Length': body.length });
      if (this.authorization) headers.Authorization = this.authorization;
      const req = this.module.request(new URL(path, this.url), { method, headers, agent: this.agent });
      this.open.add(req);
      req.on('close', () => this.open.delete(req));
      const timer = setTimeout(() => req.destroy(new Error(`no answer in ${timeout} ms (server.timeout)`)), timeout);
      const fail = err => {
        clearTimeout(timer);
        const at = `${this.url.origin}${path}`;
        reject(err instanceof RequestError ? err : new RequestError(`${at}: ${err.message || err.code}`, { sent: connected, cause: err }));
      };
      req.on('socket', socket => {
        if (req.reusedSocket || !socket.connecting) connected = true;
        else socket.once(this.module === https ? 'secureConnect' : 'connect', () => { connected = true; });
      });
      req.on('error', fail);
      req.on('response', res => {
        const chunks = [];
        let size = 0;
        res.on('data', chunk => {
          chunks.push(chunk);
          if ((size += chunk.length) > MAX_ANSWER) req.destroy(new Error(`the answer has more than ${MAX_ANSWER} bytes`));
        });
        res.on('error', fail);
        res.on('close', () => { if (!res.complete) fail(new Error('the connection broke within the answer')); });
        res.on('end', () => {
          clearTimeout(timer);
          const text = Buffer.concat(chunks).toString();
          if (res.statusCode === 200) resolve(text);
          else fail(this.refused(res.statusCode, text, path));
        });
      });
      req.end(body);
    });
  }

  refused(status, text, path) {
    let answer = {};
    try {
      answer = JSON.parse(text);
    } catch {
      // It is not Fanfare's answer: use the status.
    }
    let reason = answer.error || http.STATUS_CODES[status] || 'no reason given';
    if (status === 401) reason = 'the token is wrong: set sse.server.token to the publishToken of Fanfare';
    // 408: it did not arrive completely; 413: it was refused; 502, 504: a proxy does not know; "unconfirmed": Fanfare does not.
    return new RequestError(`${this.url.origin}${path}: ${status} ${reason}`, { sent: status === 502 || status === 504 || status === 500 || answer.code === 'unconfirmed', status, field: answer.field });
  }

  /** Closes all connections: requests under way fail. */
  close() {
    for (const req of this.open) req.destroy(new Error('the connection was closed here'));
    if (this.agent) this.agent.destroy();
  }
}

module.exports = { AdminClient, RequestError };
