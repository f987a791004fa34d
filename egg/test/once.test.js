'use strict';

// Who sends what happens in every worker: the parts on their own. migration.test.js and start.test.js have them together.
const { test } = require('node:test');
const assert = require('node:assert');
const http = require('http');
const net = require('net');
const { EventEmitter } = require('events');
const { Election, digestsOf, now } = require('../lib/election');
const { Chair } = require('../lib/chair');
const { currentOrigin, markServer, markMessenger } = require('../lib/origin');
const { until } = require('./harness/wait');

// The elections' timers keep no process alive, and here is nothing else.
const alive = setInterval(() => {}, 1000);

const job = (text, id) => {
  const made = { op: 'publish', key: 'k', frame: `${id === undefined ? '' : `id: ${id}\n`}data: ${text}\n\n` };
  return { ...made, digests: digestsOf(made) };
};
const told = (text, at = now(), late = 0) => ({ digests: job(text, Math.random()).digests, at, late });
const texts = jobs => jobs.map(j => /data: (.*)/.exec(j.frame)[1]);

function makeElection(options) {
  const seen = { sent: [], takeovers: [], late: [], asked: [], granted: [], lost: [] };
  const election = new Election({
    id: '2', alone: false, keep: 10000, skew: 10000, wait: 10000,
    send: async j => { seen.sent.push(...texts([ j ])); return { sent: true }; },
    ask: q => seen.asked.push(q),
    grant: g => seen.granted.push(g),
    onTakeover: (from, jobs) => seen.takeovers.push([ from, texts(jobs) ]),
    onLate: (jobs, leader) => seen.late.push([ leader, texts(jobs) ]),
    onLost: (j, err) => seen.lost.push(err),
    ...options,
  });
  return { election, ...seen };
}

// A cluster of elections whose messages reach all of them, as Egg's do, in the order in which they were sent.
function makeCluster(ids, options) {
  const all = new Map();
  const cast = method => message => setImmediate(() => { for (const { election } of all.values()) election[method](message); });
  const deliver = { tell: cast('tell'), asked: cast('asked'), granted: cast('granted') };
  const sent = []; // by all
  for (const id of ids) {
    const worker = makeElection({
      id, skew: 1000, ...options, ask: deliver.asked, grant: deliver.granted,
      send: async (j, late) => {
        await new Promise(resolve => setImmediate(resolve));
        sent.push([ id, ...texts([ j ]) ]);
        if (!late) deliver.tell(worker.election.account([ j ]));
        return { sent: true };
      },
    });
    all.set(id, worker);
  }
  for (const { election } of all.values()) election.lead(ids[0]);
  return { workers: ids.map(id => all.get(id).election), sent };
}

test('until a leader is known, calls wait', async () => {
  const { election, sent } = makeElection();
  const first = election.submit(job('a'));
  assert.deepStrictEqual(sent, []);
  election.lead('2');
  assert.deepStrictEqual(await first, { sent: true });
  assert.deepStrictEqual(sent, [ 'a' ]);

  // The worker that led is gone while no other listens yet: what was left to it is sent before what waited since.
  const orphan = makeElection();
  orphan.election.lead('1');
  const kept = orphan.election.submit(job('kept'));
  orphan.election.lead(null);
  const held = orphan.election.submit(job('held'));
  orphan.election.lead('2');
  assert.deepStrictEqual(orphan.takeovers, [[ '1', [ 'kept' ]]]);
  assert.deepStrictEqual(await Promise.all([ kept, held ]), [ { sent: true }, { sent: true } ]);
  assert.deepStrictEqual(orphan.sent, [ 'kept', 'held' ]);
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
  election.tell([ told('early') ]); // the leader was faster
  const outcomes = [ 'early', 'told', 'twice', 'twice', 'untold' ].map(text => election.submit(job(text, Math.random())));
  election.tell([ told('told'), told('twice') ]);
  for (const i of [ 0, 1, 2 ]) assert.strictEqual((await outcomes[i]).worker, '1');
  assert.strictEqual(sent.length, 0);
  election.lead('2');
  assert.deepStrictEqual(takeovers, [[ '1', [ 'twice', 'untold' ]]]);
  assert.deepStrictEqual(await Promise.all(outcomes.slice(3)), [ { sent: true }, { sent: true } ]);
  assert.deepStrictEqual(sent, [ 'twice', 'untold' ]);
  for (const [ a, b ] of [[ 'a', 'b' ], [ 'a\u2028id: 5', 'a\u2028id: 6' ]]) assert.notDeepStrictEqual(job(a).digests, job(b).digests);
  assert.notDeepStrictEqual(digestsOf({ op: 'publish', key: 'a', frame: 'data: id: 5\n\n' }), digestsOf({ op: 'publish', key: 'a', frame: 'data: id: 6\n\n' }));

  // What fails after it was left for good is reported.
  const failing = makeElection({ send: async () => { throw new Error('full'); } });
  failing.election.lead('1');
  assert.strictEqual((await failing.election.submit(job('declared'), true)).sent, false);
  failing.election.lead('2');
  await new Promise(resolve => setImmediate(resolve));
  assert.deepStrictEqual(failing.lost.map(err => err.message), [ 'full' ]);
});

test('what every worker publishes arrives once, what one worker publishes arrives once, late', async () => {
  const { workers, sent } = makeCluster([ '1', '2', '3' ]);
  const all = text => Promise.all(workers.map(w => w.submit(job(text, Math.random()))));
  const everywhere = await Promise.all([ all('shared'), all('same'), all('same') ]);
  assert.deepStrictEqual(everywhere.flat().map(o => o.sent), [ true, false, false, true, false, false, true, false, false ]);
  assert.deepStrictEqual(sent.splice(0).map(([ , text ]) => text), [ 'shared', 'same', 'same' ]);

  // The winners of a lock, consumers of a queue: each event happens in one worker.
  const alone = await Promise.all([ ...Array(60).keys() ].map(i => workers[i % 3].submit(job(`event ${i}`))));
  assert.ok(alone.every((o, i) => o.sent && Boolean(o.late) === (i % 3 > 0)));
  assert.deepStrictEqual(sent.map(([ , text ]) => text).sort(), [ ...Array(60).keys() ].map(i => `event ${i}`).sort());
  assert.ok(workers.every(w => w.waiting === 0));
  for (const w of workers) await w.close();
});

test('the same content at another time is another event', async () => {
  const { election, late } = makeElection({ skew: 100 });
  election.lead('1');
  election.tell([ told('tick', now() - 1000) ]); // the leader won the lock a second ago
  const mine = election.submit(job('tick'));
  election.tell([ told('tick', now() + 1000) ]); // and wins it again
  const slow = election.submit(job('slow'));
  election.tell([ told('slow', now() - 1000, 1000) ]); // its event loop was late: the same event
  assert.strictEqual((await slow).sent, false);
  election.granted({ to: '2', by: '1', serials: [ 1, 2 ] });
  assert.deepStrictEqual(await mine, { sent: true, late: true });
  assert.deepStrictEqual(late, [[ '1', [ 'tick' ]]]);
  await election.close();
});

test('a message to all workers is one event where its content differs, and none where one worker publishes', async () => {
  const { workers, sent } = makeCluster([ '1', '2' ]);
  const by = (worker, text, message) => {
    const made = { op: 'publish', key: 'k', frame: `data: ${text}\n\n` };
    return workers[worker].submit({ ...made, digests: digestsOf(made, () => message) });
  };
  await Promise.all([ by(0, 'by 1', 'm1'), by(1, 'by 2', 'm1') ]);
  assert.deepStrictEqual(sent.splice(0), [[ '1', 'by 1' ]]);
  assert.strictEqual((await by(1, 'by 2', 'm2')).late, true);
  assert.deepStrictEqual(sent, [[ '2', 'by 2' ]]);
  for (const w of workers) await w.close();
});

test('a leader that has it on its way, hangs or dies: the others wait, and ask again', async () => {
  // On its way to Fanfare: no grant until it is known.
  let answer;
  const leader = makeElection({ id: '1', send: () => new Promise(resolve => { answer = resolve; }) });
  leader.election.lead('1');
  const own = leader.election.submit(job('slow'));
  leader.election.asked({ from: '2', questions: [ { serial: 7, ...told('slow') }, { serial: 8, ...told('unknown') } ] });
  await until('a grant', () => leader.granted.length > 0);
  assert.deepStrictEqual(leader.granted, [ { to: '2', by: '1', serials: [ 8 ] } ]);
  answer({ sent: true });
  await own;

  // No answer: nothing is sent twice, and the next leader is asked.
  const { election, asked, sent } = makeElection({ skew: 20 });
  election.lead('1');
  const outcome = election.submit(job('x'));
  await until('a question', () => asked.length > 0);
  assert.strictEqual(sent.length, 0);
  election.granted({ to: '3', by: '1', serials: [ 1 ] });
  election.granted({ to: '2', by: '9', serials: [ 1 ] });
  assert.strictEqual(election.waiting, 1);
  election.lead('3');
  await until('another question', () => asked.length > 1);
  assert.deepStrictEqual(asked.map(a => a.questions.map(q => q.serial)), [[ 1 ], [ 1 ]]);
  election.granted({ to: '2', by: '3', serials: [ 1 ] });
  assert.deepStrictEqual(await outcome, { sent: true, late: true });
  await Promise.all([ election.close(), leader.election.close() ]);

  // The application closes: what nobody told of is sent.
  const closing = makeElection();
  closing.election.lead('1');
  const left = closing.election.submit(job('last'));
  await closing.election.close(20);
  assert.strictEqual((await left).late, true);
});

test('what is kept is bounded in time and number, and found without a search', async () => {
  const { election, takeovers } = makeElection({ keep: 30, skew: 10 });
  election.lead('1');
  await election.submit(job('old'), true);
  await until('it is forgotten', () => election.kept.size === 0);
  await election.submit(job('new'), true);
  election.lead('2');
  assert.deepStrictEqual(takeovers[0][1], [ 'new' ]);
  await election.close();

  const many = makeElection();
  many.election.lead('1');
  const outcomes = [];
  for (let i = 0; i < 10001; i++) outcomes.push(many.election.submit(job(`${i}`)));
  await assert.rejects(outcomes.pop(), { code: 'ERR_SSE_QUEUE_FULL' });
  let looks = 0;
  const { same } = many.election;
  many.election.same = function(...times) { looks++; return same.apply(this, times); };
  many.election.tell([ ...Array(10100).keys() ].map(i => told(`unknown ${i}`)));
  many.election.tell([ ...Array(5000).keys() ].map(i => told(`${9999 - i}`)));
  assert.ok(looks <= 5000, `${looks} looks`);
  assert.ok(many.election.kept.size === 5000 && many.election.told.size === 10000);
  // The same content thousands of times, too early to be the same event: a few are looked at.
  const equal = makeElection({ skew: 1 });
  equal.election.lead('1');
  for (let i = 0; i < 10000; i++) equal.election.submit(job('x'));
  looks = 0;
  equal.election.same = () => { looks++; return false; };
  equal.election.tell([ ...Array(100).keys() ].map(() => told('x', 0)));
  assert.ok(looks <= 10000, `${looks} looks`);
  for (const e of [ many.election, equal.election ]) await e.close();
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

test('the process may end', () => clearInterval(alive));
