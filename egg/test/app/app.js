'use strict';

// The patterns of egg-sse's documentation: a messenger listener and a Redis subscription in every worker.
const wrong = require('./wrong');

// A timer in every worker whose work is done by the one that gets a lock.
async function locked(app, n) {
  for (let i = 0; i < Number(n); i++) {
    setTimeout(async () => {
      if (await app.redis.set(`lock ${i}`, process.pid, 'EX', 60, 'NX')) app.sse.publish('locked', `${i}`);
    }, 20 * i);
  }
}

// A timer in every worker that begins when the worker starts: one whose events are alike in each, by the clock, and one whose
// events are the worker's own.
function timers(app) {
  const EVERY = 300;
  let n = 0;
  let tick = 0; // the same number in each worker
  let timer;
  const next = () => {
    const now = Date.now();
    tick = Math.max(tick, Math.floor(now / EVERY)) + 1;
    timer = setTimeout(() => {
      app.sse.publish('timer', `${tick}`);
      app.sse.publish('own-timer', { data: { n: ++n, pid: process.pid } }, { from: 'leader' });
      next();
    }, tick * EVERY - now);
  };
  next();
  app.beforeClose(() => clearTimeout(timer));
}

// The workers take jobs from a queue that they share.
async function consume(app) {
  const Redis = require('ioredis');
  const queue = new Redis(app.config.redis);
  app.beforeClose(() => queue.disconnect());
  try {
    for (;;) {
      const [ , job ] = await queue.blpop('jobs', 0);
      app.sse.publish('queue', job);
      await new Promise(resolve => setTimeout(resolve, 1)); // the others take some, too
    }
  } catch {
    // The application closes.
  }
}

module.exports = app => {
  app.messenger.on('news', message => {
    app.sse.publish('messenger', { id: Math.random(), event: 'data', data: message });
  });
  // A message that one worker gets is for that worker only.
  app.messenger.on('for-one', message => app.sse.publish('for-one', `${message}`));
  // Mistakes outside of requests: in a listener for messages, and in a timer.
  app.messenger.on('wrong', name => wrong[name](app.sse));
  app.messenger.on('wrong-later', name => setTimeout(() => wrong[name](app.sse), 1));
  app.messenger.on('count-failures', () => app.messenger.sendToAgent('failures', app.sse.stats.failed));
  // A message to all workers of which each publishes its own view.
  app.messenger.on('view', n => app.sse.publish('view', { data: { n, pid: process.pid } }));
  // A message to all workers of which the one that gets a lock publishes.
  app.messenger.on('locked-message', async text => {
    if (await app.redis.set(`message ${text}`, process.pid, 'EX', 60, 'NX')) app.sse.publish('locked-message', text);
  });
  // An upgraded connection, such as a WebSocket: each line that comes in is published.
  app.on('server', server => server.on('upgrade', (req, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n');
    let rest = '';
    socket.on('error', () => {}).on('data', text => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) app.sse.publish('socket', line);
    });
  }));
  if (process.env.TEST_TIMERS === 'on') timers(app);
  // An application that takes its time to start.
  app.beforeStart(() => new Promise(resolve => setTimeout(resolve, Number(process.env.TEST_SLOW_START) || 0)));
  if (app.config.redis.port) {
    const Redis = require('ioredis');
    app.redis = new Redis(app.config.redis);
    app.subscriber = new Redis(app.config.redis);
    app.beforeClose(() => {
      app.redis.disconnect();
      app.subscriber.disconnect();
    });
    app.beforeStart(async () => {
      await app.subscriber.subscribe('news', 'locked');
      consume(app);
    });
    app.subscriber.on('message', (channel, message) => {
      if (channel === 'locked') return locked(app, message);
      app.sse.publish('redis', { id: Math.random(), event: 'data', data: message });
    });
  }
};
