'use strict';

const { spawn } = require('child_process');
const http = require('http');
const https = require('https');
const readline = require('readline');

const LOOK_AGAIN = 1000; // ms between two looks at a server that others have started
const FIRST_DELAY = 100;
const LAST_DELAY = 5000;
const LIVED_LONG = 10000; // ms after which a start counts as a success

/**
 * Keeps a Fanfare running at the addresses of the settings: one that answers there already is used, and otherwise one is
 * started, which stops with this process, however it ends. Several applications of a host may look after the same
 * addresses: one of them has started the server, and when it goes another one starts its own.
 */
class FanfareProcess {
  /**
   * @param {object} settings from settingsOf
   * @param {object} logger Egg's
   * @param {(where: { admin: string, stream: string }) => void} onReady each time that a server is ready
   */
  constructor(settings, logger, onReady) {
    this.settings = settings;
    this.logger = logger;
    this.onReady = onReady;
    this.where = settings.free ? null : { admin: settings.server.admin, stream: settings.server.stream };
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
      const found = this.where ? await this.probe() : 'nothing';
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
          await this.runChild();
          break;
        default:
          this.announced = false;
          this.sayOnce(`${this.where.admin}: ${found}; set sse.server.admin to Fanfare's admin listener, or to free ports (http://127.0.0.1:0)`);
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

  /** What is at the admin listener: 'ready', 'draining', 'nothing', or a text about what else answers. */
  probe() {
    const url = new URL('/readyz', this.where.admin);
    return new Promise(resolve => {
      const req = (url.protocol === 'https:' ? https : http).get(url, { agent: false, timeout: 2000 }, res => {
        let body = '';
        res.setEncoding('utf8').on('data', text => { body += text.slice(0, 100); });
        res.on('error', () => resolve('draining'));
        res.on('end', () => {
          if (res.statusCode === 200 && body === 'ok\n') resolve('ready');
          else if (res.statusCode === 503 && body === 'draining\n') resolve('draining');
          else resolve(`another program than Fanfare answers there (GET /readyz: ${res.statusCode})`);
        });
      });
      req.on('timeout', () => req.destroy(new Error('no answer in 2 s')));
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
        this.where = { admin: new URL(record.url).origin, stream: where.stream };
        this.logger.info('[fanfare-egg] started Fanfare: streams at %s, publish API at %s, pid %d', this.where.stream, this.where.admin, child.pid);
        this.ready();
      });
      child.once('close', (code, signal) => done(`Fanfare ended (${signal || `exit code ${code}`})${last && `: ${last}`}`));
    });
    this.child = null;
    this.announced = false;
    if (this.stopped) return;
    if (failure instanceof Error) {
      failure = failure.code === 'ENOENT' || failure.code === 'EACCES'
        ? `Fanfare can't be started: ${binary}: ${failure.code === 'ENOENT' ? 'no such program' : 'not executable'}. Build it in Fanfare's repository (go build -o /usr/local/bin/fanfare ./cmd/fanfare) ` +
          'and set sse.server.start.binary or EGG_FANFARE_BIN to it, or start it yourself (sse.server.admin, sse.server.stream)'
        : `Fanfare can't be started: ${failure.message}`;
    }
    // Another application's agent may have been faster: then the port is taken, and its server answers now.
    if (!this.where || await this.probe() === 'nothing') {
      this.sayOnce(failure);
      this.settled();
    }
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
    if (server.token) env.FANFARE_PUBLISH_TOKEN = server.token;
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
