'use strict';

const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('fs');
const path = require('path');
const { startFanfare } = require('./harness/fanfare');
const { mockApplication } = require('./harness/mock');
const { subscribe } = require('./harness/subscriber');
const { until } = require('./harness/wait');
const { encode } = require('../lib/encode');

const vectors = JSON.parse(fs.readFileSync(path.join(__dirname, '../../internal/test/vectors/egg-sse.json'), 'utf8'));

// argumentsOf makes a vector's arguments after the key, anew each time.
function argumentsOf(vector) {
  if (vector.js === '__NOARG__') return [];
  return [ vector.js === undefined ? JSON.parse(vector.json) : eval(vector.js) ]; // eslint-disable-line no-eval
}

let fanfare;
let mocked;

// Tests, since the oldest Node.js that this runs on has no before and after.
test('the application and the server start', async () => {
  fanfare = await startFanfare({ args: [ '--ids', 'off' ] });
  mocked = await mockApplication({ version: 'egg4', server: { admin: fanfare.admin, stream: fanfare.stream } });
});

test('there are vectors of every kind', () => {
  assert.ok(vectors.length >= 100);
  assert.ok(vectors.filter(v => v.deviation).length >= 2);
  assert.ok(vectors.filter(v => v.wire === '').length >= 8);
});

for (const vector of vectors) {
  test(`${vector.name}: the bytes on a socket`, async () => {
    const { sse } = mocked.app;
    const key = `vector ${vector.name}`;
    const call = () => (vector.call === 'publish' ? sse.publish(key, ...argumentsOf(vector)) : sse.publishAll(...argumentsOf(vector)));
    const client = await subscribe(fanfare.stream, key);
    try {
      if (vector.deviation) {
        const field = vector.name.split('-')[0];
        await assert.rejects(call(), err => err instanceof TypeError && err.field === field && err.message.startsWith(`${field}: `));
      } else if (vector.wire === '') {
        await assert.rejects(call(), err => err instanceof TypeError && /^(data|event): /.test(err.message)); // not thrown: this is no request
      } else {
        assert.strictEqual((await call()).subscribers, 1);
      }
      await sse.publish(key, 'the end');
      const want = Buffer.from(`${vector.deviation ? '' : vector.wire}data: the end\n\n`);
      await until(`${vector.name}: ${want.length} bytes`, () => client.body.length >= want.length);
      assert.deepStrictEqual(client.body, want, `${client.body} instead of ${want}`);
    } finally {
      client.close();
      await until('the client counts as gone', async () => await fanfare.count(key) === 0);
    }
  });
}

test('encoding changes nothing of the event, and calls what it must once', () => {
  const shared = { data: ':c', id: 7 };
  assert.strictEqual(encode(shared), 'id: 7\n: c\n\n');
  assert.strictEqual(encode(shared), 'id: 7\n: c\n\n'); // egg-sse: a comment for the first client, data for the others
  assert.deepStrictEqual(shared, { data: ':c', id: 7 });
  let calls = 0;
  encode({ data: { toJSON() { calls++; return 1; } } });
  assert.strictEqual(calls, 1);
});

test('what egg-sse throws at is refused by name, and nothing is left behind', () => {
  for (const [ field, event ] of [
    [ 'data', undefined ], [ 'data', null ],
    [ 'data', { data: { a: 5n } } ],
    [ 'data', Object.freeze({ data: 'x' }) ],
    [ 'data', { get data() { return 'x'; } } ],
    [ 'data', Object.create(Object.freeze({ data: 'x' })) ],
    [ 'data', { get data() { throw new Error('not now'); } } ],
    [ 'data', { data: { toJSON() { throw new Error('not now'); } } } ],
    [ 'data', { data: Object.assign(() => {}, { toString() { throw new Error('not now'); } }) } ],
    [ 'event', { event: Symbol('s') } ],
    [ 'event', { event: Object.create(null) } ],
    [ 'event', { event: 'a\u0000' } ],
    [ 'id', { id: 'a\rb' } ],
    [ 'retry', { retry: '1\n' } ],
  ]) {
    assert.throws(() => encode(event), err => err instanceof TypeError && err.field === field && err.code === 'ERR_SSE_EVENT' && err.message.startsWith(`${field}: `), String(field));
  }
  // egg-sse takes these, since it assigns nothing.
  assert.strictEqual(encode(Object.freeze({ data: { a: 1 } })), 'data: {"a":1}\n\n');
  assert.strictEqual(encode(Object.freeze({ event: 'e' })), 'event: e\ndata: \n\n');
});

test('the application and the server stop', async () => {
  await mocked.close();
  await fanfare.stop();
});
