'use strict';

// A Fanfare that the agent process starts, and the death of processes.
const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('fs');
const { startCluster, VERSIONS } = require('./harness/application');
const { startFanfare } = require('./harness/fanfare');
const { binary } = require('./harness/build');
const { subscribe, subscribeAgain, Subscriber } = require('./harness/subscriber');
const { until } = require('./harness/wait');
const { isAlive, childrenOf } = require('./harness/processes');
const { freePort } = require('./harness/ports');

const FREE = { admin: 'http://127.0.0.1:0', stream: 'http://127.0.0.1:0', start: { binary } };

// serverOf finds the server that an application's log names.
async function serverOf(application, n = 1) {
  return until(`server ${n} is started`, () => {
    const found = [ ...application.log().matchAll(/started Fanfare: streams at (\S+), publish API at (\S+), pid (\d+)/g) ];
    const match = found[n - 1];
    return match && { stream: match[1], admin: match[2], pid: Number(match[3]) };
  });
}

// isWhereItWas demands that a server that was started again has the port of before, unless somebody has taken that meanwhile.
function isWhereItWas(server, before, application) {
  if (!/address already in use/.test(application.log())) assert.strictEqual(server.stream, before.stream);
}

for (const version of VERSIONS) {
  test(`${version}: the agent starts a server with the application's settings, restarts it, and takes it along`, async () => {
    const application = await startCluster({ version, plugin: 'fanfare-egg', workers: 2, server: { ...FREE, token: 'secret', start: { binary, ids: 'off' } } });
    const server = await serverOf(application);
    const client = await subscribe(application.origin, 'k');
    assert.match(client.head, /\r\nX-From: config\r\n/i);
    assert.deepStrictEqual((await application.callAndWait('publish', 'k', 'one')).result, { sent: true, id: '', subscribers: 1 });
    await client.saw('one');
    assert.ok(client.text.startsWith('data: one\n\n') || client.text.startsWith(': ping\n\n'), 'ids are off');
    await until('a ping: pingInterval is passed on', () => client.text.includes(': ping\n\n'));
    const more = [ await subscribe(application.origin, 'k'), await subscribe(application.origin, 'k') ];
    const over = await subscribe(application.origin, 'k');
    await until('maxClients is passed on', () => over.text.startsWith('retry: '));
    for (const c of more) c.close();

    process.kill(server.pid, 'SIGKILL');
    await until('the stream ends', () => client.ended);
    const again = await serverOf(application, 2);
    isWhereItWas(again, server, application);
    const reopened = await subscribeAgain(application.origin, 'k');
    await application.callAndWait('publish', 'k', 'two');
    await reopened.saw('two');
    assert.strictEqual(await application.stop(), 0);
    await until('the server ends with the application', () => !isAlive(again.pid));
    reopened.close();
  });
}

// agentOf finds the agent among the master's children: it is no cluster worker.
const agentOf = application => childrenOf(application.child.pid).find(pid => /agent_worker/.test(fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8')));

for (const version of VERSIONS) {
  for (const signal of [ 'SIGKILL', 'SIGTERM' ]) {
    test(`${version}: streams stay open when the agent ends by ${signal}, and the next agent looks after their server`, async () => {
      const application = await startCluster({ version, plugin: 'fanfare-egg', workers: 2, server: FREE });
      const server = await serverOf(application);
      await application.pids(2);
      const client = await subscribe(application.origin, 'k');
      await application.callAndWait('publish', 'k', 'before');
      await client.saw('before');
      const first = agentOf(application);
      process.kill(first, signal);
      await until('the first agent has ended', () => !isAlive(first));
      // While there is no agent, or a new one that starts.
      await application.callAndWait('publish', 'k', 'without an agent');
      await client.saw('without an agent');
      await until('the next agent has taken it over', () => new RegExp(`took over Fanfare: .* pid ${server.pid}\\b`).test(application.log()));
      assert.strictEqual((await application.callAndWait('publish', 'k', 'after')).result.subscribers, 1);
      await client.saw('after');
      assert.ok(!client.ended && !client.raw.includes('\r\n0\r\n\r\n'));
      assert.ok(isAlive(server.pid));
      if (signal === 'SIGKILL') {
        // It starts another one when that dies, and takes it along.
        process.kill(server.pid, 'SIGKILL');
        const next = await serverOf(application, 2);
        isWhereItWas(next, server, application);
        await until('it is used', async () => (await application.callAndWait('publish', 'k', 'x')).result.sent);
        assert.strictEqual(await application.stop(), 0);
        await until('the next server has ended', () => !isAlive(next.pid));
      } else {
        assert.strictEqual(await application.stop(), 0);
        await until('the server has ended', () => !isAlive(server.pid));
      }
      client.close();
    });
  }
}

test('a server ends with the whole application, even after SIGKILL', async () => {
  const application = await startCluster({ version: 'egg4', plugin: 'fanfare-egg', workers: 2, server: FREE });
  const server = await serverOf(application);
  await application.pids(2);
  const first = agentOf(application);
  process.kill(first, 'SIGKILL');
  await until('the next agent has taken it over', () => /took over Fanfare/.test(application.log()));
  process.kill(application.child.pid, 'SIGKILL');
  await until('the server has ended', () => !isAlive(server.pid));
  await application.stop('SIGKILL');
});

test('a server ends when all processes of the application are killed at once', async () => {
  const application = await startCluster({ version: 'egg4', plugin: 'fanfare-egg', workers: 1, server: FREE });
  const server = await serverOf(application);
  for (const pid of [ application.child.pid, ...childrenOf(application.child.pid).filter(pid => pid !== server.pid) ]) process.kill(pid, 'SIGKILL');
  await until('the server has ended', () => !isAlive(server.pid));
  await application.stop('SIGKILL');
});

test('a server that runs already is used, and one is started when it goes', async () => {
  const [ admin, stream ] = [ await freePort(), await freePort() ];
  const fanfare = await startFanfare({ admin: `127.0.0.1:${admin}`, stream: `127.0.0.1:${stream}` });
  const server = { admin: fanfare.admin, stream: fanfare.stream, start: { binary } };
  const application = await startCluster({ version: 'egg4', plugin: 'fanfare-egg', workers: 1, server });
  assert.doesNotMatch(application.log(), /started Fanfare/);
  assert.strictEqual((await application.callAndWait('publish', 'k', 'x')).result.sent, true);
  await fanfare.kill('SIGTERM');
  const own = await serverOf(application);
  assert.strictEqual(own.admin, fanfare.admin);
  await until('it is used', async () => (await application.callAndWait('publish', 'k', 'x')).result.sent);
  assert.strictEqual(await application.stop(), 0);
  await until('it has ended', () => !isAlive(own.pid));
});

test('without the program the application starts, says how to get it, and tells pages to come back', async () => {
  const server = { admin: `http://127.0.0.1:${await freePort()}`, stream: `http://127.0.0.1:${await freePort()}`, start: { binary: '/nowhere/fanfare' }, queue: { maxAge: 300 } };
  const application = await startCluster({ version: 'egg4', plugin: 'fanfare-egg', workers: 1, server });
  await until('the log says what to do', () => /Fanfare can't be started: \/nowhere\/fanfare: no such program\. Build it .*go build.*sse\.server\.start\.binary/.test(application.log()));
  const client = await new Subscriber(application.origin, '/stream?connectKey=k').opened();
  await until('a time to come back', () => /^: the stream server is away\nretry: \d+\n\n$/.test(client.text));
  assert.match(client.head, /^HTTP\/1\.1 200 /);
  assert.strictEqual((await application.callAndWait('publish', 'k', 'x')).error.code, 'ERR_SSE_EXPIRED');
  client.close();
  assert.strictEqual(await application.stop(), 0);
});

test('a worker that leads is killed under traffic: no message is lost, and another leads', async () => {
  const fanfare = await startFanfare({ args: [ '--ids', 'off' ] });
  const application = await startCluster({ version: 'egg4', plugin: 'fanfare-egg', workers: 2, server: { admin: fanfare.admin, stream: fanfare.stream, start: { enable: false } } });
  try {
    const pids = await application.pids(2);
    const client = await subscribe(fanfare.stream, 'messenger');
    const { leader } = JSON.parse(await (await fetch(`${application.origin}/stats`)).text());
    assert.ok(pids.includes(Number(leader)));
    // Messages come from the agent, which lives on. The leader has told the other worker of the first hundred.
    await fetch(`${application.origin}/flood?n=100`);
    await until('the other worker has heard of them', async () => {
      const stats = await (await fetch(`${application.origin}/stats`, { headers: { Connection: 'close' } })).json();
      return !stats.leads && stats.left === 100 && stats.waiting === 0;
    });
    await fetch(`${application.origin}/flood?from=100&n=500`);
    await client.saw('200');
    process.kill(Number(leader), 'SIGKILL');
    await client.saw('599');
    const [ , resent ] = await until('another one says that it leads', () => new RegExp(`takes over from worker ${leader} .* and sends (\\d+) events that`).exec(application.log()));
    const seen = client.events.map(Number);
    const missing = [ ...Array(600).keys() ].filter(i => !seen.includes(i));
    assert.deepStrictEqual(missing, []);
    const twice = seen.filter((n, i) => seen.indexOf(n) < i);
    assert.ok(twice.length <= Number(resent), `${twice.length} came twice, and ${resent} were sent again`);
    assert.deepStrictEqual(twice.filter(n => n < 100), [], 'what the leader had told of came once');
    client.close();
  } finally {
    await application.stop();
    await fanfare.stop();
  }
});
