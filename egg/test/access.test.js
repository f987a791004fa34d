'use strict';

// The parts of authorization that need no application.
const { test } = require('node:test');
const assert = require('node:assert');
const { settingsOf } = require('../lib/settings');
const { secretsOf } = require('../lib/secrets');
const { fanfareEnvironment, fingerprint } = require('../lib/fanfare_environment');
const { Authorization, callbackUrl } = require('../lib/authorization');
const { Access } = require('../lib/access');
const { AdminClient } = require('../lib/admin_client');
const { startFanfare } = require('./harness/fanfare');
const defaults = require('../config/config.default').sse;

const settingsWith = server => settingsOf({ ...defaults, server: { ...defaults.server, ...server } });
const configWith = (keys, server = {}) => ({ keys, sse: { server: { ...defaults.server, ...server } } });

test('secrets: the same at each start, others for other keys, and those of before while their key is in the list', () => {
  const one = secretsOf(configWith('a'));
  assert.deepStrictEqual(secretsOf(configWith('a')), one);
  assert.match(one.tokens, /^[0-9a-f]{64}$/);
  assert.notStrictEqual(one.tokens, one.ask);
  const two = secretsOf(configWith('b, a'));
  assert.deepStrictEqual([ two.tokens.split(' ').length, two.tokens.split(' ')[1] ], [ 2, one.tokens ]);
  assert.notStrictEqual(two.ask, one.ask);
  const random = [ secretsOf(configWith(undefined)), secretsOf(configWith('')) ];
  assert.ok(random.every(s => !s.derived && s.tokens.length === 64) && random[0].tokens !== random[1].tokens);
  assert.strictEqual(secretsOf(configWith('a', { callbackSecret: 'own' })).ask, 'own');
});

test('a Fanfare that is started gets them only with authorize, and random ones do not make an agent start another', () => {
  const secrets = { tokens: 't', ask: 'q', callback: 'http://127.0.0.1:7001/stream?sse-authorize=q', derived: true };
  const of = authorize => {
    const { FANFARE_TOKEN_SECRET, FANFARE_AUTH_CALLBACK } = fanfareEnvironment(settingsWith({ authorize }), null, '', secrets);
    return [ FANFARE_TOKEN_SECRET, FANFARE_AUTH_CALLBACK ];
  };
  assert.deepStrictEqual(of(false), [ undefined, undefined ]);
  assert.deepStrictEqual(of('tokens'), [ 't', undefined ]);
  for (const authorize of [ true, () => true ]) assert.deepStrictEqual(of(authorize), [ 't', secrets.callback ]);
  const settings = settingsWith({ authorize: true });
  assert.notStrictEqual(fingerprint(settings, secrets), fingerprint(settings, { ...secrets, tokens: 'u' }));
  assert.strictEqual(fingerprint(settings, { ...secrets, derived: false }), fingerprint(settings, { ...secrets, tokens: 'u', derived: false }));
  assert.notStrictEqual(fingerprint(settings, { ...secrets, derived: false }), fingerprint(settingsWith({}), { ...secrets, derived: false }));
});

test('where Fanfare asks', () => {
  const url = (config, options, server) => callbackUrl(settingsWith({ authorize: true, ...server }), config, options, 's');
  assert.strictEqual(url({}, {}), 'http://127.0.0.1:7001/stream?sse-authorize=s');
  assert.strictEqual(url({ cluster: { listen: { port: 1, hostname: '0.0.0.0' } } }, { port: 2 }), 'http://127.0.0.1:2/stream?sse-authorize=s');
  assert.strictEqual(url({ cluster: { listen: { port: 1, hostname: '::1' } } }, {}), 'http://[::1]:1/stream?sse-authorize=s');
  assert.strictEqual(url({}, { ports: [ 5, 6 ] }), 'http://127.0.0.1:5/stream?sse-authorize=s');
  for (const [ config, options ] of [ [ { cluster: { listen: { path: '/tmp/x' } } }, {} ], [ {}, { https: { key: 'k', cert: 'c' } } ] ]) {
    assert.throws(() => url(config, options), /^TypeError: config\.sse\.server\.callback: is needed/);
    assert.strictEqual(url(config, options, { callback: 'https://app.example:8443/' }), 'https://app.example:8443/stream?sse-authorize=s');
  }
});

test('what a function returns: a mistake allows nothing', async () => {
  const decide = async result => {
    const authorization = new Authorization(settingsWith({ authorize: async () => result }), {});
    return authorization.decide({ queries: {} });
  };
  for (const [ result, grant ] of [ [ true, {} ], [ {}, {} ], [ { subject: 7, ttl: 1500, cache: '1m', keys: [ 'a*' ] }, { subject: '7', ttl: '1500ms', cache: '1m', keys: [ 'a*' ] } ] ]) {
    assert.deepStrictEqual(await decide(result), { allowed: true, grant });
  }
  assert.deepStrictEqual(await decide(false), { allowed: false, status: 403 });
  for (const result of [ undefined, null, 0, 1, '', 'yes', [], { allowed: false }, { keys: 'a' }, { keys: [ 1 ] }, { subject: {} }, { ttl: -1 }, { ttl: 'soon' }, { cache: {} } ]) {
    await assert.rejects(decide(result), TypeError, JSON.stringify(result));
  }
});

test('tokens of a Fanfare that makes none, that is away, and that comes back', async () => {
  const fanfare = await startFanfare();
  const client = new AdminClient({ url: fanfare.admin, token: '', timeout: 10000 });
  const access = new Access(settingsWith({}), client);
  try {
    await assert.rejects(access.token('news'), err => err.code === 'ERR_SSE_REFUSED' && err.status === 404 && /authorize/.test(err.message));
    assert.deepStrictEqual(await access.presence('news'), { subscribers: 0, subjects: [] });
    await fanfare.stop();
    await assert.rejects(access.token('news'), { code: 'ERR_SSE_AWAY' });
    await assert.rejects(access.token([]), { field: 'keys' });
    await assert.rejects(access.token(''), { field: 'keys' });
    await assert.rejects(access.token('news', { subject: {} }), { field: 'subject' });
    await assert.rejects(access.presence(null), { field: 'key' });
    fanfare.env.FANFARE_TOKEN_SECRET = 'x'.repeat(32);
    const asked = access.token('news', { ttl: 90000 });
    const again = await fanfare.restart();
    try {
      const { token, expires } = await asked.catch(() => access.token('news', { ttl: 90000 }));
      assert.ok(token.length > 100 && Math.abs(expires - Date.now() - 90000) < 60000);
    } finally {
      await again.stop();
    }
  } finally {
    client.close();
    await fanfare.stop();
  }
});
