'use strict';

// The stream on the application's own port.
const { test, before, after } = require('node:test');
const assert = require('node:assert');
const http = require('http');
const { VERSIONS, startCluster } = require('./harness/application');
const { startFanfare } = require('./harness/fanfare');
const { subscribe, Subscriber } = require('./harness/subscriber');
const { startBrowser } = require('./harness/browser');
const { binary } = require('./harness/build');
const { until } = require('./harness/wait');
const { freePort } = require('./harness/ports');

let fanfare;
before(async () => { fanfare = await startFanfare({ args: [ '--history', '64', '--write-timeout', '60s', '--cache-key', 'another pool' ] }); });
after(() => fanfare.stop());

const start = (version, server) => startCluster({ version, plugin: 'fanfare-egg', workers: 1, server: { admin: fanfare.admin, stream: fanfare.stream, start: { enable: false }, ...server } });

for (const version of VERSIONS) {
  test(`${version}: the proxy passes requests and bytes on as they are`, async () => {
    const application = await start(version);
    try {
      // Keys of all kinds, and the application's own pool.
      for (const [ query, key ] of [[ '?connectKey=a+b%2Bc%zz', 'a b+c%zz' ], [ '?connectKey=constructor', 'constructor' ], [ '?x=1&connectKey=%E4%B8%96', '世' ], [ '?connectKey=', '@sse/count' ], [ '', '@sse/count' ]]) {
        const client = await new Subscriber(application.origin, `/stream${query}`).opened();
        await until(`a subscriber of ${key}`, async () => await fanfare.count(key) === 1);
        assert.strictEqual((await application.callAndWait('publish', key, `for ${key}`)).result.subscribers, 1);
        await client.saw(`for ${key}`);
        client.close();
        await until('it counts as gone', async () => await fanfare.count(key) === 0);
      }

      // Resuming.
      const first = await subscribe(application.origin, 'resume');
      const { id } = (await application.callAndWait('publish', 'resume', 'one')).result;
      await first.saw('one');
      first.close();
      await application.callAndWait('publish', 'resume', 'two');
      const second = await subscribe(application.origin, 'resume', { 'Last-Event-ID': id });
      await second.saw('two');
      assert.deepStrictEqual(second.events, [ 'two' ]);
      second.close();

      const head = await new Promise((resolve, reject) => http.request(`${application.origin}/stream?connectKey=h`, { method: 'HEAD' }, resolve).on('error', reject).end());
      assert.strictEqual(head.statusCode, 200);
      assert.match(head.headers['content-type'], /^text\/event-stream/);
      head.resume();
      assert.strictEqual(await fanfare.count('h'), 0);

      // A client that reads nothing: the bytes stay in Fanfare, and the worker does not grow.
      const slow = new Subscriber(application.origin, '/stream?connectKey=slow');
      await slow.opened();
      slow.socket.pause();
      const before = await (await fetch(`${application.origin}/memory`)).json();
      for (let i = 0; i < 20; i++) {
        const text = 'x'.repeat(1000000);
        const res = await fetch(`${fanfare.admin}/publish?key=slow`, { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body: text });
        assert.strictEqual(res.status, 200);
        await res.text();
      }
      const { rss } = await (await fetch(`${application.origin}/memory`)).json();
      assert.ok(rss - before.rss < 15e6, `${rss - before.rss} bytes more for 20 MB that were not read`);
      slow.close();
    } finally {
      assert.strictEqual(await application.stop(), 0);
    }
  });
}

test('Fanfare goes away: the streams end, and can be opened again', async () => {
  const own = await startFanfare();
  const application = await startCluster({ version: 'egg4', plugin: 'fanfare-egg', workers: 1, server: { admin: own.admin, stream: own.stream, start: { enable: false } } });
  const client = await subscribe(application.origin, 'k');
  await own.kill('SIGKILL');
  await until('the stream ends', () => client.ended);
  const away = await subscribe(application.origin, 'k');
  await until('a time to come back', () => /\nretry: \d+\n\n$/.test(away.text));
  away.close();
  const again = await own.restart();
  const back = await subscribe(application.origin, 'k');
  await until('it is a stream again', async () => await again.count('k') === 1);
  back.close();
  assert.doesNotMatch(application.log(), /ECONNRESET|aborted/);
  await application.stop();
  await again.stop();
});

test('redirect: Chromium follows it', async () => {
  const application = await start('egg4', { mode: 'redirect', publicStream: fanfare.stream });
  const browser = await startBrowser();
  try {
    const res = await fetch(`${application.origin}/stream?connectKey=a%20b`, { redirect: 'manual' });
    assert.strictEqual(res.status, 307);
    assert.strictEqual(res.headers.get('location'), `${fanfare.stream}/stream?connectKey=a%20b`);
    assert.strictEqual(res.headers.get('access-control-allow-origin'), '*');
    const page = await browser.open();
    await page.goto(`${application.origin}/?key=redirected`);
    await until('the stream is open', async () => (await page.evaluate('seen')).includes('open'));
    await application.callAndWait('publish', 'redirected', 'hello');
    await until('the event', async () => (await page.evaluate('seen')).includes('message hello'));
  } finally {
    await browser.close();
    await application.stop();
  }
});

test('redirect: to a Fanfare of the application\'s own, with its streams at an address that browsers reach', async () => {
  const stream = `http://127.0.0.2:${await freePort()}`;
  const application = await startCluster({ version: 'egg4', plugin: 'fanfare-egg', workers: 1, server: { mode: 'redirect', stream, publicStream: stream, start: { binary } } });
  try {
    assert.strictEqual((await fetch(`${application.origin}/stream?connectKey=private`, { redirect: 'manual' })).status, 403); // by a middleware
    const res = await fetch(`${application.origin}/stream?connectKey=k`, { redirect: 'manual' });
    const client = await subscribe(new URL(res.headers.get('location')).origin, 'k');
    assert.strictEqual((await application.callAndWait('publish', 'k', 'x')).result.subscribers, 1);
    await client.saw('x');
    client.close();
  } finally {
    await application.stop();
  }
});

test('off: the path is the application\'s', async () => {
  const application = await start('egg4', { mode: 'off' });
  const res = await fetch(`${application.origin}/stream`);
  assert.strictEqual(res.status, 404);
  assert.strictEqual(await res.text(), 'nothing here');
  await application.stop();
});
