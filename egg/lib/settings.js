'use strict';

const { validateHeaderName, validateHeaderValue } = require('http');
const { posix } = require('path');
const { inspect } = require('util');

// Response fields that depend on how the response is sent: nobody may set them for a stream.
const NOT_OURS = new Set([ 'transfer-encoding', 'content-length', 'content-type', 'connection', 'date' ]);
const FREE_PORT = /:0$/;
const SHOWN = 200; // characters of a value in an error

function wrong(name, reason, value) {
  const shown = typeof value === 'string' ? JSON.stringify(value) : inspect(value, { depth: 0, breakLength: Infinity });
  return new TypeError(`config.sse${name && `.${name}`}: ${reason}; it is ${shown.length <= SHOWN ? shown : `${shown.slice(0, SHOWN)}…`}`);
}

const isText = v => typeof v === 'string';
const whole = (min, max) => v => Number.isInteger(v) && v >= min && v <= max;
const oneOf = (...words) => v => words.includes(v);
const DAY = 24 * 3600 * 1000;

// name -> [ what it must be, a check ]
const RULES = {
  enable: [ 'must be true or false', v => v === undefined || typeof v === 'boolean' ],
  path: [ 'must be a path that begins with /, of visible ASCII without %, and no pattern', isPath ],
  headers: [ 'must be an object of header fields', isPlain ],
  cacheKey: [ 'must be a text that is not empty', v => isText(v) && v !== '' ],
  maxClients: [ 'must be a whole number from 1 to 10000000', whole(1, 1e7) ],
  pingInterval: [ 'must be a whole number of milliseconds from 100 to 86400000', whole(100, DAY) ],
  'server.admin': [ 'must be an http:// or https:// address without a path', isOrigin ],
  'server.stream': [ 'must be an http:// or https:// address without a path', isOrigin ],
  'server.token': [ 'must be a text of visible ASCII', v => isText(v) && /^[!-~]*$/.test(v) ],
  'server.authorize': [ "must be true, false, 'tokens' or a function", v => [ true, false, 'tokens' ].includes(v) || typeof v === 'function' ],
  'server.callback': [ 'must be an http:// or https:// address without a path, or empty', v => v === '' || isOrigin(v) ],
  'server.callbackSecret': [ 'must be empty, or at least 32 letters and digits', v => v === '' || isText(v) && /^[A-Za-z0-9]{32,}$/.test(v) ],
  'server.mode': [ "must be 'proxy', 'redirect' or 'off'", oneOf('proxy', 'redirect', 'off') ],
  'server.publicStream': [ 'must be an http:// or https:// address without a path, or empty', v => v === '' || isOrigin(v) ],
  'server.once.mode': [ "must be 'auto', 'leader' or 'every'", oneOf('auto', 'leader', 'every') ],
  'server.once.keep': [ 'must be a whole number of milliseconds from 0 to 60000', whole(0, 60000) ],
  'server.once.skew': [ 'must be a whole number of milliseconds from 0 to 60000', whole(0, 60000) ],
  'server.once.wait': [ 'must be a whole number of milliseconds from 1 to 86400000', whole(1, DAY) ],
  'server.queue.maxEvents': [ 'must be a whole number from 1 to 10000000', whole(1, 1e7) ],
  'server.queue.maxBytes': [ 'must be a whole number of bytes from 1024 to 4294967296', whole(1024, 2 ** 32) ],
  'server.queue.maxAge': [ 'must be a whole number of milliseconds from 1 to 86400000', whole(1, DAY) ],
  'server.batch.maxEvents': [ 'must be a whole number from 1 to 100000', whole(1, 1e5) ],
  'server.batch.maxBytes': [ 'must be a whole number of bytes from 1024 to 268435456', whole(1024, 2 ** 28) ],
  'server.timeout': [ 'must be a whole number of milliseconds from 1 to 86400000', whole(1, DAY) ],
  'server.closeTimeout': [ 'must be a whole number of milliseconds from 0 to 60000', whole(0, 60000) ],
  'server.uncertain': [ "must be 'report' or 'resend'", oneOf('report', 'resend') ],
  'server.count.refresh': [ 'must be a whole number of milliseconds from 50 to 86400000', whole(50, DAY) ],
  'server.count.keep': [ 'must be a whole number of milliseconds from 1 to 86400000', whole(1, DAY) ],
  'server.count.maxKeys': [ 'must be a whole number from 1 to 100000', whole(1, 1e5) ],
  'server.start.enable': [ "must be 'auto' or false", oneOf('auto', false) ],
  'server.start.binary': [ 'must be a path', isText ],
  'server.start.ids': [ "must be 'off' or 'auto'", oneOf('off', 'auto') ],
  'server.start.args': [ 'must be a list of texts', v => Array.isArray(v) && v.every(isText) ],
  'server.start.readyTimeout': [ 'must be a whole number of milliseconds from 100 to 600000', whole(100, 6e5) ],
  'server.start.stopTimeout': [ 'must be a whole number of milliseconds from 0 to 60000', whole(0, 60000) ],
  'server.dryRun': [ 'must be true or false', v => typeof v === 'boolean' ],
};

function isPlain(v) {
  return Object.prototype.toString.call(v) === '[object Object]'; // no array, no Map
}

// isPath reports whether both Egg's router and Fanfare take a path literally: in the router some characters form a pattern.
function isPath(v) {
  return isText(v) && /^\/[!-~]*$/.test(v) && !/[?#%\\:*+()[\]{}|^]/.test(v) && posix.normalize(v) === v;
}

function isOrigin(v) {
  if (!isText(v)) return false;
  let url;
  try {
    url = new URL(v);
  } catch {
    return false;
  }
  return /^https?:$/.test(url.protocol) && url.pathname === '/' && !url.search && !url.hash && !url.username;
}

/**
 * Checks config.sse, and adds what follows from it: `own` (the Fanfare is for this application alone, and the agent starts it on
 * free ports), `starts` (the agent may start one), `watches` (the agent looks after the one that is used).
 * @throws {TypeError} that names the setting
 */
function settingsOf(config) {
  for (const [ name, [ must, check ]] of Object.entries(RULES)) {
    const value = valueOf(config, name);
    if (!check(value)) throw wrong(name, must, value);
  }
  checkNames(config.server, 'server');
  const { server } = config;
  const own = FREE_PORT.test(withoutSlash(server.admin));
  const freeStream = FREE_PORT.test(withoutSlash(server.stream));
  if (freeStream && !own) throw wrong('server.stream', `must be the stream listener of the Fanfare whose admin listener is ${server.admin} (server.admin)`, server.stream);
  if (own && server.start.enable === false && !server.dryRun) {
    throw wrong('server.admin', 'must be the admin listener of a Fanfare that runs, since server.start.enable is false and the agent starts none', server.admin);
  }
  if (own && !isLoopback(server.admin)) throw wrong('server.admin', "must be on this host: with port 0 the Fanfare is this application's own", server.admin);
  if (server.mode === 'redirect' && !server.publicStream) {
    throw wrong('server.publicStream', "is needed with server.mode 'redirect': the address at which browsers reach Fanfare's stream listener", server.publicStream);
  }
  // The agent knows nothing about a Fanfare on another host: the workers report what is wrong when a stream is opened.
  const watches = !server.dryRun && isLoopback(server.admin);
  const starts = watches && server.start.enable === 'auto';
  return { ...config, headers: streamHeaders(config.headers), own, starts, watches };
}

// valueOf finds a setting; a setting that contains others must be an object.
function valueOf(config, name) {
  let value = config;
  name.split('.').forEach((part, i, parts) => {
    if (!isPlain(value)) throw wrong(parts.slice(0, i).join('.'), 'must be an object of settings', value);
    value = value[part];
  });
  return value;
}

// checkNames refuses unknown settings under `server`: a misspelled limit must not go unnoticed.
function checkNames(at, path) {
  const known = Object.keys(RULES);
  for (const [ name, value ] of Object.entries(at)) {
    const full = `${path}.${name}`;
    if (RULES[full]) continue;
    if (known.some(k => k.startsWith(`${full}.`))) checkNames(value, full);
    else throw wrong(full, `is no setting; there are ${known.filter(k => k.startsWith(`${path}.`)).map(k => k.slice(path.length + 1)).join(', ')}`, value);
  }
}

/** Unknown names under config.sse, perhaps misspelled. They are not an error, because egg-sse accepts them silently. */
const strangers = config => Object.keys(config).filter(name => !Object.keys(RULES).some(rule => rule.split('.')[0] === name));

const withoutSlash = url => url.replace(/\/$/, '');

/** Whether the address is a loopback address. */
function isLoopback(url) {
  const { hostname } = new URL(url);
  return hostname === 'localhost' || hostname === '[::1]' || /^127\./.test(hostname);
}

/** The header fields that may be set for a stream, without egg-sse's `Transfer-Encoding: off`. */
function streamHeaders(headers) {
  const fields = Object.entries(headers).filter(([ name, value ]) => !NOT_OURS.has(name.toLowerCase()) && value !== undefined && value !== null);
  return Object.fromEntries(fields.map(([ name, value ]) => [ name, fieldOf(name, value) ]));
}

// fieldOf returns a field's value as text. An invalid value is refused now, not when the first stream is opened.
function fieldOf(name, value) {
  const many = Array.isArray(value);
  for (const v of many ? value : [ value ]) {
    if (![ 'string', 'number', 'boolean' ].includes(typeof v)) throw wrong(`headers.${name}`, 'must be a text', value);
  }
  const text = many ? value.join(', ') : String(value);
  try {
    validateHeaderName(name);
    validateHeaderValue(name, text);
  } catch (err) {
    throw wrong(`headers.${name}`, `is no header field (${err.message})`, value);
  }
  return text;
}

module.exports = { settingsOf, strangers, isLoopback };
