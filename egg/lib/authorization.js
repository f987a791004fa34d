'use strict';

const { createHash, timingSafeEqual } = require('crypto');
const { durationOf, subjectOf } = require('./access');

// Fanfare's question has this parameter, with a secret as its value.
const MARK = 'sse-authorize';
// A proxy in front, which passes streams to Fanfare itself, asks by this header.
const ASKED = 'X-Sse-Authorize';
// Node.js reads no more parameters than this. Fanfare would read the others, too.
const MAX_PARAMETERS = 1000;
const OWN_TOKEN = 'fanfare+jwt'; // the type of Fanfare's tokens
const MEMBERS = [ 'keys', 'subject', 'ttl', 'cache' ];

const DENIED = status => ({ allowed: false, status });
const NOT_NOW = DENIED(503); // Fanfare then tells the browser to come back

/**
 * Who may subscribe: the application's middlewares, and then sse.server.authorize. The same code decides about streams that
 * the workers proxy, and about those of browsers that connect to Fanfare directly: Fanfare asks the application about each of
 * these, by a request to the stream's own path with the browser's cookies.
 */
class Authorization {
  /**
   * @param {object} settings from settingsOf
   * @param {Reporter} reporter
   */
  constructor(settings, reporter) {
    Object.assign(this, { settings, reporter });
    this.authorize = settings.server.authorize;
    this.secret = settings.server.callbackSecret; // or what the agent says
    this.questions = new WeakMap(); // ctx -> { detailed, verdict }
    this.middleware = this.middleware.bind(this);
  }

  /** Whether Fanfare asks the application. */
  get asks() {
    return this.authorize === true || typeof this.authorize === 'function';
  }

  /**
   * The outermost middleware. It answers questions after all others have run, so that only a request that has reached the
   * stream's handler is allowed: a middleware may refuse with a redirect, or with status 200 and a page or a code of its own.
   */
  async middleware(ctx, next) {
    const { path } = this.settings;
    if (ctx.path !== path && ctx.path !== `${path}/`) return next();
    const question = this.questionOf(ctx);
    if (!question) return next();
    this.questions.set(ctx, question);
    if (!question.verdict) {
      let status;
      try {
        await next();
        status = ctx.status;
      } catch (err) {
        status = statusOf(err);
        if (status === undefined) throw err;
      }
      if (!question.verdict) question.verdict = refusalOf(status);
      else if (status === 401 || status === 403) question.verdict = DENIED(status); // by a middleware, on the way back
    }
    this.answer(ctx, question);
  }

  // questionOf recognizes a question. The application's middlewares see the URL that the browser asked for.
  questionOf(ctx) {
    const parameters = ctx.querystring.split('&');
    const mark = parameters.findIndex(text => text.startsWith(`${MARK}=`));
    const tooMany = parameters.length > MAX_PARAMETERS;
    if (mark < 0) return ctx.get(ASKED) ? { detailed: false, verdict: tooMany ? DENIED(403) : null } : null;
    const [ text ] = parameters.splice(mark, 1);
    if (!this.asks || !this.secret || !equal(text.slice(MARK.length + 1), this.secret)) {
      this.reporter.warn(`a question of Fanfare is not answered: ${this.asks ? `its ${MARK} in authCallback is not sse.server.callbackSecret` : 'sse.server.authorize is not set'}`, 'authorize');
      return { detailed: false, verdict: DENIED(400) };
    }
    const url = parameters.length > 0 ? `${ctx.path}?${parameters.join('&')}` : ctx.path;
    ctx.req.url = ctx.request.originalUrl = ctx.originalUrl = url;
    return { detailed: true, verdict: tooMany ? NOT_NOW : null };
  }

  // answer tells more than yes or no only to Fanfare.
  answer(ctx, { detailed, verdict }) {
    ctx.body = null;
    for (const name of [ 'Location', 'WWW-Authenticate' ]) ctx.remove(name);
    ctx.set('Cache-Control', 'no-store');
    ctx.status = verdict.allowed ? 204 : verdict.status;
    if (!verdict.allowed || !detailed || Object.keys(verdict.grant).length === 0) return;
    ctx.status = 200;
    ctx.body = verdict.grant;
  }

  /** The stream's handler: whether the request is a question, which it then answers. */
  async handle(ctx) {
    const question = this.questions.get(ctx);
    if (!question) return false;
    question.verdict = await this.decide(ctx).catch(err => {
      this.report(err);
      return NOT_NOW;
    });
    ctx.body = null;
    ctx.status = question.verdict.allowed ? 204 : question.verdict.status;
    return true;
  }

  /**
   * Decides about a request that the middlewares have let through.
   * @return {Promise<{ allowed: true, grant: object } | { allowed: false, status: number }>}
   * @throws what authorize throws, apart from errors with status 401 or 403: nobody can decide now
   */
  async decide(ctx) {
    if (typeof this.authorize !== 'function') return { allowed: true, grant: {} };
    let result;
    try {
      result = await this.authorize.call(ctx, ctx, keysOf(ctx, this.settings));
    } catch (err) {
      if (err && (err.status === 401 || err.status === 403)) return DENIED(err.status);
      throw err;
    }
    if (result === true) return { allowed: true, grant: {} };
    if (result === false) return DENIED(403);
    return { allowed: true, grant: grantOf(result) };
  }

  /** Logs why nobody can decide now. */
  report(err) {
    this.reporter.error('authorize', `sse.server.authorize failed, and the client is told to come back: ${err && err.stack || err}`);
  }

  /** Whether Fanfare decides about a request by what it brings: the application is not asked then, as with direct streams. */
  byToken(ctx) {
    return this.authorize === 'tokens' || this.asks && tokensOf(ctx).some(isOwn);
  }
}

/** The keys of a request. */
function keysOf(ctx, settings) {
  const keys = [ ...new Set((ctx.queries.connectKey || []).filter(Boolean)) ];
  return keys.length > 0 ? keys : [ settings.cacheKey ];
}

// refusalOf interprets a response of the middlewares that did not let a question through to its handler.
function refusalOf(status) {
  if (status === 401 || status === 403) return DENIED(status);
  return status >= 500 || status === 408 || status === 429 ? NOT_NOW : DENIED(403);
}

// statusOf is the status of an error that a middleware threw on purpose.
function statusOf(err) {
  return err && err.status >= 400 && err.status < 500 ? err.status : undefined;
}

// grantOf checks what authorize returned. A mistake must not allow anything.
function grantOf(result) {
  const names = result !== null && typeof result === 'object' && !Array.isArray(result) ? Object.keys(result) : null;
  const unknown = names && names.find(name => !MEMBERS.includes(name));
  if (!names || unknown !== undefined) {
    throw new TypeError(`sse.server.authorize must return true, false, or an object with ${MEMBERS.join(', ')}; it returned ${names ? `the member ${unknown}` : typeof result}`);
  }
  const grant = {};
  const { keys, subject, ttl, cache } = result;
  if (keys !== undefined) {
    if (!Array.isArray(keys) || !keys.every(key => typeof key === 'string')) throw new TypeError('sse.server.authorize: keys must be a list of texts');
    grant.keys = keys;
  }
  if (subject !== undefined && subject !== null) grant.subject = subjectOf(subject);
  if (ttl !== undefined) grant.ttl = durationOf(ttl);
  if (cache !== undefined) grant.cache = durationOf(cache, 'cache');
  return grant;
}

// tokensOf returns what Fanfare would take for tokens, in its order.
function tokensOf(ctx) {
  const [ , bearer ] = /^Bearer +(\S+)/i.exec(ctx.get('Authorization')) || [];
  const cookie = /(?:^|;\s*)fanfare=([^;]*)/.exec(ctx.get('Cookie')) || [];
  return [ bearer, ...(ctx.queries.token || []), cookie[1] ].filter(Boolean);
}

function isOwn(token) {
  try {
    return JSON.parse(Buffer.from(token.split('.')[0], 'base64url').toString()).typ === OWN_TOKEN;
  } catch {
    return false;
  }
}

function equal(a, b) {
  const hash = text => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(a), hash(b));
}

/**
 * The URL at which Fanfare asks the application.
 * @param {object} settings from settingsOf
 * @param {object} config the application's
 * @param {object} options those of the cluster
 * @param {string} secret
 * @throws {TypeError} if it is not known
 */
function callbackUrl(settings, config, options, secret) {
  const origin = settings.server.callback || originOf(config.cluster || {}, options || {});
  return `${origin.replace(/\/$/, '')}${settings.path}?${MARK}=${encodeURIComponent(secret)}`;
}

function originOf({ listen = {}, https = {} }, options) {
  const { key, cert } = { ...https, ...options.https };
  if (key && cert || listen.path) {
    throw new TypeError(`config.sse.server.callback: is needed, since the application listens ${listen.path ? 'on a Unix socket' : 'for https, whose certificate has a name'}: set the origin at which Fanfare reaches it`);
  }
  const [ port = options.port || listen.port || 7001 ] = options.ports || [];
  const { hostname = '' } = listen;
  if (hostname === '' || hostname === '0.0.0.0' || hostname === '::') return `http://127.0.0.1:${port}`;
  return `http://${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`;
}

module.exports = { Authorization, callbackUrl, keysOf };
