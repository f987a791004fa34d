'use strict';

const http = require('http');
const https = require('https');
const { stringify } = require('querystring');
const { PassThrough } = require('stream');
const { checkStream } = require('./stream_check');
const { keysOf } = require('./authorization');

// Request fields that Fanfare needs from the client.
const FORWARDED = [ 'accept', 'last-event-id', 'user-agent' ];
// And those by which it decides who may subscribe, if that is for it to decide.
const CREDENTIALS = [ 'authorization', 'cookie', 'origin', 'sec-fetch-site' ];
const CHECK_AGAIN = 2000; // ms between two checks that do not succeed
// Response fields that belong to one connection or that the application sets.
const DROPPED = new Set([ 'connection', 'keep-alive', 'transfer-encoding', 'content-length', 'date', 'server' ]);

/**
 * The handler of `path` on the application's own port. It runs after the application's middlewares, as in egg-sse, so they
 * still decide who may subscribe.
 * @param {Sse} sse
 * @param {Reporter} reporter
 * @param {Authorization} authorization
 */
function streamRoute(sse, reporter, authorization) {
  const { settings } = sse;
  const { server } = settings;
  const agents = { 'http:': new http.Agent({ maxSockets: Infinity }), 'https:': new https.Agent({ maxSockets: Infinity }) };
  const open = new Set(); // requests to Fanfare
  let checked = null; // { base, at, result: Promise }, the last check of whose streams these are

  // check reports whether the streams at an address are Fanfare's. A success is kept until something contradicts it.
  function check(base) {
    if (!checked || checked.base !== base || !checked.ok && Date.now() - checked.at > CHECK_AGAIN) {
      const now = checked = { base, at: Date.now(), ok: false };
      now.result = checkStream({ stream: base, path: settings.path, client: sse.client, guarded: server.authorize !== false });
      now.result.then(({ ok }) => { now.ok = ok; });
    }
    return checked.result;
  }

  // answerOf resolves with Fanfare's response once its head has arrived, or with the reason why there is none. A response that
  // is not a stream is passed on only if the check says that it is Fanfare's: another program's answer is not for the browser.
  // grant is what the application allows, or null if Fanfare decides.
  async function answerOf(ctx, grant) {
    const base = sse.streamUrl;
    if (server.dryRun) return new Error('server.dryRun is set');
    if (!base) return new Error('Fanfare has not been started yet');
    const before = await check(base);
    if (before.problem) return new Error(before.problem);
    if (ctx.res.destroyed) return new Error('the client has gone');
    const answer = await connectAllowed(ctx, target(ctx, base, !grant), grant).catch(err => err);
    if (answer instanceof Error) {
      checked = null; // another program may come there
      return answer;
    }
    const { req, res } = answer;
    const isStream = res.statusCode === 200 && /^text\/event-stream/.test(res.headers['content-type']);
    if (isStream && !before.refused) return answer;
    if (checked && (checked.ok || before.refused)) checked = null;
    const again = await check(base);
    if ((again.ok || isStream && !again.problem) && !ctx.res.destroyed) return answer;
    req.destroy();
    return new Error(again.problem || `${base} answers ${res.statusCode}, and it is not known whether it is Fanfare: ${again.unknown}`);
  }

  // target is the stream's address for a browser's request. It is written anew from what the middlewares have seen: Fanfare must
  // not read another key from it.
  function target(ctx, base, withToken) {
    const query = { ...ctx.queries, connectKey: keysOf(ctx, settings) };
    if (!withToken) delete query.token;
    return new URL(`${settings.path}?${stringify(query)}`, base);
  }

  function redirect(ctx) {
    ctx.set(settings.headers);
    ctx.status = 307; // keeps the method, and is not cached
    ctx.set('Location', target(ctx, server.publicStream, true).href);
    ctx.body = '';
  }

  function deny(ctx, status) {
    ctx.set(settings.headers);
    ctx.set('Cache-Control', 'no-store');
    ctx.status = status;
    ctx.body = { error: 'the application does not allow this', code: 'denied' }; // as Fanfare says it
  }

  // connectAllowed opens a stream that the application has allowed, by a token of the worker's.
  async function connectAllowed(ctx, url, grant) {
    if (!grant) return connect(ctx, url, server.authorize === false ? [] : CREDENTIALS);
    for (const fresh of [ false, true ]) {
      const answer = await connect(ctx, url, [], `Bearer ${await sse.access.streamToken(grant, fresh)}`);
      if (answer.res.statusCode !== 401) return answer;
      answer.req.destroy(); // it has another secret now
    }
    throw new Error(`${url.origin} does not accept the token that ${sse.client.url.origin} has made`);
  }

  async function proxy(ctx, grant) {
    const upstream = await answerOf(ctx, grant);
    if (upstream instanceof Error) {
      away(ctx, upstream);
      return;
    }
    const { req, res } = upstream;
    ctx.status = res.statusCode;
    for (const [ name, value ] of Object.entries(res.headers)) if (!DROPPED.has(name)) ctx.set(name, value);
    if (res.statusCode === 200) ctx.set(settings.headers);
    ctx.compress = false; // compression would hold events back
    if (ctx.method === 'HEAD' || res.statusCode === 204) {
      res.resume();
      return;
    }
    pass(ctx, req, res);
  }

  // connect resolves with Fanfare's response once its head has arrived.
  function connect(ctx, url, credentials, authorization) {
    return new Promise((resolve, reject) => {
      const headers = { 'X-Forwarded-For': ctx.ips && ctx.ips.length > 0 ? ctx.ips.join(', ') : ctx.ip };
      if (authorization) headers.authorization = authorization;
      for (const name of [ ...FORWARDED, ...credentials ]) if (ctx.headers[name] !== undefined) headers[name] = ctx.headers[name];
      const req = (url.protocol === 'https:' ? https : http).request(url, { method: ctx.method, headers, agent: agents[url.protocol] });
      open.add(req);
      req.setNoDelay(true);
      req.setSocketKeepAlive(true, 30000); // notices a host that has gone silently, so that the browser reconnects
      const gone = () => req.destroy(new Error('the client has gone'));
      ctx.res.once('close', gone);
      const late = setTimeout(() => req.destroy(new Error(`no answer in ${server.timeout} ms (server.timeout)`)), server.timeout);
      req.on('response', res => { clearTimeout(late); resolve({ req, res }); });
      req.on('error', err => { clearTimeout(late); reject(err); });
      req.on('close', () => { open.delete(req); ctx.res.off('close', gone); });
      req.end();
    });
  }

  // pass copies a stream's bytes. The head is sent when Koa pipes the body, so onopen in a page does not wait for an event.
  function pass(ctx, req, res) {
    const keys = [].concat(ctx.queries && ctx.queries.connectKey || ctx.query.connectKey || settings.cacheKey);
    const key = keys[0] || settings.cacheKey;
    sse.countStream(key, 1);
    const { socket } = ctx.req;
    socket.setTimeout(0);
    socket.setNoDelay(true);
    socket.setKeepAlive(true);
    // Koa logs errors of a body; this PassThrough never has one.
    const body = new PassThrough();
    res.on('error', () => {});
    res.pipe(body);
    res.once('close', () => {
      sse.countStream(key, -1);
      if (!res.complete) ctx.res.destroy(); // Fanfare has gone; ending the response would mean that the stream is complete
    });
    body.once('close', () => req.destroy());
    ctx.res.once('pipe', () => ctx.res.flushHeaders());
    const { headers } = res;
    ctx.body = body; // sets a type if there was none
    ctx.set('Content-Type', headers['content-type'] || 'text/event-stream');
  }

  // away makes an EventSource reconnect later: after a status other than 200 it would give up for good.
  function away(ctx, err) {
    if (err && !ctx.res.destroyed && !server.dryRun) reporter.error('stream', `a stream can't be opened: ${err.message}`);
    ctx.set(settings.headers);
    ctx.set('Content-Type', 'text/event-stream');
    ctx.status = 200;
    ctx.body = ctx.method === 'HEAD' ? null : `: the stream server is away\nretry: ${1000 + Math.floor(Math.random() * 4000)}\n\n`;
  }

  async function handler(ctx, next) {
    if (await authorization.handle(ctx)) return;
    if (server.mode === 'off') {
      await next();
      return;
    }
    let grant = null;
    if (authorization.asks && !authorization.byToken(ctx)) {
      let verdict;
      try {
        verdict = await authorization.decide(ctx);
      } catch (err) {
        authorization.report(err);
        away(ctx, null);
        return;
      }
      if (!verdict.allowed) {
        deny(ctx, verdict.status);
        return;
      }
      ({ grant } = verdict);
    }
    if (server.mode === 'redirect') redirect(ctx);
    else await proxy(ctx, grant);
  }

  return {
    handler,
    close() {
      for (const req of open) req.destroy();
      for (const agent of Object.values(agents)) agent.destroy();
    },
  };
}

module.exports = { streamRoute };
