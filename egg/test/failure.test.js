'use strict';

// What happens to each publish when Fanfare is away, slow, or refuses: delivered or reported, never lost in silence.
const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');
const { startFanfare } = require('./harness/fanfare');
const { subscribe } = require('./harness/subscriber');
const { until, PATIENCE } = require('./harness/wait');
const { freePort } = require('./harness/ports');
const { settingsOf } = require('../lib/settings');
const { digestsOf, now } = require('../lib/election');
const { makeSse } = require('./harness/sse');
const defaults = require('../config/config.default').sse;

// A server that answers each batch by answer(lines, req, res), and questions for its health by the text health.
async function fakeFanfare(answer, health = 'ok\n') {
  const server = http.createServer((req, res) => {
    if (req.url === '/healthz') return res.end(health);
    let body = '';
    req.on('data', text => { body += text; });
    req.on('end', () => answer(body.split('\n').map(line => JSON.parse(line)), req, res));
  });
  const open = new Set(); // closeAllConnections is younger than the oldest Node.js that this runs on
  server.on('connection', socket => { open.add(socket.on('close', () => open.delete(socket))); });
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  return { url, close: () => { server.close(); for (const socket of open) socket.destroy(); } };
}

// numbers are what a client received, but for what Fanfare tells of gaps.
const numbers = client => client.events.filter(data => /^\d+$/.test(data)).map(Number);

const ok = (lines, req, res) => res.end(lines.map(() => '{"id":"","subscribers":0}\n').join(''));
const outcome = promise => promise.then(answer => (answer.sent ? 'sent' : answer.reason), err => err.code);

test('Fanfare is killed under traffic and comes back: each event is delivered or reported, in order', async () => {
  let fanfare = await startFanfare();
  const sse = makeSse({ admin: fanfare.admin, stream: fanfare.stream });
  const errors = [];
  const changes = [];
  sse.on('error', err => errors.push(err));
  sse.on('away', () => changes.push('away'));
  sse.on('back', () => changes.push('back'));
  const received = [];
  try {
    const outcomes = [];
    let client = await subscribe(fanfare.stream, 'k');
    let next = 0;
    const publish = n => { for (const end = next + n; next < end; next++) outcomes.push(outcome(sse.publish('k', `${next}`))); };
    // Three times, and again until a kill has met a request on its way.
    for (let round = 0; round < 3 || round < 30 && (await Promise.all(outcomes)).every(o => o !== 'ERR_SSE_UNCERTAIN'); round++) {
      publish(500);
      await client.saw(`${next - 500}`); // some have arrived, some are on their way
      publish(500);
      await fanfare.kill('SIGKILL');
      publish(500);
      await until('the client sees the end', () => client.ended);
      received.push(...numbers(client));
      await until('it is noticed', () => changes.at(-1) === 'away');
      assert.ok(sse.stats.waiting > 0);
      const before = sse.publisher.size; // what follows waits, and must all arrive
      assert.ok(before >= 500);
      fanfare = await fanfare.restart();
      client = await subscribe(fanfare.stream, 'k', { 'Last-Event-ID': 'from another life' }); // replays what is kept
      await sse.flush();
      await until('it is back', () => changes.at(-1) === 'back');
    }
    await sse.publish('k', 'end');
    await client.saw('end');
    received.push(...numbers(client));
    client.close();

    const results = await Promise.all(outcomes);
    const count = code => results.filter(r => r === code).length;
    assert.strictEqual(count('sent') + count('ERR_SSE_UNCERTAIN'), results.length, [ ...new Set(results) ].join());
    assert.ok(count('ERR_SSE_UNCERTAIN') > 0 && count('sent') > 1500);
    assert.strictEqual(errors.length, count('ERR_SSE_UNCERTAIN'));
    assert.ok(errors.every(err => err.op === 'publish' && err.key === 'k'));
    assert.ok(sse.log.some(line => line.startsWith('error') && /failed: it may or may not have been published/.test(line)));
    assert.ok(sse.log.some(line => /can't be reached/.test(line)) && sse.log.some(line => /is back/.test(line)));
    assert.ok(received.every((n, i) => i === 0 || n > received[i - 1]), 'in order, none twice');
    assert.deepStrictEqual(sse.stats.published - 1, count('sent'));
  } finally {
    await sse.shutdown();
    await fanfare.stop();
  }
});

test('a full queue refuses, and says which limit; what waited is sent', async () => {
  const port = await freePort();
  for (const [ queue, fits ] of [[ { maxEvents: 5 }, 5 ], [ { maxBytes: 1024 }, 2 ]]) {
    const sse = makeSse({ admin: `http://127.0.0.1:${port}`, queue });
    const results = [ ...Array(10).keys() ].map(i => sse.publish('k', `${i}`.repeat(400)));
    await assert.rejects(results[9], err => err.code === 'ERR_SSE_QUEUE_FULL' && err.message.includes(`server.queue.${Object.keys(queue)[0]}`));
    await until('it is away', () => sse.log.length > 0);
    const fanfare = await startFanfare({ admin: `127.0.0.1:${port}` });
    const outcomes = await Promise.all(results.map(outcome));
    assert.deepStrictEqual(outcomes, [ ...Array(10).keys() ].map(i => (i < fits ? 'sent' : 'ERR_SSE_QUEUE_FULL')));
    await sse.shutdown();
    await fanfare.stop();
  }
});

test('flush and stats know of what waits for a leader', async () => {
  const fake = await fakeFanfare(ok);
  const sse = makeSse({ admin: fake.url }, { alone: false });
  const result = sse.publish('k', 'x');
  assert.strictEqual(sse.stats.waiting, 1);
  let flushed = false;
  const flush = sse.flush().then(() => { flushed = true; });
  await sse.publish('k', 'y', { from: 'this' });
  assert.ok(!flushed);
  sse.learn({ leader: '1' });
  await flush;
  assert.strictEqual((await result).sent, true);
  assert.strictEqual(sse.stats.waiting, 0);
  await sse.shutdown();
  fake.close();
});

test('who sends: once.mode, and what a call says', async () => {
  for (const [ mode, from, who ] of [
    [ 'auto', undefined, 'leader' ], [ 'auto', 'this', 'this' ], [ 'auto', 'leader', 'leader' ],
    [ 'leader', undefined, 'leader' ], [ 'leader', 'this', 'this' ],
    [ 'every', undefined, 'this' ], [ 'every', 'leader', 'leader' ],
  ]) {
    const fake = await fakeFanfare(ok);
    const sse = makeSse({ admin: fake.url, once: { mode } }, { alone: false });
    sse.learn({ leader: '2' });
    for (let i = 0; i < 2; i++) {
      const outcome = sse.publish('k', 'x', { from });
      // The worker that leads has published it, too.
      if (who === 'leader') sse.election.tell([ { digests: digestsOf({ op: 'publish', key: 'k', frame: 'data: x\n\n' }), at: now(), late: 0 } ]);
      const { sent, worker } = await outcome;
      assert.deepStrictEqual({ sent, worker }, who === 'this' ? { sent: true, worker: undefined } : { sent: false, worker: '2' }, `${mode} ${from}`);
    }
    // Said once, and only where nobody has said who: the setting may be wrong for the application.
    assert.strictEqual(sse.log.filter(line => /published from outside of requests is sent by worker 2 .*from: 'this'/.test(line)).length, who === 'leader' && !from ? 1 : 0);
    await sse.shutdown();
    fake.close();
  }
});

test('what waits for too long is given up', async () => {
  const sse = makeSse({ admin: `http://127.0.0.1:${await freePort()}`, queue: { maxAge: 200 } });
  const begin = Date.now();
  await assert.rejects(sse.publish('k', 'x'), err => err.code === 'ERR_SSE_EXPIRED' && /server\.queue\.maxAge/.test(err.message));
  assert.ok(Date.now() - begin < PATIENCE, 'not until another limit');
  await sse.shutdown();
});

test('a wrong token, and a limit of Fanfare, are told by name', async () => {
  const fanfare = await startFanfare({ args: [ '--max-event-bytes', '1KiB', '--max-body-bytes', '4KiB', '--max-key-bytes', '50' ], env: { FANFARE_PUBLISH_TOKEN: 'secret' } });
  const wrong = makeSse({ admin: fanfare.admin, token: 'guess' });
  await assert.rejects(wrong.publish('k', 'x'), err => err.code === 'ERR_SSE_REFUSED' && err.status === 401 && /sse\.server\.token/.test(err.message));
  await assert.rejects(wrong.countAsync('k'), /sse\.server\.token/);
  await wrong.shutdown();
  assert.ok(!wrong.log.join().includes('guess'));

  const sse = makeSse({ admin: fanfare.admin, token: 'secret' });
  const large = sse.publish('k', 'x'.repeat(2000));
  const key = sse.publish('k'.repeat(60), 'x');
  // Together they are above maxBodyBytes: they go in smaller batches.
  const many = [ ...Array(50).keys() ].map(i => sse.publish('k', `${i}`.repeat(300)));
  await assert.rejects(large, err => err.code === 'ERR_SSE_REFUSED' && err.field === 'maxEventBytes');
  await assert.rejects(key, err => err.code === 'ERR_SSE_REFUSED' && err.field === 'key');
  for (const result of many) assert.strictEqual((await result).sent, true);
  await assert.rejects(sse.publish('k', 'x'.repeat(8000)), err => err.code === 'ERR_SSE_REFUSED' && err.status === 413 && err.field === 'maxBodyBytes');
  await sse.shutdown();
  await fanfare.stop();
});

test('a slow server: time runs out, and it is not sent twice unless that is wanted', async () => {
  for (const uncertain of [ 'report', 'resend' ]) {
    const bodies = [];
    const fake = await fakeFanfare((lines, req, res) => {
      bodies.push(lines.map(l => l.frame));
      if (bodies.length > 1) ok(lines, req, res); // the first is never answered
    });
    const sse = makeSse({ admin: fake.url, timeout: 1000, uncertain });
    const result = outcome(sse.publish('k', 'x'));
    assert.strictEqual(await result, uncertain === 'report' ? 'ERR_SSE_UNCERTAIN' : 'sent');
    if (uncertain === 'report') assert.strictEqual(bodies.length, 1);
    else assert.ok(bodies.length >= 2);
    await sse.shutdown();
    fake.close();
  }
});

test('answers that are not Fanfare\'s', async () => {
  for (const [ status, body, code ] of [
    [ 200, '<html>', 'ERR_SSE_UNCERTAIN' ],
    [ 200, '{}\n{}\n', 'ERR_SSE_UNCERTAIN' ],
    [ 404, 'nothing here', 'ERR_SSE_REFUSED' ],
    [ 502, 'bad gateway', 'ERR_SSE_UNCERTAIN' ],
  ]) {
    const fake = await fakeFanfare((lines, req, res) => { res.statusCode = status; res.end(body); });
    const sse = makeSse({ admin: fake.url });
    assert.strictEqual(await outcome(sse.publish('k', 'x')), code, `${status} ${body}`);
    await sse.shutdown();
    fake.close();
  }
  let times = 0;
  const busy = await fakeFanfare((lines, req, res) => {
    if (++times < 3) res.statusCode = 503;
    ok(lines, req, res);
  });
  const sse = makeSse({ admin: busy.url });
  assert.strictEqual(await outcome(sse.publish('k', 'x')), 'sent');
  assert.strictEqual(times, 3);
  await sse.shutdown();
  busy.close();
});

test('a burst goes in few requests, over one connection, in order; one event at a time goes at once', async () => {
  const batches = [];
  const sockets = new Set();
  const fake = await fakeFanfare((lines, req, res) => {
    batches.push(lines);
    sockets.add(req.socket);
    ok(lines, req, res);
  });
  const sse = makeSse({ admin: fake.url });
  const all = [];
  for (let i = 0; i < 3000; i++) all.push(sse.publish(`k${i % 7}`, `${i}`));
  await Promise.all(all);
  assert.ok(batches.length <= 8, `${batches.length} requests`);
  assert.deepStrictEqual(batches.flat().map(l => l.frame), [ ...Array(3000).keys() ].map(i => `data: ${i}\n\n`));
  for (let i = 0; i < 20; i++) await sse.publish('k', 'x');
  assert.strictEqual(sockets.size, 1);
  await sse.shutdown();
  fake.close();
});

test('a shutdown sends what waits, and reports the rest; nobody has to catch', async () => {
  const unhandled = [];
  const note = err => unhandled.push(err);
  process.on('unhandledRejection', note);
  const arrived = [];
  const fake = await fakeFanfare((lines, req, res) => { arrived.push(...lines); ok(lines, req, res); });
  const sse = makeSse({ admin: fake.url });
  for (let i = 0; i < 100; i++) sse.publish('k', `${i}`);
  await sse.shutdown();
  assert.strictEqual(arrived.length, 100);
  assert.strictEqual(await outcome(sse.publish('k', 'late')), 'ERR_SSE_CLOSED');
  fake.close();

  const away = makeSse({ admin: `http://127.0.0.1:${await freePort()}`, closeTimeout: 100 });
  const seen = [];
  away.on('error', err => seen.push(err.code));
  for (let i = 0; i < 3; i++) away.publish('k', `${i}`);
  await away.shutdown();
  await new Promise(resolve => setImmediate(resolve));
  assert.deepStrictEqual(seen, Array(3).fill('ERR_SSE_CLOSED'));

  // What is on its way when the time is over has its error before shutdown resolves.
  let arrivals = 0;
  const silent = await fakeFanfare(() => { arrivals++; });
  const cut = makeSse({ admin: silent.url, closeTimeout: 100 });
  const codes = [];
  cut.on('error', err => codes.push(err.code));
  cut.publish('k', 'on its way');
  await until('the request has arrived', () => arrivals === 1);
  cut.publish('k', 'behind it');
  const begin = Date.now();
  await cut.shutdown();
  await new Promise(resolve => setImmediate(resolve));
  assert.deepStrictEqual(codes.sort(), [ 'ERR_SSE_CLOSED', 'ERR_SSE_UNCERTAIN' ]);
  assert.ok(Date.now() - begin < PATIENCE, 'not until server.timeout');
  silent.close();
  assert.deepStrictEqual(unhandled, []);
  process.off('unhandledRejection', note);
});

test('count and countAll are numbers that follow, and 0 when nobody can be connected', async () => {
  const fanfare = await startFanfare();
  const sse = makeSse({ admin: fanfare.admin, count: { refresh: 50, maxKeys: 3 } });
  assert.strictEqual(sse.count('k'), 0);
  assert.strictEqual(sse.countAll(), 0);
  const clients = [ await subscribe(fanfare.stream, 'k'), await subscribe(fanfare.stream, 'k') ];
  await until('two', () => sse.count('k') === 2 && sse.countAll() === 2);
  assert.strictEqual(await sse.countAsync('k'), 2);
  assert.strictEqual(await sse.countAllAsync(), 2);
  clients[0].close();
  await until('one', () => sse.count('k') === 1);
  for (const key of [ 'constructor', '__proto__', 'toString', 'hasOwnProperty' ]) assert.strictEqual(sse.count(key), 0);
  assert.ok(sse.counts.watched.size <= 3);
  await fanfare.kill('SIGKILL');
  await until('nobody', () => sse.count('k') === 0);
  await sse.shutdown();
});

test('countAll is never below the counts of keys, as a first guess or just after a publish', async () => {
  let all = 0;
  const fake = await fakeFanfare((lines, req, res) => res.end(lines.map(({ op }) => `${JSON.stringify(op === 'publish' ? { id: '', subscribers: 4 } : { count: op === 'countAll' ? all : 0 })}\n`).join('')));
  const sse = makeSse({ admin: fake.url, count: { refresh: 86400000 } });
  sse.countStream('news', 2); // this worker has two of the four streams
  assert.strictEqual(sse.count('news'), 2);
  await sse.publish('news', 'x');
  assert.strictEqual(sse.count('news'), 4);
  assert.strictEqual(sse.countAll(), 4);
  all = 7;
  await sse.countAllAsync();
  assert.strictEqual(sse.countAll(), 7);
  await sse.shutdown();
  fake.close();
});

test('what is logged is cut and escaped, wherever it comes from', async () => {
  const nasty = 'a\nERROR forged\r\x1b[31m\u202e\u2028\x9b\ud800';
  const long = nasty + 'k'.repeat(5000);
  const fake = await fakeFanfare((lines, req, res) => {
    if (lines[0].key === 'refuse me') return res.end(`${JSON.stringify({ error: long })}\n`);
    res.statusCode = 400;
    res.end(JSON.stringify({ error: long }));
  });
  const sse = makeSse({ admin: fake.url });
  sse.on('error', () => { throw new Error(long); });
  const calls = [
    () => sse.publish(long, 'x'), () => sse.close(long), () => sse.publish('refuse me', 'x'), () => sse.publish('k', { get data() { throw new Error(long); } }),
    () => sse.publish('k', 'x', { from: long }), () => sse.publish({ toString() { throw new Error(long); } }, 'x'), () => sse.publish('k', { data: { toJSON() { throw new Error(long); } } }),
  ];
  for (const call of calls) {
    await assert.rejects(call());
    sse.reporter.sum();
    sse.reporter.kinds.clear(); // each is a first one
  }
  await sse.shutdown();
  fake.close();
  assert.ok(sse.log.length >= 2 * calls.length);
  for (const line of sse.log) {
    assert.ok(line.length < 2300, `${line.length} characters`);
    assert.doesNotMatch(line, /[\x00-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]/); // eslint-disable-line no-control-regex
  }
  assert.ok(sse.log.some(line => /publish to "a\\n.*… \(50\d\d characters\)/.test(line) && line.split('kkk')[0].length < 200));
});

test('methods may be listeners, and counts need not be awaited: nothing ends the process, and the log says what is wrong', async () => {
  const sse = makeSse({});
  const unhandled = [];
  const note = err => unhandled.push(err);
  process.on('unhandledRejection', note);
  const { publish, publishAll, close, count, countAsync, countAllAsync } = sse;
  publish('k');
  publishAll(undefined);
  close(Object.create(null));
  assert.strictEqual(count('k'), 0);
  countAllAsync(); // nothing is started yet
  countAsync(Object.create(null));
  await new Promise(resolve => setTimeout(resolve, 20));
  process.off('unhandledRejection', note);
  assert.deepStrictEqual(unhandled, []);
  const log = sse.log.join('\n');
  assert.match(log, /publish to "k" failed: data: is undefined/);
  assert.match(log, /countAsync failed: key: has no text/);
  await sse.shutdown();
});

test('settings that are wrong are refused by name', () => {
  for (const [ change, name ] of [
    [ { path: 'stream' }, 'path' ], [ { maxClients: 0 }, 'maxClients' ], [ { pingInterval: '10s' }, 'pingInterval' ], [ { cacheKey: '' }, 'cacheKey' ],
    [ { headers: null }, 'headers' ], [ { server: { admin: '127.0.0.1:8081' } }, 'server.admin' ], [ { server: { mode: 'on' } }, 'server.mode' ],
    [ { server: { mode: 'redirect' } }, 'server.publicStream' ], [ { server: { queue: { maxEvents: 0 } } }, 'server.queue.maxEvents' ],
    [ { server: { queue: { maxEvent: 5 } } }, 'server.queue.maxEvent' ], [ { server: { tokn: 'x' } }, 'server.tokn' ], [ { server: { start: { enable: true } } }, 'server.start.enable' ],
    [ { server: { admin: 'http://127.0.0.1:8081' } }, 'server.stream' ], [ { server: { start: { enable: false } } }, 'server.admin' ], [ { server: { admin: 'http://192.0.2.1:0' } }, 'server.admin' ], [ { server: { once: { mode: 'never' } } }, 'server.once.mode' ],
  ]) {
    const server = { ...defaults.server, ...change.server };
    for (const part of [ 'once', 'queue', 'start' ]) server[part] = { ...defaults.server[part], ...(change.server || {})[part] };
    assert.throws(() => settingsOf({ ...defaults, ...change, server }), err => err instanceof TypeError && err.message.startsWith(`config.sse.${name}: `), name);
  }
  const { headers } = settingsOf({ ...defaults, headers: { ...defaults.headers, 'Transfer-Encoding': 'off', 'X-A': 1 } });
  assert.deepStrictEqual(Object.keys(headers), [ 'Cache-Control', 'X-Accel-Buffering', 'Access-Control-Allow-Origin', 'X-A' ]);
});

const BACKPLANE = 'ok\nnode: a\nbroker: connected\n';

test('Fanfare has a backplane: what it may have stored is sent again with the same key, and nothing else is', async () => {
  const seen = [];
  let turn = 0;
  const fake = await fakeFanfare((lines, req, res) => {
    seen.push(...lines);
    if (++turn === 1) { // the first two are stored, the third perhaps, and Fanfare stops there
      res.end(lines.map((line, i) => JSON.stringify(
        i < 2 ? { id: `e-${i}`, subscribers: 0 } : i === 2 ? { error: 'not confirmed', code: 'unconfirmed' } : { error: 'an earlier line is not stored' },
      ) + '\n').join(''));
    } else if (turn === 2) { // the answer is lost
      req.socket.destroy();
    } else if (turn === 3) {
      res.statusCode = 503;
      res.end('{"error":"not confirmed","code":"unconfirmed"}\n');
    } else {
      ok(lines, req, res);
    }
  }, BACKPLANE);
  const sse = makeSse({ admin: fake.url });
  try {
    const outcomes = await Promise.all([ ...'0123' ].map(data => outcome(sse.publish('k', data))).concat(outcome(sse.close('k'))));
    assert.deepStrictEqual(outcomes, Array(5).fill('sent'));
    const keys = seen.map(line => line.idempotencyKey);
    assert.strictEqual(turn, 5);
    assert.strictEqual(seen.length, 4 + 3 * 2 + 1); // the third event and the fourth are repeated, and close follows
    assert.strictEqual(new Set(keys.slice(0, 4)).size, 4);
    for (const again of [ 4, 6, 8 ]) assert.deepStrictEqual(keys.slice(again, again + 2), keys.slice(2, 4));
    assert.deepStrictEqual([ seen[10].op, keys[10] ], [ 'close', undefined ]); // close is not an event
  } finally {
    await sse.shutdown();
    fake.close();
  }
});

test('Fanfare has no backplane: it gets no keys, and what it may have published is reported', async () => {
  const seen = [];
  const fake = await fakeFanfare((lines, req) => { seen.push(...lines); req.socket.destroy(); });
  const sse = makeSse({ admin: fake.url });
  try {
    assert.strictEqual(await outcome(sse.publish('k', 'x')), 'ERR_SSE_UNCERTAIN');
    assert.deepStrictEqual(seen.map(line => line.idempotencyKey), [ undefined ]);
  } finally {
    await sse.shutdown();
    fake.close();
  }
});

test('a node of a real backplane: publish, publishAll, close and counts work, and a repetition is stored once', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'fanfare-'));
  let fanfare = await startFanfare({ args: [ '--backplane', 'embedded', '--data-dir', dir ] });
  const sse = makeSse({ admin: fanfare.admin, stream: fanfare.stream });
  try {
    const client = await subscribe(fanfare.stream, 'k');
    await Promise.all([ sse.publish('k', '0'), sse.publishAll('1'), sse.publish('k', '2') ]);
    await client.saw('2');
    assert.strictEqual(await sse.countAsync('k'), 1);
    assert.strictEqual(await sse.countAllAsync(), 1);
    await fanfare.kill('SIGKILL');
    const waiting = sse.publish('k', '3');
    fanfare = await fanfare.restart();
    assert.strictEqual((await waiting).sent, true);
    const again = await subscribe(fanfare.stream, 'k');
    await sse.publish('k', '4');
    await again.saw('4');
    await sse.close('k');
    await until('the stream is closed', () => again.ended);
    assert.deepStrictEqual(numbers(client), [ 0, 1, 2 ]);
  } finally {
    await sse.shutdown();
    await fanfare.stop();
    fs.rmSync(dir, { recursive: true, force: true });
  }
});
