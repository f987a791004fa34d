'use strict';

// The application behind a real nginx: with the README's snippet, and with nothing but proxy_pass.
const { test, before, after } = require('node:test');
const assert = require('node:assert');
const { startCluster } = require('./harness/application');
const { startFanfare } = require('./harness/fanfare');
const { startBrowser } = require('./harness/browser');
const { startNginx, snippets } = require('./harness/nginx');
const { Subscriber } = require('./harness/subscriber');
const { until } = require('./harness/wait');

const ADDRESS = 'http://127.0.0.1:8080'; // of Fanfare's stream listener in the snippet, which is its default
const HEADS = /HTTP\/1\.1 200 OK\r\n/g;

let fanfare;
let application;
let browser;
before(async () => {
  fanfare = await startFanfare();
  application = await startCluster({ version: 'egg3', plugin: 'fanfare-egg', workers: 2, server: { admin: fanfare.admin, stream: fanfare.stream, start: { enable: false } } });
  browser = await startBrowser();
});
after(async () => {
  await browser.close();
  await application.stop();
  await fanfare.stop();
});

// What nginx passes to the application: everything that has no location of its own.
const everything = () => `        location / { proxy_pass ${application.origin}; }\n`;

// The README's snippet, with Fanfare where it is in this test.
function snippet() {
  const [ text, ...more ] = snippets();
  assert.deepStrictEqual(more, [], 'one nginx block in the README');
  assert.strictEqual(text.split(ADDRESS).length, 2, text);
  return text.replace(ADDRESS, fanfare.stream);
}

for (const [ name, locations, byFanfare ] of [
  [ "the README's snippet", () => snippet() + everything(), true ],
  [ 'proxy_pass to the application alone', everything, false ],
]) {
  test(`${name}: one event at a time, on a connection that is kept, at the page's own URL`, async () => {
    const nginx = await startNginx(locations());
    try {
      // Each event has to arrive before the next is published: whatever gathers them fails here.
      const key = `bytes ${byFanfare}`;
      const client = new Subscriber(nginx.origin, '/pid');
      await until('an answer of the application', () => client.raw.length > client.head.length + 2 && client.raw.toString('latin1').match(HEADS));
      client.request(`/stream?connectKey=${encodeURIComponent(key)}`);
      await until('the stream is open before there is an event', () => client.raw.toString('latin1').match(HEADS).length === 2);
      const head = client.raw.toString('latin1').slice(client.raw.toString('latin1').lastIndexOf('HTTP/1.1 '));
      assert.match(head, /\r\nContent-Type: text\/event-stream\r\n/i);
      assert.match(head, /\r\nTransfer-Encoding: chunked\r\n/i);
      assert.doesNotMatch(head, /\r\nConnection: close\r\n/i);
      // Whether the application's port has served it is told by the header that only the application sets.
      assert.strictEqual(/\r\nX-From: config\r\n/i.test(head), !byFanfare);
      for (let i = 0; i < 20; i++) {
        assert.strictEqual((await application.callAndWait('publish', key, `event ${i}`)).result.subscribers, 1);
        await until(`event ${i}`, () => client.raw.includes(`data: event ${i}\n`));
      }
      await application.callAndWait('close', key);
      await until('the stream ends, and the connection does not', () => client.raw.includes('\r\n0\r\n\r\n'));
      client.request('/pid');
      await until('a third answer on it', () => client.raw.toString('latin1').match(HEADS).length === 3);
      assert.ok(!client.ended);
      client.close();

      const page = await browser.newPage();
      const pageKey = `page ${byFanfare}`;
      await page.goto(`${nginx.origin}/?key=${encodeURIComponent(pageKey)}`);
      const seen = () => page.evaluate('seen');
      await until('the page\'s stream is open', async () => (await seen()).includes('open'));
      assert.strictEqual(await page.evaluate('eventSource.url'), `${nginx.origin}/stream?connectKey=${encodeURIComponent(pageKey)}`);
      for (let i = 0; i < 5; i++) {
        await application.call('publish', pageKey, `event ${i}`);
        await until(`event ${i} in the page`, async () => (await seen()).includes(`message event ${i}`));
      }
      assert.strictEqual(await fanfare.count(pageKey), 1);
      await page.close();
      await until('the closed page no longer counts', async () => await fanfare.count(pageKey) === 0);
      assert.doesNotMatch(nginx.log(), /\[(error|crit|alert|emerg)\]/);
    } finally {
      await nginx.stop();
    }
  });
}
