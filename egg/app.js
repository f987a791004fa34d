'use strict';

const cluster = require('cluster');
const { maxHeaderSize } = require('http');
const { isMainThread, threadId } = require('worker_threads');
const { settingsOf } = require('./lib/settings');
const { Sse } = require('./lib/sse');
const { Hold } = require('./lib/lease');
const { Reporter } = require('./lib/reporter');
const { streamRoute } = require('./lib/stream_route');
const { Authorization } = require('./lib/authorization');
const { markServer, markMessenger } = require('./lib/origin');

const LONGEST_HEAD = 128 * 1024; // bytes: Fanfare's own limit of 64 KiB, with more of it percent-encoded

class AppBoot {
  constructor(app) {
    this.app = app;
  }

  // This runs before the application's own app.js, which can use app.sse, and before its routes, so none of them takes the path.
  configDidLoad() {
    const { app } = this;
    if (app.config.sse?.enable === false) return;
    const settings = settingsOf(app.config.sse);
    const inCluster = cluster.isWorker || !isMainThread;
    const id = isMainThread ? String(process.pid) : String(threadId);
    const reporter = new Reporter(app.coreLogger);
    const sse = app.sse = new Sse(settings, {
      id,
      alone: !inCluster || app.options.workers === 1,
      reporter,
      tell: events => app.messenger.sendToApp('sse-sent', events),
      ask: question => app.messenger.sendToApp('sse-ask', question),
      grant: grant => app.messenger.sendToApp('sse-grant', grant),
    });

    const authorization = new Authorization(settings, reporter);
    app.on('server', server => {
      markServer(server);
      // Fanfare asks with all keys of a stream in the query, which may be longer than Node.js takes by default.
      if (authorization.asks) server.maxHeaderSize = Math.max(LONGEST_HEAD, maxHeaderSize, server.maxHeaderSize || 0);
    });
    app.use(authorization.middleware); // before those of the application: it looks at what they have decided
    this.unmark = markMessenger(app.messenger);
    this.hold = new Hold(); // of the Fanfare that the agent has started
    this.told = new Promise(resolve => app.messenger.once('sse-state', resolve));
    app.messenger.on('sse-state', state => {
      if (state.hold) this.hold.take(state.hold);
      else if (state.admin) this.hold.release(); // without an address the agent has just started, and knows of none yet
      if (state.ask && !settings.server.callbackSecret) authorization.secret = state.ask;
      sse.learn(state);
    });
    app.messenger.on('sse-sent', events => sse.election.tell(events));
    app.messenger.on('sse-ask', question => sse.election.asked(question));
    app.messenger.on('sse-grant', grant => sse.election.granted(grant));
    // The agent does not know workers that are starting, and a new agent knows no workers at all.
    const hello = () => app.messenger.sendToAgent('sse-hello', { id, leader: sse.election.leader, thread: !isMainThread });
    app.messenger.on('egg-pids', hello);
    hello();

    this.route = streamRoute(sse, reporter, authorization);
    app.router.get(settings.path, this.route.handler);
    this.sse = sse;
  }

  // The agent knows where this application's own Fanfare is. A worker that has not heard of it yet would tell browsers to
  // come back, so it waits before it takes requests: readyTimeout at most, since the agent may be gone.
  async willReady() {
    if (!this.sse || !this.sse.settings.own || this.sse.settings.server.dryRun) return;
    let timer;
    await Promise.race([ this.told, new Promise(resolve => { timer = setTimeout(resolve, this.sse.settings.server.start.readyTimeout); }) ]);
    clearTimeout(timer);
  }

  async beforeClose() {
    if (!this.sse) return;
    this.unmark();
    this.route.close();
    await this.sse.shutdown();
    this.hold.release();
  }
}

module.exports = AppBoot;
