'use strict';

// Who may subscribe: sse.server.authorize, for streams that the workers proxy and for those of browsers at Fanfare itself.
const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('fs');
const path = require('path');
const { VERSIONS, startCluster } = require('./harness/application');
const { startFanfare } = require('./harness/fanfare');
const { startBrowser } = require('./harness/browser');
const { binary } = require('./harness/build');
const { until, PATIENCE } = require('./harness/wait');
const { freePort } = require('./harness/ports');
const { isAlive, childrenOf } = require('./harness/processes');
const { Subscriber } = require('./harness/subscriber');

const FREE = { admin: 'http://127.0.0.1:0', stream: 'http://127.0.0.1:0', start: { binary } };

// serverOf finds the newest server that an application's log names.
const serverOf = (application, n = 1) => until(`server ${n} is started`, () => {
  const found = [ ...application.log().matchAll(/started Fanfare: streams at (\S+), publish API at \S+, pid (\d+)/g) ][n - 1];
  return found && { stream: found[1], pid: Number(found[2]) };
});

const streamPath = keys => `/stream?${[].concat(keys).map(key => `connectKey=${encodeURIComponent(key)}`).join('&')}`;

// outcome is what becomes of a request: 'stream', 'later' (an EventSource comes back) or the status with which it gives up.
async function outcome(origin, target, headers = {}) {
  const controller = new AbortController();
  const res = await fetch(origin + target, { headers: { ...headers, Connection: 'close' }, redirect: 'manual', signal: AbortSignal.any ? AbortSignal.any([ controller.signal, AbortSignal.timeout(PATIENCE) ]) : controller.signal });
  try {
    if (res.status !== 200 || !/^text\/event-stream/.test(res.headers.get('content-type'))) return res.status;
    const reader = res.body.getReader();
    const decoder = new TextDecoder();
    for (let text = ''; ;) {
      const { value, done } = await reader.read();
      text += decoder.decode(value || new Uint8Array(), { stream: true });
      if (/(^|\n)retry: \d+\n\n/.test(text)) return 'later';
      if (text.includes('event: position\n')) return 'stream';
      if (done) return `an end after ${JSON.stringify(text)}`;
    }
  } finally {
    controller.abort();
  }
}

async function login(application, user) {
  const res = await fetch(`${application.origin}/login?user=${user}`, { headers: { Connection: 'close' } });
  return { Cookie: res.headers.getSetCookie ? res.headers.getSetCookie().map(text => text.split(';')[0]).join('; ') : res.headers.get('set-cookie').match(/EGG_SESS(\.sig)?=[^;]*/g).join('; ') };
}

const tokenOf = async (application, key, headers = {}) => (await (await fetch(`${application.origin}/token?key=${encodeURIComponent(key)}`, { headers: { ...headers, Connection: 'close' } })).json()).token;

const LONG = [ ...Array(16).keys() ].map(i => `user.alice.${'é'.repeat(480)}${i}`); // 46 kB percent-encoded
const HIDDEN = `/stream?connectKey=news&${'a=1&'.repeat(1000)}connectKey=user.bob.mail`;

// Streams by a function that looks at the session: the same at both ports.
async function bySession(application, direct) {
  const alice = await login(application, 'alice');
  const token = await tokenOf(application, 'gift.*', alice);
  for (const [ keys, headers, expected ] of [
    [ 'news', {}, 401 ],
    [ 'news', alice, 'stream' ],
    [ [ 'news', 'user.alice.mail' ], alice, 'stream' ],
    [ 'user.bob.mail', alice, 403 ],
    [ [ 'news', 'user.bob.mail' ], alice, 403 ], // the first one alone would be allowed
    [ 'part', alice, 403 ], // the grant does not have it
    [ 'mistake', alice, 'later' ],
    [ LONG, alice, 'stream' ],
    [ 'gift.1', { Authorization: `Bearer ${token}` }, 'stream' ],
    [ 'news', { ...alice, Authorization: `Bearer ${token}` }, 403 ], // a token decides, if there is one
  ]) {
    for (const origin of [ direct, application.origin ]) {
      assert.strictEqual(await outcome(origin, streamPath(keys), headers), expected, `${String(keys).slice(0, 50)} at the port of ${origin === direct ? 'Fanfare' : 'the application'}\n${application.log().slice(-2000)}`);
    }
  }
  for (const origin of [ direct, application.origin ]) {
    assert.strictEqual(await outcome(origin, `${streamPath('gift.1')}&token=${token}`), 'stream');
  }
  // Node.js reads 1,000 parameters: a key after them is not subscribed to without a decision.
  assert.strictEqual(await outcome(direct, HIDDEN, alice), 403);
  const client = await new Subscriber(application.origin, HIDDEN, alice).opened();
  await until('it has the first key', async () => (await application.callAndWait('countAsync', 'news')).result === 1);
  assert.strictEqual((await application.callAndWait('countAsync', 'user.bob.mail')).result, 0);
  client.close();
  await until('it is gone', async () => (await application.callAndWait('countAsync', 'news')).result === 0);
  fs.writeFileSync(path.join(application.dir, 'busy'), '');
  for (const origin of [ direct, application.origin ]) assert.strictEqual(await outcome(origin, streamPath('user.alice.1'), alice), 'later');
  fs.unlinkSync(path.join(application.dir, 'busy'));
}

// Questions that do not come from Fanfare get yes or no.
async function fromOutside(application) {
  const alice = await login(application, 'alice');
  for (const [ target, headers, status ] of [
    [ streamPath('news'), {}, 401 ],
    [ streamPath('news'), alice, 204 ],
    [ streamPath('user.bob.mail'), alice, 403 ],
    [ streamPath('guard: status 200'), alice, 403 ],
    [ streamPath('guard: redirected'), alice, 403 ],
    [ HIDDEN, alice, 403 ],
    [ `${streamPath('news')}&sse-authorize=wrong`, alice, 400 ],
  ]) {
    const res = await fetch(application.origin + target, { headers: { ...headers, ...(!/sse-authorize/.test(target) && { 'X-Sse-Authorize': '1' }), Connection: 'close' }, redirect: 'manual' });
    assert.deepStrictEqual([ res.status, await res.text(), res.headers.get('location') ], [ status, '', null ], target.slice(0, 60));
  }
}

for (const version of VERSIONS) {
  test(`${version}: a function decides by the session, at both ports, and after the deaths of agent and server`, async () => {
    const application = await startCluster({ version, plugin: 'fanfare-egg', workers: 2, server: FREE, env: { TEST_AUTHORIZE: 'function' } });
    try {
      const server = await serverOf(application);
      await application.pids(2);
      await bySession(application, server.stream);
      await fromOutside(application);

      // Subjects: of a stream at each port.
      const alice = await login(application, 'alice');
      const streams = [ server.stream, application.origin ].map(origin => new Subscriber(origin, streamPath('news'), alice));
      await until('both are there', async () => (await application.callAndWait('presence', 'news')).result.subjects.some(s => s.subject === 'alice' && s.streams === 2));
      assert.deepStrictEqual((await application.callAndWait('disconnect', 'bob')).result, 0);
      assert.deepStrictEqual((await application.callAndWait('disconnect', 'alice')).result, 2);
      await until('both have ended', () => streams.every(s => s.ended || s.raw.includes('\r\n0\r\n\r\n')));
      for (const s of streams) s.close();
      const refused = (await application.callAndWait('token', 'news', { ttl: '25h' })).error;
      assert.deepStrictEqual([ refused.code, refused.field ], [ 'ERR_SSE_REFUSED', 'body' ]);
      assert.strictEqual((await application.callAndWait('token', [])).error.field, 'keys');
      assert.strictEqual((await application.callAndWait('token', 'news', { ttl: 'soon' })).error.field, 'ttl');
      assert.strictEqual((await application.callAndWait('disconnect', '')).error.field, 'subject');

      // The agent makes tokens, too. The next one knows the secrets, and a server that is started again gets them.
      const file = path.join(application.dir, 'token.json');
      await application.post('/agent/make-token', { key: 'gift.*', file });
      const made = await until('a token of the agent', () => JSON.parse(fs.readFileSync(file, 'utf8')));
      assert.ok(new Date(made.expires) > new Date());
      assert.strictEqual(made.subscribers, 0);
      assert.strictEqual(await outcome(server.stream, `${streamPath('gift.1')}&token=${made.token}`), 'stream');
      const agent = childrenOf(application.child.pid).find(pid => /agent_worker/.test(fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8')));
      process.kill(agent, 'SIGKILL');
      await until('the next agent has taken it over', () => /took over Fanfare/.test(application.log()));
      process.kill(server.pid, 'SIGKILL');
      const next = await serverOf(application, 2);
      await until('it is used', async () => (await application.callAndWait('publish', 'k', 'x')).result.sent);
      assert.strictEqual(await outcome(next.stream, `${streamPath('gift.1')}&token=${made.token}`), 'stream');
      for (const origin of [ next.stream, application.origin ]) {
        assert.strictEqual(await outcome(origin, streamPath('user.alice.mail'), alice), 'stream');
        assert.strictEqual(await outcome(origin, streamPath('user.bob.mail'), alice), 403);
      }
      assert.doesNotMatch(application.log(), /sse-authorize=(?!wrong)/, 'the secret is not logged');
      assert.strictEqual(await application.stop(), 0);
      await until('the server has ended', () => !isAlive(next.pid));
    } finally {
      await application.stop();
    }
  });
}

test('a Fanfare that the agent does not start: whom the middlewares let through', async () => {
  const secret = 'of'.repeat(16);
  const port = await freePort();
  const fanfare = await startFanfare({ env: { FANFARE_TOKEN_SECRET: 'x'.repeat(32), FANFARE_AUTH_CALLBACK: `http://127.0.0.1:${port}/stream?sse-authorize=${secret}` } });
  const server = { admin: fanfare.admin, stream: fanfare.stream, start: { enable: false }, authorize: true, callbackSecret: secret };
  const application = await startCluster({ version: 'egg4', plugin: 'fanfare-egg', workers: 2, server, cluster: { port } });
  let again;
  try {
    // Only what has come through to the plugin is allowed, whatever a middleware answers.
    const user = { Cookie: 'user=alice' };
    for (const [ key, headers, expected, proxied = expected ] of [
      [ 'news', {}, 'stream' ],
      [ 'private', {}, 403 ],
      [ 'private', user, 'stream' ],
      [ 'guard: redirected', user, 403, 302 ],
      [ 'guard: status 200', user, 403, 200 ],
      [ 'guard: status 204', user, 403, 204 ],
      [ 'guard: thrown', user, 403 ],
      [ 'guard: not found', user, 403, 404 ],
      [ 'guard: afterwards', user, 403, 403 ],
      [ 'guard: busy', user, 'later', 503 ],
      [ 'guard: wrapped', user, 'stream' ],
    ]) {
      assert.strictEqual(await outcome(fanfare.stream, streamPath(key), headers), expected, `${key} at Fanfare's port`);
      if (key !== 'guard: wrapped' && key !== 'guard: afterwards') assert.strictEqual(await outcome(application.origin, streamPath(key), headers), proxied, `${key} at the application's`);
    }
    const token = await tokenOf(application, 'private');
    assert.strictEqual(await outcome(fanfare.stream, `${streamPath('private')}&token=${token}`), 'stream');
    // Its secret changes: what the workers have made before is not valid, and that must not end an EventSource.
    await fanfare.stop();
    fanfare.env.FANFARE_TOKEN_SECRET = 'y'.repeat(32);
    again = await fanfare.restart();
    await until('a stream through each worker', async () => {
      for (let i = 0; i < 4; i++) assert.strictEqual(await outcome(application.origin, streamPath('news')), 'stream');
      return true;
    });
    assert.strictEqual(await outcome(again.stream, `${streamPath('private')}&token=${token}`), 401);
  } finally {
    await application.stop();
    await (again || fanfare).stop();
  }
});

test("'tokens': only who has one, and a Fanfare without tokenSecret opens nothing", async () => {
  const application = await startCluster({ version: 'egg4', plugin: 'fanfare-egg', workers: 1, server: { ...FREE, authorize: 'tokens' } });
  const { stream } = await serverOf(application);
  const token = await tokenOf(application, 'a*');
  for (const origin of [ stream, application.origin ]) {
    assert.strictEqual(await outcome(origin, streamPath('a')), 401);
    assert.strictEqual(await outcome(origin, `${streamPath('a')}&token=${token}`), 'stream');
    assert.strictEqual(await outcome(origin, streamPath('a'), { Cookie: `x=1; fanfare=${token}` }), 'stream');
    assert.strictEqual(await outcome(origin, `${streamPath('b')}&token=${token}`), 403);
  }
  assert.strictEqual(await application.stop(), 0);
});

test('a page: it is let in by its session, waits while the application is busy, and replaces a token that has expired', async () => {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const application = await startCluster({
    version: 'egg4', plugin: 'fanfare-egg', workers: 2, cluster: { port }, env: { TEST_AUTHORIZE: 'function' },
    server: { ...FREE, start: { binary, args: [ '--allowed-origins', origin, '--allow-credentials' ] } },
  });
  const browser = await startBrowser();
  try {
    const { stream } = await serverOf(application);
    const page = await browser.open();
    await page.goto(`${origin}/login?user=alice`);
    await page.evaluate(`
      const seen = [];
      function open(target) {
        const source = new EventSource(target, { withCredentials: true });
        source.onopen = () => seen.push('open');
        source.onerror = () => seen.push('error ' + source.readyState);
        source.onmessage = e => seen.push('message ' + e.data);
        source.addEventListener('expired', () => { // as the README says
          seen.push('expired');
          source.close();
          openByToken('60s');
        });
        return source;
      }
      async function openByToken(ttl) {
        const { token } = await (await fetch('/token?key=gift&ttl=' + ttl)).json();
        open('${stream}/stream?connectKey=gift&token=' + token);
      }
    `);
    let at = 0; // what the page has seen so far is looked at once
    const saw = async what => {
      const found = await until(`the page sees ${what}`, async () => {
        const seen = (await page.evaluate('seen')).slice(at);
        return seen.includes(what) && seen.slice(0, seen.indexOf(what) + 1);
      });
      at += found.length;
      return found;
    };

    await page.evaluate(`open('${stream}${streamPath('user.bob.mail')}')`);
    await saw('error 2'); // refused: it gives up

    fs.writeFileSync(path.join(application.dir, 'busy'), '');
    await page.evaluate(`open('${stream}${streamPath('user.alice.mail')}')`);
    await saw('error 0'); // it comes back
    fs.unlinkSync(path.join(application.dir, 'busy'));
    await until('it is let in', async () => (await application.callAndWait('presence', 'user.alice.mail')).result.subjects.length === 1);
    await application.callAndWait('publish', 'user.alice.mail', 'hello');
    assert.ok(!(await saw('message hello')).includes('error 2'));

    await page.evaluate("openByToken('1s')");
    await saw('expired');
    await saw('open');
    await until('it is back', async () => (await application.callAndWait('publish', 'gift', 'again')).result.subscribers === 1);
    await saw('message again');
  } finally {
    await browser.close();
    await application.stop();
  }
});
