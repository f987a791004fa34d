'use strict';

// A Fanfare with a backplane whose broker goes away: what becomes of what an application publishes meanwhile, with a Fanfare that
// the agent starts and with one that the settings name.
const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('fs');
const { startCluster } = require('./harness/application');
const { startFanfare } = require('./harness/fanfare');
const { startRedis } = require('./harness/redis');
const { binary } = require('./harness/build');
const { subscribe } = require('./harness/subscriber');
const { until } = require('./harness/wait');
const { isAlive, childrenOf } = require('./harness/processes');

const TOKEN = 'only-for-this-test';

const ended = client => client.ended || client.raw.includes('\r\n0\r\n\r\n');
const stats = async application => (await fetch(`${application.origin}/stats`)).json();

// refusals is how many lines of batches Fanfare has refused so far.
const refusals = async application => Number(/^fanfare_publish_errors_total (\d+)$/m.exec(await (await fetch(`${application.admin}/metrics`, { headers: { Authorization: `Bearer ${TOKEN}` } })).text())[1]);

// flags are those of a Fanfare with a backplane.
const flags = (redis, away) => [ '--backplane', 'redis', '--redis-url', `redis://127.0.0.1:${redis.port}`, '--publish-timeout', '500ms', '--away', away ];

// start starts an application, with a Fanfare of its own or with one that the settings name.
async function start(t, own, args) {
  const fanfare = own ? null : await startFanfare({ args, env: { FANFARE_PUBLISH_TOKEN: TOKEN } });
  if (fanfare) t.after(() => fanfare.stop());
  const server = own ? { start: { binary, args } } : { admin: fanfare.admin, stream: fanfare.stream, start: { enable: false } };
  const application = await startCluster({ version: 'egg4', plugin: 'fanfare-egg', workers: 1, server: { ...server, token: TOKEN } });
  t.after(() => application.stop());
  const log = await until('Fanfare is known', () => /(started Fanfare|uses the Fanfare at).*/.exec(application.log()));
  application.admin = own ? /publish API at (\S+),/.exec(log[0])[1] : fanfare.admin;
  return application;
}

for (const own of [ true, false ]) {
  const whose = own ? 'a Fanfare of its own' : 'a Fanfare that the settings name';

  test(`${whose} refuses while its broker is away: what was published waits, and arrives in order`, async t => {
    let redis = await startRedis({ durable: true });
    t.after(() => redis.stop());
    const application = await start(t, own, flags(redis, 'refuse'));
    const client = await subscribe(application.origin, 'k');
    assert.strictEqual((await application.callAndWait('publish', 'k', 'before')).result.sent, true);
    await client.saw('before');

    await redis.kill();
    const calls = [ [ 'publish', 'k', 'one' ], [ 'publishAll', 'two' ], [ 'close', 'k' ] ].map(([ method, ...args ]) => application.callAndWait(method, ...args));
    await until('it is reported', () => /can't publish.*the log cannot be reached/.test(application.log()));
    await until('all of them wait', async () => (await stats(application)).waiting === 3);
    const before = await refusals(application);
    await until('all of them have been tried again', async () => await refusals(application) >= before + 5);
    assert.ok(!ended(client), 'the stream stays open, and is not closed before the events');
    const other = await subscribe(application.origin, 'other'); // streams can be opened
    await until('it is a stream', () => /position/.test(other.text));

    redis = await redis.restart();
    const [ one, two, close ] = (await Promise.all(calls)).map(({ result, error }) => result || error);
    assert.deepStrictEqual([ one.sent, two.sent, close.sent, close.closed ], [ true, true, true, 1 ], JSON.stringify([ one, two, close ]));
    await until('the stream is closed', () => ended(client));
    assert.deepStrictEqual(client.events, [ 'before', 'one', 'two' ]);
    await other.saw('two');
    other.close();
    await until('it is back', () => /Fanfare is back/.test(application.log()));
    assert.doesNotMatch(application.log(), /another program/);
  });

  test(`${whose} keeps what is published while its broker is away: it is sent, but not stored`, async t => {
    let redis = await startRedis({ durable: true });
    t.after(() => redis.stop());
    const application = await start(t, own, flags(redis, 'queue'));
    const [ client, other ] = [ await subscribe(application.origin, 'k'), await subscribe(application.origin, 'other') ];
    const stored = (await application.callAndWait('publish', 'k', 'before')).result;
    assert.strictEqual(stored.stored, undefined);
    await client.saw('before');

    await redis.kill();
    const outcome = async (method, ...args) => {
      const { result, error } = await application.callAndWait(method, ...args);
      assert.ok(result, JSON.stringify(error));
      return result;
    };
    for (const [ method, ...args ] of [ [ 'publish', 'k', 'one' ], [ 'publishAll', 'two' ] ]) {
      const { sent, stored } = await outcome(method, ...args);
      assert.deepStrictEqual({ sent, stored }, { sent: true, stored: false }, method);
    }
    const { sent, closed } = await outcome('close', 'other');
    assert.deepStrictEqual({ sent, closed }, { sent: true, closed: 0 }); // nobody knows what was published before, so it waits
    assert.ok(!ended(client) && !ended(other));

    redis = await redis.restart();
    await client.saw('two');
    assert.deepStrictEqual(client.events, [ 'before', 'one', 'two' ]);
    client.close();
  });
}

test('the next agent takes over a Fanfare with a backplane', async t => {
  const redis = await startRedis({ durable: true });
  t.after(() => redis.stop());
  const application = await start(t, true, [ ...flags(redis, 'refuse'), '--ready-without-broker=false' ]);
  const server = Number(/started Fanfare: .* pid (\d+)/.exec(application.log())[1]);
  const client = await subscribe(application.origin, 'k');
  await redis.kill();
  await until('Fanfare is not ready', async () => (await fetch(`${application.admin}/readyz`)).status === 503);
  const agent = childrenOf(application.child.pid).find(pid => /agent_worker/.test(fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8')));
  process.kill(agent, 'SIGKILL');
  await until('the next agent has taken it over', () => new RegExp(`took over Fanfare: .* pid ${server}\\b`).test(application.log()));
  assert.ok(isAlive(server) && !ended(client));
  assert.doesNotMatch(application.log(), /another program/);
  client.close();
});
