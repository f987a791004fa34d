'use strict';

// Timers that each of three workers starts with the application.
const { test, before, after } = require('node:test');
const assert = require('node:assert');
const { startCluster } = require('./harness/application');
const { startFanfare } = require('./harness/fanfare');
const { subscribe } = require('./harness/subscriber');
const { until } = require('./harness/wait');

let fanfare;
let application;
before(async () => {
  fanfare = await startFanfare({ args: [ '--ids', 'off' ] });
  application = await startCluster({
    version: 'egg4', plugin: 'fanfare-egg', workers: 3, env: { TEST_TIMERS: 'on' },
    server: { admin: fanfare.admin, stream: fanfare.stream, start: { enable: false } },
  });
  await application.pids(3);
});
after(async () => {
  await application.stop();
  await fanfare.stop();
});

test('a timer in every worker whose events are alike: each comes once', async () => {
  const client = await subscribe(fanfare.stream, 'timer');
  await until('ticks', () => client.events.length >= 8);
  // What came twice would come within the time for which a worker keeps what the leader has not told of.
  await new Promise(resolve => setTimeout(resolve, 1000));
  const { events } = client;
  assert.strictEqual(new Set(events).size, events.length, `${events}`);
  client.close();
});

test('a timer in every worker whose events are its own, published from the leader: one worker\'s arrive', async () => {
  const client = await subscribe(fanfare.stream, 'own-timer');
  await until('ticks', () => client.events.length >= 8);
  const events = client.events.map(data => JSON.parse(data));
  assert.deepStrictEqual(events.map(e => e.n), events.map((_, i) => events[0].n + i));
  const { leader } = await (await fetch(`${application.origin}/stats`)).json();
  assert.deepStrictEqual([ ...new Set(events.map(e => String(e.pid))) ], [ leader ]);
  client.close();
});
