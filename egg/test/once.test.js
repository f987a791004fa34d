'use strict';

// Who sends what happens in every worker: the parts on their own. migration.test.js and start.test.js have them together.
const { test } = require('node:test');
const assert = require('node:assert');
const http = require('http');
const net = require('net');
const { EventEmitter } = require('events');
const { Election, digestOf } = require('../lib/election');
const { Chair } = require('../lib/chair');
const { currentOrigin, markServer, markMessenger } = require('../lib/origin');

const job = (text, id) => ({ op: 'publish', key: 'k', frame: `${id === undefined ? '' : `id: ${id}\n`}data: ${text}\n\n` });

function makeElection(options) {
  const sent = [];
  const takeovers = [];
  const election = new Election({
    id: '2', alone: false, keep: 10000, wait: 10000, ...options,
    send: async j => { sent.push(j.frame); return { sent: true }; },
    onTakeover: (from, jobs) => takeovers.push([ from, jobs.map(j => j.frame) ]),
  });
  return { election, sent, takeovers };
}

test('until a leader is known, calls wait', async () => {
  const { election, sent } = makeElection();
  const first = election.submit(job('a'));
  assert.deepStrictEqual(sent, []);
  election.lead('2');
  assert.deepStrictEqual(await first, { sent: true });
  assert.deepStrictEqual(sent, [ 'data: a\n\n' ]);

  // The worker that led is gone while no other listens yet: what was left to it is sent before what waited since.
  const orphan = makeElection();
  orphan.election.lead('1');
  await orphan.election.submit(job('kept'));
  orphan.election.lead(null);
  const held = orphan.election.submit(job('held'));
  orphan.election.lead('2');
  assert.deepStrictEqual(orphan.takeovers, [[ '1', [ 'data: kept\n\n' ]]]);
  assert.deepStrictEqual(await held, { sent: true });
  orphan.election.lead('3');
  orphan.election.lead('2');
  assert.strictEqual(orphan.takeovers.length, 2);

  const short = makeElection({ wait: 20 });
  await assert.rejects(short.election.submit(job('a')), { code: 'ERR_SSE_NO_LEADER' });
  assert.strictEqual(short.election.held.length, 0);
  const closed = makeElection();
  const waiting = closed.election.submit(job('a'));
  closed.election.close();
  await assert.rejects(waiting, { code: 'ERR_SSE_CLOSED' });
  assert.deepStrictEqual(await makeElection({ alone: true }).election.submit(job('a')), { sent: true });
});

test('a new leader sends what the old one did not tell of, whatever its id', async () => {
  const { election, sent, takeovers } = makeElection();
  election.lead('1');
  election.tell([ digestOf(job('early', 0.1)) ]); // the leader was faster
  for (const text of [ 'early', 'told', 'twice', 'twice', 'untold' ]) assert.strictEqual((await election.submit(job(text, Math.random()))).worker, '1');
  election.tell([ digestOf(job('told', 5)), digestOf(job('twice')) ]);
  election.lead('2');
  assert.strictEqual(sent.length, 0);
  assert.strictEqual(takeovers[0][0], '1');
  assert.deepStrictEqual(takeovers[0][1].map(frame => /data: (.*)/.exec(frame)[1]), [ 'twice', 'untold' ]);
  assert.notStrictEqual(digestOf({ op: 'publish', key: 'a', frame: 'data: id: 5\n\n' }), digestOf({ op: 'publish', key: 'a', frame: 'data: id: 6\n\n' }));
  assert.notStrictEqual(digestOf(job('a\u2028id: 5')), digestOf(job('a\u2028id: 6')));
});

test('what is kept for a new leader is bounded in time and number', async () => {
  const { election, takeovers } = makeElection({ keep: 30 });
  election.lead('1');
  await election.submit(job('old'));
  const begin = Date.now();
  while (Date.now() - begin < 40) await new Promise(resolve => setImmediate(resolve));
  await election.submit(job('new'));
  assert.strictEqual(election.kept.length, 1);
  election.lead('2');
  assert.deepStrictEqual(takeovers[0][1], [ 'data: new\n\n' ]);
  const many = makeElection();
  many.election.lead('1');
  for (let i = 0; i < 10100; i++) many.election.leave(job(`${i}`));
  many.election.tell([ ...Array(10100).keys() ].map(i => `unknown ${i}`));
  assert.ok(many.election.kept.length === 10000 && many.election.toldCount === 10000);
});

test('the chair names one worker, and keeps it while it lives', () => {
  const alive = new Set([ '11', '12' ]);
  const named = [];
  const chair = new Chair(() => named.push(chair.leader), id => alive.has(id));
  chair.hello({ id: '11', leader: null });
  chair.hello({ id: '12', leader: null });
  chair.pids([ '12' ]); // 11 is still starting
  assert.deepStrictEqual(named, [ '11' ]);
  alive.delete('11');
  chair.pids([ '12' ]);
  chair.pids([]);
  assert.deepStrictEqual(named, [ '11', '12' ]);
  alive.clear();
  chair.pids([]);
  chair.hello({ id: '13', leader: '12' });
  assert.deepStrictEqual(named, [ '11', '12', null, '13' ]);

  // The leader dies while the only other worker is still starting: it is named at once, not when a third says hello.
  const early = new Chair(() => {}, id => alive.has(id));
  alive.add('21').add('22');
  early.hello({ id: '21', leader: null });
  early.hello({ id: '22', leader: '21' });
  alive.delete('21');
  early.pids([]);
  assert.strictEqual(early.leader, '22');
  assert.deepStrictEqual([ ...early.known ], [ '22' ]);

  // Threads have no process that could be looked for: the master's list is all there is.
  const threads = new Chair(() => {}, () => assert.fail('a thread was looked for'));
  threads.hello({ id: '5', leader: null, thread: true });
  threads.hello({ id: '6', leader: '5', thread: true });
  threads.pids([]);
  assert.strictEqual(threads.leader, null);
  threads.pids([ '6' ]);
  assert.strictEqual(threads.leader, '6');

  const restarted = new Chair(() => {}, () => true);
  restarted.pids([ '11', '12', '13' ]);
  assert.strictEqual(restarted.leader, null, 'the workers know who leads');
  restarted.hello({ id: '13', leader: '12' });
  assert.strictEqual(restarted.leader, '12');
});

test('requests, upgraded connections and messages are told apart', async () => {
  const seen = [];
  const note = () => seen.push(currentOrigin().name);
  note();
  const server = http.createServer((req, res) => {
    note();
    setTimeout(() => { note(); res.end(); }, 1);
  });
  markServer(server);
  server.on('upgrade', (req, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n');
    socket.on('data', () => { note(); socket.end(); });
  });
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve, reject) => http.get({ port, host: '127.0.0.1', agent: false }, res => res.resume().on('end', resolve)).on('error', reject));
  await new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'));
    socket.once('data', () => socket.write('hello'));
    socket.on('error', reject).on('close', resolve);
  });
  await new Promise(resolve => server.close(resolve));
  assert.deepStrictEqual(seen.splice(0), [ 'outside of requests', 'a request', 'a request', 'a request' ]);

  for (const name of [ '_onMessage', 'onMessage' ]) {
    const messenger = new EventEmitter();
    messenger[name] = function(message) { this.emit(message.action, message.data); };
    messenger[name] = messenger[name].bind(messenger);
    const original = messenger[name];
    process.on('message', original);
    const undo = markMessenger(messenger);
    messenger.on('x', note);
    process.emit('message', { action: 'x' });
    process.emit('message', { action: 'x', receiverPid: '1' });
    messenger[name]({ action: 'x', receiverWorkerId: '1' });
    undo();
    process.emit('message', { action: 'x' });
    process.off('message', original);
    assert.deepStrictEqual(seen.splice(0), [ 'a message to all workers', 'a message to this worker', 'a message to this worker', 'outside of requests' ], name);
    assert.strictEqual(process.listenerCount('message'), 0);
  }
});
