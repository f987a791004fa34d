'use strict';

const { settingsOf } = require('../../lib/settings');
const { Sse } = require('../../lib/sse');
const { Reporter } = require('../../lib/reporter');
const { PATIENCE } = require('./wait');
const defaults = require('../../config/config.default').sse;

const PATIENT = { ...defaults.server, timeout: PATIENCE, closeTimeout: 60000, queue: { ...defaults.server.queue, maxAge: PATIENCE } };

/**
 * An app.sse without an application. Its limits of time are large, unless `server` says otherwise.
 * @param {object} server of config.sse.server
 * @param {object} [around] what Sse is given besides
 */
function makeSse(server, around = {}) {
  const log = [];
  const write = level => (format, ...args) => log.push(`${level} ${format} ${args.join(' ')}`);
  const reporter = new Reporter({ error: write('error'), warn: write('warn'), info: write('info') });
  const merged = { ...PATIENT, stream: server.admin ? 'http://127.0.0.1:8080' : defaults.server.stream, ...server };
  for (const name of [ 'once', 'queue', 'batch', 'count', 'start' ]) merged[name] = { ...PATIENT[name], ...server[name] };
  const settings = settingsOf({ ...defaults, server: merged });
  const sse = new Sse(settings, { id: '1', alone: true, reporter, tell: () => {}, ...around });
  return Object.assign(sse, { log });
}

module.exports = { makeSse };
