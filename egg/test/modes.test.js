'use strict';

// Egg's other ways to run workers: sticky connections, and worker_threads.
const { test } = require('node:test');
const assert = require('node:assert');
const { VERSIONS, startCluster } = require('./harness/application');
const { binary } = require('./harness/build');
const { subscribe } = require('./harness/subscriber');
const { until } = require('./harness/wait');
const { isAlive } = require('./harness/processes');
const { freePort } = require('./harness/ports');

const FREE = { admin: 'http://127.0.0.1:0', stream: 'http://127.0.0.1:0', start: { binary } };
const texts = [ ...Array(10).keys() ].map(i => `message ${i}`);

const serverPid = application => until('the log tells of the server', () => {
  const found = /started Fanfare: .* pid (\d+)/.exec(application.log());
  return found && Number(found[1]);
});

// Each client gets each message to all workers once, and its stream ends when it is closed.
async function once(application, clients) {
  for (const text of texts) await application.post('/message', { text });
  for (const c of clients) {
    await c.saw(texts.at(-1));
    assert.deepStrictEqual(c.events, texts);
  }
  const { result } = await application.callAndWait('publish', 'messenger', 'by a request');
  assert.strictEqual(result.subscribers, clients.length);
  await application.callAndWait('close', 'messenger');
  for (const c of clients) {
    await until('the stream ends', () => c.raw.includes('\r\n0\r\n\r\n'));
    assert.deepStrictEqual(c.events, [ ...texts, 'by a request' ]);
    c.close();
  }
}

for (const version of VERSIONS) {
  test(`${version}, sticky: each client has a worker by its address, and gets everything once`, async () => {
    const application = await startCluster({ version, plugin: 'fanfare-egg', workers: 2, server: FREE, cluster: { sticky: true } });
    try {
      // The master looks at the digits of an address: these two go to different workers.
      const clients = [];
      for (const address of [ '127.0.0.1', '127.0.0.2' ]) clients.push(await subscribe(application.origin, 'messenger', {}, address));
      await once(application, clients);
    } finally {
      assert.strictEqual(await application.stop(), 0);
    }
  });
}

for (const version of VERSIONS.filter(v => v !== 'egg2')) { // Egg 2 has no threads
  test(`${version}, worker_threads: a thread on each port, and everything comes once`, async () => {
    const ports = [ await freePort(), await freePort() ];
    const application = await startCluster({ version, plugin: 'fanfare-egg', workers: 2, server: FREE, cluster: { startMode: 'worker_threads', ports } });
    const origins = ports.map(port => `http://127.0.0.1:${port}`);
    let pid;
    try {
      pid = await serverPid(application);
      [ application.origin ] = origins;
      const stats = await Promise.all(origins.map(async origin => (await fetch(`${origin}/stats`)).json()));
      assert.strictEqual(stats[0].leader, stats[1].leader);
      assert.deepStrictEqual(stats.map(s => s.leads).sort(), [ false, true ]);
      await once(application, await Promise.all(origins.map(origin => subscribe(origin, 'messenger'))));
    } finally {
      await application.stop();
    }
    await until('the server ends with the application', () => !isAlive(pid));
  });
}
