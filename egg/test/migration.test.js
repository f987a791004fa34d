'use strict';

// The same application and the same tests, with egg-sse and with this package: between the two, one line of
// config/plugin.js is changed. What differs between them is in `differs`, and in the README's table.
const { describe, test, before, after } = require('node:test');
const assert = require('node:assert');
const { VERSIONS, startCluster } = require('./harness/application');
const { startFanfare } = require('./harness/fanfare');
const { startRedis } = require('./harness/redis');
const { startBrowser } = require('./harness/browser');
const { subscribe, Subscriber } = require('./harness/subscriber');
const { until } = require('./harness/wait');

const PLUGINS = [
  { name: 'egg-sse', differs: true },
  { name: 'fanfare-egg', differs: false },
];

let redis;
let browser;

before(async () => {
  redis = await startRedis();
  browser = await startBrowser();
});

after(async () => {
  await browser.close();
  await redis.stop();
});

// once waits for the last event of a key, and checks that each client got each event just once, in order.
async function once(clients, wanted) {
  for (const client of clients) await client.saw(wanted[wanted.length - 1]);
  for (const client of clients) assert.deepStrictEqual(client.events, wanted);
}

for (const version of VERSIONS) {
  for (const { name: plugin, differs } of PLUGINS) {
    describe(`${version}, ${plugin}`, () => {
      let fanfare;
      const running = [];
      const open = [];
      const start = async (workers, env = {}) => {
        const server = { admin: fanfare.admin, stream: fanfare.stream, start: { enable: false } };
        const application = await startCluster({ version, plugin, workers, server, env });
        running.push(application);
        return application;
      };
      const client = async (application, key) => {
        const c = await subscribe(application.origin, key);
        open.push(c);
        return c;
      };

      before(async () => {
        fanfare = await startFanfare({ args: [ '--ids', 'off', '--max-clients', '3', '--ping-interval', '300ms', '--over-limit', 'retry' ] });
      });

      after(async () => {
        for (const c of open) c.close();
        for (const application of running) assert.strictEqual(await application.stop(), 0);
        await fanfare.stop();
      });

      test('one worker: the calls of app.sse', async () => {
        const application = await start(1);
        const [ a1, a2, b, pool ] = [ await client(application, 'a'), await client(application, 'a'), await client(application, 'b'), await client(application) ];
        for (const c of [ a1, pool ]) {
          assert.match(c.head, /^HTTP\/1\.1 200 OK\r\n/);
          assert.match(c.head, /\r\nContent-Type: text\/event-stream\r\n/i);
          assert.match(c.head, /\r\nCache-Control: no-cache, no-transform\r\n/i);
          assert.match(c.head, /\r\nX-Accel-Buffering: no\r\n/i);
          assert.match(c.head, /\r\nAccess-Control-Allow-Origin: \*\r\n/i);
          assert.match(c.head, /\r\nX-From: config\r\n/i);
          assert.strictEqual(/\r\nTransfer-Encoding: off\r\n/i.test(c.head), differs);
        }
        await application.call('publish', 'a', { event: 'e', id: 1, retry: 2, data: { x: [ 1, 'ü\n' ] } });
        await application.call('publish', 'a', 'two\r\nlines');
        await application.call('publish', 'nobody', 'unheard');
        await application.call('publish', '@sse/count', 'to the pool');
        await application.call('publishAll', { data: 'to all' });
        for (const c of [ a1, a2, b, pool ]) await c.saw('to all');
        const without = c => c.text.replaceAll(': ping\n\n', '');
        assert.strictEqual(without(a1), 'event: e\nretry: 2\nid: 1\ndata: {"x":[1,"ü\\n"]}\n\ndata: two\ndata: lines\n\ndata: to all\n\n');
        assert.strictEqual(without(a2), without(a1));
        assert.strictEqual(without(b), 'data: to all\n\n');
        assert.strictEqual(without(pool), 'data: to the pool\n\ndata: to all\n\n');
        await until('a heartbeat', () => a1.text.includes(': ping\n\n'));

        for (const [ method, args, n ] of [[ 'count', [ 'a' ], 2 ], [ 'count', [ 'nobody' ], 0 ], [ 'count', [], 0 ], [ 'countAll', [], 4 ]]) {
          await until(`${method} ${args} is ${n}`, async () => {
            const { type, result } = await application.call(method, ...args);
            assert.strictEqual(type, 'number');
            return result === n;
          });
        }

        // Over maxClients: egg-sse ends it for good, Fanfare tells it to reconnect later.
        const a3 = await client(application, 'a');
        const a4 = await client(application, 'a');
        if (differs) assert.match(a4.head, /^HTTP\/1\.1 204 /);
        else await until('a time to come back', () => /^retry: \d+\n\n$/.test(a4.text));
        a3.close();

        await application.call('close', 'a');
        await application.call('publish', 'b', 'after close');
        await b.saw('after close');
        if (differs) assert.ok(!a1.ended && !a2.ended);
        else await until('a is closed', () => a1.raw.includes('\r\n0\r\n\r\n') && a2.raw.includes('\r\n0\r\n\r\n'));
        await application.call('closeAll');
        if (!differs) await until('all are closed', () => b.raw.includes('\r\n0\r\n\r\n') && pool.raw.includes('\r\n0\r\n\r\n'));

        for (const path of [ '/stream/', '/STREAM' ]) {
          const c = new Subscriber(application.origin, path);
          open.push(c);
          await c.opened();
          assert.match(c.head, path === '/stream/' && differs ? /^HTTP\/1\.1 204 / : /^HTTP\/1\.1 (404|200) /, path);
        }
        // egg-sse lets it join the pool, and answers with a field that no client takes.
        if (!differs) assert.strictEqual((await fetch(`${application.origin}/stream`, { method: 'POST' })).status, 404);
      });

      test('two workers: each documented pattern reaches each client once', async () => {
        const application = await start(2, { TEST_SCHEDULES: 'on', TEST_REDIS_PORT: String(redis.port) });
        await application.pids(2);
        const four = key => Promise.all([ 1, 2, 3 ].map(() => client(application, key)));
        const keys = { messenger: await four('messenger'), redis: await four('redis'), all: await four('schedule-all') };
        const texts = [ ...Array(20).keys() ].map(i => `message ${i}`);
        for (const text of texts) {
          await application.post('/message', { text });
          await application.post('/redis', { text });
        }
        await once(keys.messenger, texts);
        await once(keys.redis, texts);

        // A schedule of type all: ticks 1, 2, 3, … come once to each client.
        for (const c of keys.all) await until('five ticks', () => c.events.length >= 5);
        for (const c of keys.all) {
          const ticks = c.events.map(data => JSON.parse(data).tick);
          ticks.forEach((tick, i) => assert.strictEqual(tick, ticks[0] + i, `${ticks}`));
        }
        if (differs) return;

        // What only one worker does, it sends: requests, messages and schedules for one worker.
        const [ direct, forOne, worker ] = [ await client(application, 'direct'), await client(application, 'for-one'), await client(application, 'schedule-worker') ];
        for (const text of texts) {
          assert.strictEqual((await application.callAndWait('publish', 'direct', text)).result.subscribers, 1);
          await application.post('/message-one', { text });
        }
        await once([ direct ], texts);
        await until('the messages for one worker', () => forOne.events.length >= texts.length);
        assert.deepStrictEqual(forOne.events.slice().sort(), texts.slice().sort());
        await until('ticks of both workers', () => new Set(worker.events.map(data => JSON.parse(data).pid)).size === 2);
        const ticks = worker.events;
        assert.strictEqual(new Set(ticks).size, ticks.length);
      });

      test('the page of the documentation, in Chromium', async () => {
        const application = running[0];
        const page = await browser.open();
        try {
          await page.goto(`${application.origin}/?key=page`);
          const seen = () => page.evaluate('seen');
          await until('the stream is open', async () => (await seen()).includes('open'));
          const opened = (await seen()).length;
          await application.call('publish', 'page', 'plain');
          await application.call('publish', 'page', { event: 'data', id: 7, data: { aa: 11 } });
          await until('both events', async () => (await seen()).length >= opened + 2);
          assert.deepStrictEqual(await seen(), [ 'open', 'message plain', 'data {"aa":11}' ]);
          if (differs) return;
          await application.call('close', 'page');
          await until('it comes back by itself', async () => (await seen()).filter(s => s === 'open').length === 2);
          await application.call('publish', 'page', 'again');
          await until('the event after', async () => (await seen()).at(-1) === 'message again');
        } finally {
          await page.close();
        }
      });
    });
  }
}
