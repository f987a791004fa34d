'use strict';

const http = require('http');
const https = require('https');
const { randomBytes } = require('crypto');

const PATIENCE = 3000; // ms for the check as a whole
const LOOK_AGAIN = 20; // ms between two counts: the subscription may begin shortly after its head
const MAX_REFUSAL = 1000; // characters of an answer that is not a stream

/**
 * Checks that the streams at an address are those of the Fanfare behind an admin listener. It opens a stream with a key that
 * nobody else has, which that Fanfare must count. Another program, another application's Fanfare, or a Fanfare with another
 * `path` does not pass.
 *
 * @param {object} options
 * @param {string} options.stream the origin of the stream listener
 * @param {string} options.path config.sse.path
 * @param {AdminClient} options.client of the admin listener
 * @param {boolean} [options.guarded] whether subscribers need to be authorized; the check then brings a token
 * @return {Promise<{ ok: boolean, problem?: string, unknown?: string, refused?: boolean }>} ok; or a problem, which names the
 *   address and the settings; or why this is unknown for now, and whether that is because the stream was refused
 */
async function checkStream({ stream, path, client, guarded = false }) {
  const key = `fanfare-egg check ${randomBytes(12).toString('hex')}`;
  const url = new URL(`${path}?connectKey=${encodeURIComponent(key)}`, stream);
  const end = Date.now() + PATIENCE;
  let opened = guarded ? await openByToken(url, key, client) : await open(url);
  if (!guarded && opened.res && [ 401, 403 ].includes(opened.res.statusCode)) {
    opened.req.destroy();
    opened = await openByToken(url, key, client);
  }
  const { req, res, err } = opened;
  if (err) return { ok: false, unknown: `${stream}: ${err.message || err.code}` };
  try {
    const type = res.headers['content-type'] || '';
    if (res.statusCode !== 200 || !type.startsWith('text/event-stream')) return await judge(res, type, stream, path);
    let ended = false;
    res.on('error', () => {}).on('close', () => { ended = true; }).resume();
    for (;;) {
      const [ { count, error } ] = await inTime(client.batch([ JSON.stringify({ op: 'count', key }) ]), client.url.origin);
      if (count > 0) return { ok: true };
      if (error !== undefined) return { ok: false, unknown: `${client.url.origin}: ${error}` };
      if (ended) return { ok: false, unknown: `${stream}: the stream of the check ended (a limit, or a shutdown)` };
      if (Date.now() > end) break;
      await new Promise(resolve => setTimeout(resolve, LOOK_AGAIN));
    }
    return { ok: false, problem: `the streams at ${stream}${path} are not those of the Fanfare at ${client.url.origin}: set sse.server.stream and sse.server.admin to the two listeners of one Fanfare` };
  } catch (err) {
    return { ok: false, unknown: err.message };
  } finally {
    req.destroy();
  }
}

// openByToken opens it with a token, if Fanfare makes any.
async function openByToken(url, key, client) {
  const body = Buffer.from(JSON.stringify({ keys: [ key ], ttl: '1m' }));
  const answer = await inTime(client.request('POST', '/token', body, 'application/json'), client.url.origin).then(JSON.parse).catch(() => ({}));
  return open(url, answer.token ? { Authorization: `Bearer ${answer.token}` } : {});
}

function open(url, headers = {}) {
  return new Promise(resolve => {
    const req = (url.protocol === 'https:' ? https : http).get(url, { agent: false, timeout: PATIENCE, headers }, res => {
      req.setTimeout(0); // a stream may be silent
      resolve({ req, res });
    });
    req.on('timeout', () => req.destroy(new Error(`no answer in ${PATIENCE} ms`)));
    req.on('error', err => resolve({ req, err }));
  });
}

// inTime rejects if a promise takes too long: a browser waits for the check.
function inTime(promise, origin) {
  let timer;
  const late = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error(`${origin}: no answer in ${PATIENCE} ms`)), PATIENCE); });
  return Promise.race([ promise, late ]).finally(() => clearTimeout(timer));
}

// judge interprets an answer that is not a stream.
async function judge(res, type, stream, path) {
  let text = '';
  res.setEncoding('utf8').on('data', part => { text = (text + part).slice(0, MAX_REFUSAL); });
  await new Promise(resolve => res.on('end', resolve).on('error', resolve).on('close', resolve));
  const other = res.statusCode === 404 && /^nothing at ".*": streams are at (\/\S*)\?connectKey=KEY\n$/.exec(text);
  if (other) return { ok: false, problem: `the Fanfare at ${stream} has its streams at ${other[1]}, and config.sse.path is ${path}: set one to the other's value, or leave sse.server.admin and sse.server.stream unset for a Fanfare of this application's own` };
  if ([ 401, 403, 429, 503 ].includes(res.statusCode)) return { ok: false, unknown: `${stream}${path} answers ${res.statusCode}`, refused: true };
  return { ok: false, problem: `what answers at ${stream}${path} is no Fanfare (status ${res.statusCode}, ${type || 'no content type'}): set sse.server.stream to Fanfare's stream listener, or leave sse.server.admin and sse.server.stream unset for a Fanfare of this application's own` };
}

module.exports = { checkStream };
