'use strict';

// Several applications on one host, and what else may listen on a port: nobody's events reach another's pages.
const { test } = require('node:test');
const assert = require('node:assert');
const http = require('http');
const { startCluster } = require('./harness/application');
const { startFanfare } = require('./harness/fanfare');
const { binary } = require('./harness/build');
const { subscribeAgain, Subscriber } = require('./harness/subscriber');
const { until } = require('./harness/wait');
const { freePort } = require('./harness/ports');

const start = (server, env) => startCluster({ version: 'egg4', plugin: 'fanfare-egg', workers: 1, server, env });
const says = (application, pattern) => until(`the log says ${pattern}`, () => pattern.exec(application.log()));
const ended = client => client.ended || client.raw.includes('\r\n0\r\n\r\n');

const streamOf = (application, key) => subscribeAgain(application.origin, key);

test('two applications with no settings but the program: publishAll, closeAll and counts do not cross over', async () => {
  const env = { EGG_FANFARE_BIN: binary };
  // Whatever runs at the addresses of `fanfare` without flags is nobody's by default.
  const [ a, b ] = await Promise.all([ start({}, env), start({}, env) ]);
  try {
    const [ inA, inB ] = [ await streamOf(a, 'news'), await streamOf(b, 'news') ];
    await a.callAndWait('publishAll', 'from a');
    await b.callAndWait('publishAll', 'from b');
    assert.strictEqual((await a.callAndWait('publish', 'news', 'the end of a')).result.subscribers, 1);
    await b.callAndWait('publish', 'news', 'the end of b');
    await inA.saw('the end of a');
    await inB.saw('the end of b');
    assert.deepStrictEqual(inA.events.filter(Boolean), [ 'from a', 'the end of a' ]);
    assert.deepStrictEqual(inB.events.filter(Boolean), [ 'from b', 'the end of b' ]);
    assert.strictEqual((await a.callAndWait('closeAll')).result.closed, 1);
    await until('a is closed', () => ended(inA));
    assert.strictEqual((await b.callAndWait('countAsync', 'news')).result, 1);
    await b.callAndWait('publish', 'news', 'after');
    await inB.saw('after');
    assert.ok(!ended(inB));
    // Nobody else gets at an application's Fanfare.
    const [ , admin ] = await says(a, /started Fanfare: .* publish API at (\S+),/);
    assert.strictEqual((await fetch(`${admin}/closeAll`, { method: 'POST' })).status, 401);
    for (const c of [ inA, inB ]) c.close();
  } finally {
    await Promise.all([ a.stop(), b.stop() ]);
  }
});

test('the same ports in two applications: the second one says so, and has its own when the first is gone', async () => {
  const server = { admin: `http://127.0.0.1:${await freePort()}`, stream: `http://127.0.0.1:${await freePort()}`, start: { binary } };
  const a = await start(server);
  let b;
  try {
    const inA = await streamOf(a, 'news');
    b = await start(server);
    await says(b, new RegExp(`${server.admin}: the Fanfare there wants another token: it is another application's, .*sse\\.server\\.token`));
    const { error } = await b.callAndWait('publishAll', 'from b');
    assert.strictEqual(error.code, 'ERR_SSE_REFUSED');
    assert.strictEqual((await b.callAndWait('closeAll')).error.code, 'ERR_SSE_REFUSED');
    await a.callAndWait('publish', 'news', 'from a');
    await inA.saw('from a');
    assert.deepStrictEqual(inA.events.filter(Boolean), [ 'from a' ]);
    assert.ok(!ended(inA));
    inA.close();
    await a.stop();
    await says(b, /started Fanfare/);
    const inB = await streamOf(b, 'news');
    await b.callAndWait('publish', 'news', 'from b');
    await inB.saw('from b');
    inB.close();
  } finally {
    await Promise.all([ a.stop(), b && b.stop() ]);
  }
});

test('a Fanfare that the settings name: the log says which, and what it does not have of the settings', async () => {
  const fanfare = await startFanfare();
  const other = await startFanfare({ args: [ '--path', '/other' ] });
  const sure = await start({ admin: fanfare.admin, stream: fanfare.stream, start: { binary } });
  const wrongPath = await start({ admin: other.admin, stream: other.stream, start: { binary } });
  const mixed = await start({ admin: fanfare.admin, stream: other.stream, start: { enable: false } });
  try {
    await says(sure, new RegExp(`uses the Fanfare at ${fanfare.admin} \\(streams at ${fanfare.stream}\\), which this application did not start: path, .*publishAll, closeAll`));
    await says(wrongPath, new RegExp(`the Fanfare at ${other.stream} has its streams at /other, and config\\.sse\\.path is /stream`));
    await says(mixed, new RegExp(`the Fanfare at ${other.stream} has its streams at /other`));
    for (const application of [ wrongPath, mixed ]) {
      const client = await new Subscriber(application.origin, '/stream?connectKey=k').opened();
      await until('a time to come back', () => /\nretry: \d+\n\n$/.test(client.text));
      assert.match(client.head, /^HTTP\/1\.1 200 /);
      client.close();
      await says(application, /a stream can't be opened: the Fanfare at \S+ has its streams at \/other/);
    }
    // A refusal of the Fanfare itself is the browser's to see.
    const refused = await fetch(`${sure.origin}/stream?connectKey=${'k'.repeat(2000)}`);
    const text = await refused.text();
    assert.strictEqual(refused.status, 400, `${text} ${sure.log().slice(-1000)}`);
    assert.match(text, /connectKey/);
  } finally {
    await Promise.all([ sure, wrongPath, mixed ].map(application => application.stop()));
    await Promise.all([ fanfare.stop(), other.stop() ]);
  }
});

test('two applications that name the same Fanfare share its keys, and each is told so', async () => {
  const fanfare = await startFanfare();
  const [ a, b ] = await Promise.all([ 1, 2 ].map(() => start({ admin: fanfare.admin, stream: fanfare.stream, start: { enable: false } })));
  try {
    const clients = [ await streamOf(a, 'news'), await streamOf(b, 'news') ];
    for (const [ application, text ] of [[ a, 'from a' ], [ b, 'from b' ]]) {
      assert.strictEqual((await application.callAndWait('publish', 'news', text)).result.subscribers, 2);
      for (const c of clients) await c.saw(text);
      await says(application, /uses the Fanfare at .*which this application did not start: .*about all applications that use it/);
    }
    for (const c of clients) {
      assert.deepStrictEqual(c.events.filter(Boolean), [ 'from a', 'from b' ]);
      c.close();
    }
  } finally {
    await Promise.all([ a.stop(), b.stop() ]);
    await fanfare.stop();
  }
});

test('another program on the stream port: its answers do not reach the browser, and the log names the setting', async () => {
  const fanfare = await startFanfare();
  let answer = res => res.end();
  const program = http.createServer((req, res) => answer(res));
  await new Promise(resolve => program.listen(0, '127.0.0.1', resolve));
  const stream = `http://127.0.0.1:${program.address().port}`;
  const application = await start({ admin: fanfare.admin, stream, start: { enable: false } });
  try {
    for (const [ what, respond, reason ] of [
      [ '404', res => { res.statusCode = 404; res.end('<h1>no such page</h1>'); }, /is no Fanfare \(status 404, no content type\): set sse\.server\.stream/ ],
      [ 'a page', res => { res.setHeader('Content-Type', 'text/html'); res.end('<h1>a page</h1>'); }, /is no Fanfare \(status 200, text\/html\)/ ],
      [ 'a redirect', res => { res.writeHead(302, { Location: '/login' }); res.end(); }, /is no Fanfare \(status 302/ ],
      [ 'a login', res => { res.statusCode = 401; res.end('who are you?'); }, null ],
      [ 'a stream', res => { res.writeHead(200, { 'Content-Type': 'text/event-stream' }); res.write('data: not yours\n\n'); }, /are not those of the Fanfare at/ ],
    ]) {
      answer = respond;
      await until(`${what} is not passed on`, async () => { // a check stands for some seconds
        const client = await new Subscriber(application.origin, '/stream?connectKey=k').opened();
        await until('a time to come back', () => /: the stream server is away\nretry: \d+\n\n$/.test(client.text));
        assert.match(client.head, /^HTTP\/1\.1 200 /);
        assert.doesNotMatch(client.text, /such page|a page|who are you|not yours/);
        client.close();
        return !reason || reason.test(application.log());
      });
    }
  } finally {
    await application.stop();
    program.closeAllConnections();
    program.close();
    await fanfare.stop();
  }
});

test('another program takes the stream port while Fanfare is away', async () => {
  const fanfare = await startFanfare();
  const application = await start({ admin: fanfare.admin, stream: fanfare.stream, start: { enable: false } });
  const program = http.createServer((req, res) => { res.statusCode = 404; res.end('no such page'); });
  try {
    const client = await streamOf(application, 'k');
    await fanfare.stop();
    await until('the stream ends', () => client.ended);
    await new Promise((resolve, reject) => program.once('error', reject).listen(new URL(fanfare.stream).port, '127.0.0.1', resolve));
    for (let i = 0; i < 3; i++) {
      const after = await new Subscriber(application.origin, '/stream?connectKey=k').opened();
      assert.match(after.head, /^HTTP\/1\.1 200 /);
      await until('a time to come back', () => /retry: \d+\n\n$/.test(after.text));
      after.close();
    }
  } finally {
    await application.stop();
    program.closeAllConnections();
    program.close();
  }
});
