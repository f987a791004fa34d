'use strict';

// The application behind a real nginx: with the README's snippet, and with nothing but proxy_pass.
const { test, before, after } = require('node:test');
const assert = require('node:assert');
const fs = require('fs');
const path = require('path');
const { startCluster } = require('./harness/application');
const { binary } = require('./harness/build');
const { startBrowser } = require('./harness/browser');
const { startNginx, snippets } = require('./harness/nginx');
const { Subscriber } = require('./harness/subscriber');
const { until } = require('./harness/wait');
const { freePort } = require('./harness/ports');

// In the README's snippets: Fanfare's stream listener, and the application.
const STREAM = 'http://127.0.0.1:8080';
const APPLICATION = 'http://127.0.0.1:7001';
const HEADS = /HTTP\/1\.1 200 OK\r\n/g;

let fanfare; // where the application's own one has its streams
let application;
let browser;
before(async () => {
  const [ config, ...more ] = settings();
  assert.deepStrictEqual(more, [], 'one block of settings for nginx in the README');
  fanfare = `http://127.0.0.1:${await freePort()}`;
  assert.strictEqual(config.server.stream, STREAM);
  application = await startCluster({ version: 'egg4', plugin: 'fanfare-egg', workers: 2, server: { ...config.server, stream: fanfare, start: { ...config.server.start, binary } } });
  browser = await startBrowser();
});
after(async () => {
  await browser.close();
  await application.stop();
});

// The settings that the README gives with its snippet.
function settings() {
  const text = fs.readFileSync(path.join(__dirname, '../README.md'), 'utf8');
  return [ ...text.matchAll(/^```js\n\/\/ config\/config\.prod\.js\n(.*?)^```$/gms) ].map(match => {
    const module = { exports: {} };
    new Function('exports', match[1])(module.exports); // eslint-disable-line no-new-func
    return module.exports.sse;
  });
}

// What nginx passes to the application: everything that has no location of its own.
const everything = () => `server { listen 80; location / { proxy_pass ${application.origin}; } }`;

// The README's snippet, with the addresses of this test.
function snippet() {
  const [ text, ...more ] = snippets();
  assert.deepStrictEqual(more, [], 'one nginx block in the README');
  assert.strictEqual(text.split(STREAM).length, 2, text);
  assert.strictEqual(text.split(APPLICATION).length, 2, text);
  return text.replace(STREAM, fanfare).replaceAll(APPLICATION, application.origin);
}

const count = async key => (await application.callAndWait('countAsync', key)).result;

for (const [ name, server, byFanfare ] of [
  [ "the README's snippet", snippet, true ],
  [ 'proxy_pass to the application alone', everything, false ],
]) {
  test(`${name}: one event at a time, on a connection that is kept, at the page's own URL`, async () => {
    const nginx = await startNginx(server());
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
      // Whether the application's port has served it is told by a header that Egg sets.
      assert.strictEqual(/\r\nX-Content-Type-Options: nosniff\r\n/i.test(head), !byFanfare);
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

      const page = await browser.open();
      const pageKey = `page ${byFanfare}`;
      await page.goto(`${nginx.origin}/?key=${encodeURIComponent(pageKey)}`);
      const seen = () => page.evaluate('seen');
      await until('the page\'s stream is open', async () => (await seen()).includes('open'));
      assert.strictEqual(await page.evaluate('eventSource.url'), `${nginx.origin}/stream?connectKey=${encodeURIComponent(pageKey)}`);
      for (let i = 0; i < 5; i++) {
        await application.call('publish', pageKey, `event ${i}`);
        await until(`event ${i} in the page`, async () => (await seen()).includes(`message event ${i}`));
      }
      assert.strictEqual(await count(pageKey), 1);
      await page.close();
      await until('the closed page no longer counts', async () => await count(pageKey) === 0);
      assert.doesNotMatch(nginx.log(), /\[(error|crit|alert|emerg)\]/);
    } finally {
      await nginx.stop();
    }
  });
}

test('the application\'s middlewares decide about each stream, whoever passes it on', async () => {
  const nginx = await startNginx(snippet());
  try {
    for (const origin of [ nginx.origin, application.origin ]) {
      for (const query of [ 'connectKey=private', '%63onnectKey=priv%61te', 'x=1&connectKey=private' ]) {
        assert.strictEqual((await fetch(`${origin}/stream?${query}`)).status, 403, `${origin} ${query}`);
        const client = await new Subscriber(origin, `/stream?${query}`, { Cookie: 'user=alice' }).opened();
        assert.match(client.head, /^HTTP\/1\.1 200 /);
        await until('it counts', async () => await count('private') === 1);
        await application.callAndWait('publish', 'private', 'for alice');
        await client.saw('for alice');
        client.close();
        await until('it is gone', async () => await count('private') === 0);
      }
    }
    // The same path in other letters, and the question itself from outside: no stream.
    for (const target of [ '/%73tream?connectKey=private', '/./stream?connectKey=private' ]) {
      const client = await new Subscriber(nginx.origin, target, { 'X-Sse-Authorize': '1' }).opened();
      assert.match(client.head, /^HTTP\/1\.1 (403|404) /, target);
      client.close();
    }
    assert.strictEqual(await count('private'), 0);
  } finally {
    await nginx.stop();
  }
});
