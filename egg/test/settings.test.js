'use strict';

// Settings of a wrong type or form are refused at the start, by an error that names them.
const { test } = require('node:test');
const assert = require('node:assert');
const { format } = require('util');
const { settingsOf, strangers } = require('../lib/settings');
const defaults = require('../config/config.default').sse;

const unprintable = { toString() { throw new Error('no text'); } };

// name of the setting in the error, value
const WRONG = [
  [ '', null ], [ '', true ],
  [ 'enable', 'false' ],
  [ 'path', '/a/:b' ], [ 'path', '/s*' ], [ 'path', '/a(' ], [ 'path', '/\u00fc' ], [ 'path', '/a\0' ], [ 'path', '//x' ], [ 'path', '/a/../b' ], [ 'path', '/a%20b' ], [ 'path', /x/ ],
  [ 'headers', null ], [ 'headers', [] ], [ 'headers', new Map() ],
  [ 'headers.A b', 'c', { headers: { 'A b': 'c' } } ], [ 'headers.A', 'c\r\nd: e', { headers: { A: 'c\r\nd: e' } } ],
  [ 'headers.A', {}, { headers: { A: {} } } ], [ 'headers.A', Symbol('a'), { headers: { A: Symbol('a') } } ], [ 'headers.A', unprintable, { headers: { A: unprintable } } ],
  [ 'pingInterval', '10s' ], [ 'pingInterval', Object.create(null) ], [ 'pingInterval', unprintable ],
  [ 'maxClients', 0 ], [ 'maxClients', 10n ], [ 'maxClients', 'x'.repeat(5000) ],
  [ 'server', null ], [ 'server', 'http://127.0.0.1:8081' ], [ 'server.once', 'leader' ], [ 'server.queue', [] ], [ 'server.start', false ],
  [ 'server.authorize', 'token' ], [ 'server.authorize', 1 ], [ 'server.callback', 'here' ], [ 'server.callbackSecret', 'short' ], [ 'server.callbackSecret', 'a'.repeat(31) + '&' ],
  [ 'server.token', 5 ], [ 'server.token', 'a\nb' ], [ 'server.token', '\u4e2d' ],
];

// withSetting is the default settings with one of them changed.
function withSetting(name, value) {
  if (name === '') return value;
  const config = structuredClone(defaults);
  const parts = name.split('.');
  const last = parts.pop();
  parts.reduce((at, part) => at[part], config)[last] = value;
  return config;
}

test('a wrong setting is refused by an error that names it', () => {
  for (const [ name, value, change ] of WRONG) {
    const config = change ? { ...defaults, ...change } : withSetting(name, value);
    assert.throws(() => settingsOf(config), err => {
      assert.ok(err instanceof TypeError && err.message.startsWith(`config.sse${name && `.${name}`}: `) && err.message.length < 1000, `${name}: ${err.stack}`);
      return true;
    }, name);
  }
});

test('no settings at all are refused by name in the agent and the workers, and misspelt ones are found', () => {
  for (const Boot of [ require('../agent'), require('../app') ]) {
    assert.throws(() => new Boot({ config: { sse: null } }).configDidLoad(), /config\.sse: must be an object/);
  }
  assert.deepStrictEqual(strangers({ ...defaults, enable: true }), []);
  assert.deepStrictEqual(strangers({ ...defaults, pingIntervall: 5, maxClient: 5 }), [ 'pingIntervall', 'maxClient' ]);
  const log = [];
  const config = withSetting('server.dryRun', true);
  const agent = { config: { sse: { ...config, maxClient: 5 } }, coreLogger: { warn: (...args) => log.push(format(...args)) }, messenger: { on() {}, send() {} }, options: {} };
  new (require('../agent'))(agent).configDidLoad();
  assert.match(log.join(), /without effect: maxClient/);
});

test('settings that are unusual and right are taken', () => {
  class Settings {}
  const server = Object.assign(new Settings(), defaults.server, { once: Object.assign(Object.create(null), defaults.server.once) });
  const settings = settingsOf({ ...defaults, enable: true, path: '/a.b/c-d~e;f=g@h,i!$&\'', headers: { A: 1, B: true, C: [ 'x', 'y' ], D: null, E: undefined }, server });
  assert.deepStrictEqual(settings.headers, { A: '1', B: 'true', C: 'x, y' });
  settingsOf({ ...defaults, path: '/' });
  settingsOf({ ...defaults, path: '/events/' });
});
