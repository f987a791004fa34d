'use strict';

// The ways in which applications publish, in a cluster of three workers: each event arrives at each client, once. A mistake
// in a call is told, and ends no process. migration.test.js has the patterns of egg-sse's documentation.
const { test, before, after } = require('node:test');
const assert = require('node:assert');
const net = require('net');
const { startCluster } = require('./harness/application');
const { startFanfare } = require('./harness/fanfare');
const { startRedis } = require('./harness/redis');
const { subscribe } = require('./harness/subscriber');
const { until } = require('./harness/wait');
const wrong = require('./app/wrong');

const WORKERS = 3;
const texts = n => [ ...Array(n).keys() ].map(i => `${i}`);

let redis;
let fanfare;
let application;
let pids;
before(async () => {
  redis = await startRedis();
  fanfare = await startFanfare({ args: [ '--ids', 'off' ] });
  application = await startCluster({
    version: 'egg4', plugin: 'fanfare-egg', workers: WORKERS, env: { TEST_SCHEDULES: 'on', TEST_REDIS_PORT: String(redis.port) },
    server: { admin: fanfare.admin, stream: fanfare.stream, start: { enable: false } },
  });
  pids = [ ...await application.pids(WORKERS) ].sort();
});
after(async () => {
  await application.stop();
  await fanfare.stop();
  await redis.stop();
});

// arrives runs what publishes, and checks that a client gets these events, each once, in any order.
async function arrives(key, wanted, publish) {
  const client = await subscribe(fanfare.stream, key);
  try {
    await publish();
    await until(`${wanted.length} events of ${key}; there are ${client.events.length}`, () => client.events.length >= wanted.length);
    // What came twice would come late: after all that this worker waits for.
    await application.callAndWait('publish', key, 'the end');
    await client.saw('the end');
    await until('no worker waits for anything', async () => /"waiting":0/.test(await idle()));
    assert.deepStrictEqual(client.events.filter(data => data !== 'the end').sort(), wanted.slice().sort());
  } finally {
    client.close();
  }
}

// idle is the stats of a worker with the most that waits, of many asked.
async function idle() {
  const all = await Promise.all([ ...Array(4 * WORKERS) ].map(async () => (await fetch(`${application.origin}/stats`, { headers: { Connection: 'close' } })).text()));
  return all.find(text => !/"waiting":0/.test(text)) || all[0];
}

test('a controller: each request publishes once', () => arrives('controller', texts(20), () => Promise.all(texts(20).map(text => application.call('publish', 'controller', text)))));

test('a controller that publishes after its response', () => arrives('later', texts(20), () => Promise.all(texts(20).map(text => application.post('/later', { text })))));

test('a WebSocket: what comes in on an upgraded connection', () => arrives('socket', texts(20), async () => {
  const socket = net.connect(application.port, '127.0.0.1');
  let answer = '';
  socket.on('data', text => { answer += text; });
  socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n');
  await until('it is upgraded', () => answer.startsWith('HTTP/1.1 101 '));
  for (const text of texts(20)) socket.write(`${text}\n`);
  socket.end();
}));

test('a message of the agent to all workers', () => arrives('messenger', texts(20), () => fetch(`${application.origin}/flood?n=20`)));

test('a message to all workers, and the same one twice on purpose', () => arrives('messenger', [ ...texts(20), 'same', 'same' ], async () => {
  for (const text of [ ...texts(20), 'same', 'same' ]) await application.post('/message', { text });
}));

test('a message of the agent to one worker', () => arrives('for-one', texts(20), async () => {
  for (const text of texts(20)) await application.post('/message-one', { text });
}));

test('a Redis subscription in every worker', () => arrives('redis', texts(20), async () => {
  for (const text of texts(20)) await application.post('/redis', { text });
}));

test('a Redis lock: the worker that gets it publishes, whichever leads', async () => {
  await arrives('locked', texts(60), () => application.post('/locked', { n: 60 }));
  await until('the log says what to do', () => /did not publish \d+ events that this worker left to it .*publish to "locked".*from: 'this'/.test(application.log()));
});

test('a lock within a message to all workers', () => arrives('locked-message', texts(20), async () => {
  for (const data of texts(20)) await application.post('/send/locked-message', { data });
}));

test('a queue: the workers take other jobs each', () => arrives('queue', texts(60), () => application.post('/queue', texts(60))));

test('a message whose events differ in each worker is one event', async () => {
  const client = await subscribe(fanfare.stream, 'view');
  for (let n = 0; n < 10; n++) await application.post('/send/view', { data: n });
  await until('ten events', () => client.events.length >= 10);
  await until('no worker waits for anything', async () => /"waiting":0/.test(await idle()));
  assert.deepStrictEqual(client.events.map(data => JSON.parse(data).n), [ ...Array(10).keys() ]);
  client.close();
});

test('schedules: type all comes once, type worker once', async () => {
  const [ all, worker ] = [ await subscribe(fanfare.stream, 'schedule-all'), await subscribe(fanfare.stream, 'schedule-worker') ];
  await until('ticks', () => all.events.length >= 5 && worker.events.length >= 5);
  const ticks = all.events.map(data => JSON.parse(data).tick);
  assert.deepStrictEqual(ticks, ticks.map((_, i) => ticks[0] + i));
  assert.strictEqual(new Set(worker.events).size, worker.events.length);
  all.close();
  worker.close();
});

test('a mistake in a call is thrown in a request, and logged elsewhere: it ends no process', async () => {
  for (const name of Object.keys(wrong)) {
    const answer = await application.post(`/wrong/${encodeURIComponent(name)}`, {});
    assert.ok(answer.thrown, name);
    for (const action of [ 'wrong', 'wrong-later' ]) await application.post(`/send/${action}`, { data: name });
  }
  await until('each is counted in each worker', async () => {
    const all = await Promise.all([ ...Array(4 * WORKERS) ].map(async () => (await fetch(`${application.origin}/stats`, { headers: { Connection: 'close' } })).json()));
    return all.every(({ failed }) => failed >= 2 * Object.keys(wrong).filter(name => !name.startsWith('countAsync')).length);
  });
  assert.deepStrictEqual([ ...await application.pids(WORKERS) ].sort(), pids);
  await until('the log tells of it', () => /publish failed: key: is an object, and there is no data: publish\(key, data\)/.test(application.log()));
  assert.ok(!/uncaughtException|died/.test(application.log()));
});
