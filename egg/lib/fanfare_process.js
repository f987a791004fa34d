'use strict';

const { spawn } = require('child_process');
const { randomBytes } = require('crypto');
const http = require('http');
const https = require('https');
const readline = require('readline');
const { AdminClient } = require('./admin_client');
const { checkStream } = require('./stream_check');

const LOOK_AGAIN = 1000; // ms between two looks at a server that others have started
const FIRST_DELAY = 100;
const LAST_DELAY = 5000;
const PATIENCE = 2000; // ms for one answer
const LIVED_LONG = 10000; // ms after which a start counts as a success

const OTHER = 'leave sse.server.admin and sse.server.stream unset for a Fanfare of this application\'s own';
const SHARED = 'which this application did not start: path, headers, maxClients, pingInterval, cacheKey and ids are as set there, and publishAll, closeAll and countAll are about all applications that use it';

/**
 * Looks after the Fanfare that the application uses. By default (settings.own) it is the application's alone: it is started
 * here, with a token of its own, and stops with this process, however it ends. Where the settings name the addresses of a
 * Fanfare, one that answers there is used if it takes the token, and otherwise one is started there (settings.starts).
 */
class FanfareProcess {
  /**
   * @param {object} settings from settingsOf
   * @param {object} logger Egg's
   * @param {(where: { admin: string, stream: string, token: string }) => void} onReady each time that a server is ready
   */
  constructor(settings, logger, onReady) {
    this.settings = settings;
    this.logger = logger;
    this.onReady = onReady;
    const { admin, stream, token } = settings.server;
    this.where = settings.own ? null : { admin, stream, token };
    // No other application, and no other user of this host, gets at a Fanfare that is started here.
    this.token = token || randomBytes(24).toString('hex');
    this.child = null;
    this.stopped = false;
    this.delay = FIRST_DELAY;
    this.saidMissing = false;
    this.wakeUp = () => {};
  }

  /** Resolves when a server is ready, or when it is clear that there is none for now: the log says why. */
  start() {
    return new Promise(resolve => {
      this.settled = resolve;
      this.running = this.run();
    });
  }

  async run() {
    while (!this.stopped) {
      const found = this.settings.own ? 'nothing' : await this.probe(); // nobody else's Fanfare is ever used as this application's own
      if (this.stopped) break;
      switch (found) {
        case 'ready':
          this.ready();
          this.delay = FIRST_DELAY;
          await this.sleep(LOOK_AGAIN);
          break;
        case 'draining':
          this.announced = false;
          await this.sleep(FIRST_DELAY);
          break;
        case 'nothing':
          this.announced = false;
          if (this.settings.starts) {
            await this.runChild();
          } else {
            this.sayOnce(`nothing answers at ${this.where.admin} (sse.server.admin): start Fanfare there, since sse.server.start.enable is false, or ${OTHER}`);
            this.settled();
            await this.sleep(LOOK_AGAIN);
          }
          break;
        default:
          this.announced = false;
          this.sayOnce(`${this.where.admin}: ${found}`);
          this.settled();
          await this.sleep(LAST_DELAY);
      }
    }
  }

  ready() {
    if (this.announced) return;
    this.announced = true;
    this.said = null;
    this.onReady(this.where);
    this.settled();
  }

  sayOnce(text) {
    if (this.said === text) return;
    this.said = text;
    this.logger.error('[fanfare-egg] %s', text);
  }

  /** What is at the addresses: 'ready', 'draining', 'nothing', or a text about what is wrong there, and what to do. */
  async probe() {
    const found = await this.probeAdmin();
    if (found !== 'ready' || this.announced) return found;
    // It is a Fanfare, and may be another application's.
    const client = new AdminClient({ url: this.where.admin, token: this.where.token, timeout: PATIENCE });
    try {
      await client.batch([ JSON.stringify({ op: 'countAll' }) ]);
      const { problem } = await checkStream({ stream: this.where.stream, path: this.settings.path, client });
      if (problem) return problem;
    } catch (err) {
      if (err.status !== 401) return err.message;
      return `the Fanfare there wants another token: it is another application's, or sse.server.token is wrong; set that to its publishToken to share it, or ${OTHER}`;
    } finally {
      client.close();
    }
    this.logger.info('[fanfare-egg] uses the Fanfare at %s (streams at %s), %s', this.where.admin, this.where.stream, SHARED);
    return 'ready';
  }

  // probeAdmin asks the admin listener for its health.
  probeAdmin() {
    const url = new URL('/readyz', this.where.admin);
    return new Promise(resolve => {
      const req = (url.protocol === 'https:' ? https : http).get(url, { agent: false, timeout: PATIENCE }, res => {
        let body = '';
        res.setEncoding('utf8').on('data', text => { body += text.slice(0, 100); });
        res.on('error', () => resolve('draining'));
        res.on('end', () => {
          if (res.statusCode === 200 && body === 'ok\n') resolve('ready');
          else if (res.statusCode === 503 && body === 'draining\n') resolve('draining');
          else resolve(`another program than Fanfare answers there (GET /readyz: ${res.statusCode}); set sse.server.admin to Fanfare's admin listener, or ${OTHER}`);
        });
      });
      req.on('timeout', () => req.destroy(new Error('no answer')));
      req.on('error', err => {
        if (err.code === 'ECONNREFUSED') resolve('nothing');
        else if (err.code === 'ECONNRESET') resolve('draining');
        else resolve(err.message);
      });
    });
  }

  // runChild starts a server and waits for its end, or for the time to try again.
  async runChild() {
    const { server } = this.settings;
    const binary = server.start.binary || process.env.EGG_FANFARE_BIN || 'fanfare';
    const began = Date.now();
    let failure = await new Promise(resolve => {
      const child = this.child = spawn(binary, server.start.args, {
        env: this.environment(),
        stdio: [ 'pipe', 'ignore', 'pipe' ], // the end of stdin tells it that this process has ended
        detached: true, // Ctrl-C is for this process, which then stops it
      });
      const tooLate = setTimeout(() => {
        this.sayOnce(`Fanfare is not ready after ${server.start.readyTimeout} ms (sse.server.start.readyTimeout)`);
        this.settled();
      }, server.start.readyTimeout);
      const done = text => { clearTimeout(tooLate); resolve(text); };
      child.once('error', err => done(err));
      child.stdin.on('error', () => {}); // it has ended: 'exit' tells
      let last = '';
      const where = {};
      readline.createInterface({ input: child.stderr }).on('line', line => {
        last = this.log(line) || last;
        const record = parse(line);
        if (record.msg === 'streams') where.stream = new URL(record.url).origin;
        if (record.msg !== 'publish API' || !record.url || !where.stream) return;
        clearTimeout(tooLate);
        this.where = { admin: new URL(record.url).origin, stream: where.stream, token: this.token };
        this.logger.info('[fanfare-egg] started Fanfare: streams at %s, publish API at %s, pid %d', this.where.stream, this.where.admin, child.pid);
        this.ready();
      });
      child.once('close', (code, signal) => done(`Fanfare ended (${signal || `exit code ${code}`})${last && `: ${last}`}`));
    });
    const wasReady = this.announced;
    this.child = null;
    this.announced = false;
    if (this.stopped) return;
    if (failure instanceof Error) {
      failure = failure.code === 'ENOENT' || failure.code === 'EACCES'
        ? `Fanfare can't be started: ${binary}: ${failure.code === 'ENOENT' ? 'no such program' : 'not executable'}. Build it in Fanfare's repository (go build -o /usr/local/bin/fanfare ./cmd/fanfare) ` +
          'and set sse.server.start.binary or EGG_FANFARE_BIN to it, or start it yourself (sse.server.admin, sse.server.stream)'
        : `Fanfare can't be started: ${failure.message}`;
    }
    // Another program may have taken the port meanwhile: what answers now is told in the next round.
    if (this.settings.own || await this.probeAdmin() === 'nothing') {
      this.sayOnce(failure);
      this.settled();
    }
    if (this.settings.own && !wasReady) this.where = null; // the ports that it had before may be taken now
    if (Date.now() - began > LIVED_LONG) this.delay = FIRST_DELAY;
    await this.sleep(this.delay);
    this.delay = Math.min(LAST_DELAY, this.delay * 2);
  }

  // The application's settings as Fanfare's variables: flags in start.args are stronger.
  environment() {
    const { settings, where } = this;
    const { server } = settings;
    const env = {
      ...process.env,
      FANFARE_LISTEN: addressOf(where ? where.stream : server.stream),
      FANFARE_ADMIN: addressOf(where ? where.admin : server.admin),
      FANFARE_PATH: settings.path,
      FANFARE_HEADERS: Object.entries(settings.headers).map(([ name, value ]) => `${name}: ${value}`).join('\n'),
      FANFARE_CACHE_KEY: settings.cacheKey,
      FANFARE_PING_INTERVAL: String(settings.pingInterval),
      FANFARE_MAX_CLIENTS: String(settings.maxClients),
      FANFARE_IDS: server.start.ids,
      FANFARE_STDIN_STOPS: 'true',
      FANFARE_DRAIN_TIMEOUT: `${server.start.stopTimeout}ms`,
      FANFARE_LOG_LEVEL: 'info',
      FANFARE_LOG_FORMAT: 'json',
    };
    if (settings.path === '/') env.FANFARE_PAGE = 'false';
    env.FANFARE_PUBLISH_TOKEN = this.token;
    return env;
  }

  // log hands a line of Fanfare's log on to Egg's, and returns its text if it tells of a failure.
  log(line) {
    const { time, level, msg, ...rest } = parse(line); // eslint-disable-line no-unused-vars
    if (msg === undefined) {
      this.logger.error('[fanfare] %s', line);
      return line;
    }
    const write = { ERROR: 'error', WARN: 'warn' }[level] || 'info';
    this.logger[write]('[fanfare] %s %j', msg, rest);
    return write === 'error' ? `${msg} ${JSON.stringify(rest)}` : '';
  }

  sleep(ms) {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms);
      this.wakeUp = () => { clearTimeout(timer); resolve(); };
    });
  }

  /** Stops the server if it was started here, politely first. */
  async stop() {
    this.stopped = true;
    this.wakeUp();
    const { child } = this;
    if (child && child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      const hard = setTimeout(() => child.kill('SIGKILL'), this.settings.server.start.stopTimeout + 1000);
      await this.running;
      clearTimeout(hard);
    }
    await this.running;
  }
}

function parse(line) {
  try {
    const record = JSON.parse(line);
    return record !== null && typeof record === 'object' ? record : {};
  } catch {
    return {};
  }
}

function addressOf(url) {
  const { hostname, port, protocol } = new URL(url);
  return `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`;
}

module.exports = { FanfareProcess };
