'use strict';

const { spawn } = require('child_process');
const { randomBytes } = require('crypto');
const fs = require('fs');
const http = require('http');
const https = require('https');
const { AdminClient } = require('./admin_client');
const { checkStream } = require('./stream_check');
const { fanfareEnvironment, fingerprint } = require('./fanfare_environment');
const { printable } = require('./reporter');
const { LogTail } = require('./log_tail');

const LOOK_AGAIN = 1000; // ms between two checks of a server that others have started
const FIRST_DELAY = 100;
const LAST_DELAY = 5000;
const PATIENCE = 2000; // ms for one answer
const MAX_HEALTH = 1000; // characters of a health answer that are read
const TO_DRAIN = 1000; // ms in which a server notices that nobody holds it anymore
const HANGS = 30000; // ms without an answer after which a server counts as hanging: on a busy machine a healthy one may exceed PATIENCE
const LIVED_LONG = 10000; // ms after which a start counts as a success

const OTHER = 'leave sse.server.admin and sse.server.stream unset for a Fanfare of this application\'s own';
const SHARED = 'which this application did not start: path, headers, maxClients, pingInterval, cacheKey and ids are as set there, and publishAll, closeAll and countAll are about all applications that use it';

/**
 * Looks after the Fanfare that the application uses. By default (settings.own) the application has one of its own. It is
 * started here, with its own token, and lives as long as the application's processes (see Hold): if the agent dies, the next
 * agent takes it over. If the settings name the addresses of a Fanfare, the one that answers there is used if it accepts the
 * token; if none answers, one is started there (settings.starts).
 */
class FanfareProcess {
  /**
   * @param {object} settings from settingsOf
   * @param {object} logger Egg's
   * @param {Lease} lease by which the next agent finds what this one has started
   * @param {{ tokens: string, ask: string, callback: string, derived: boolean }} secrets for sse.server.authorize, see secretsOf
   * @param {(where: { admin: string, stream: string, token: string, ask: string, hold: string | null }) => void} onReady each time a
   *   server is ready; ask is there if it was started with it
   */
  constructor(settings, logger, lease, secrets, onReady) {
    this.secrets = secrets;
    this.settings = settings;
    this.logger = logger;
    this.lease = lease;
    this.onReady = onReady;
    const { admin, stream, token } = settings.server;
    this.where = settings.own ? null : { admin, stream, token };
    // The token keeps other applications and other users of this host away from a Fanfare that is started here.
    this.token = token || randomBytes(24).toString('hex');
    this.child = null;
    this.stopped = false;
    this.delay = FIRST_DELAY;
    this.saidMissing = false;
    this.wakeUp = () => {};
    this.letGo = () => {};
    this.left = null; // what the next agent will take over
    this.tail = null;
    this.last = ''; // the last failure in Fanfare's log
  }

  /** Resolves when a server is ready, or when it is clear that there is none for now; the log then says why. */
  start() {
    return new Promise(resolve => {
      this.settled = resolve;
      this.running = this.run();
    });
  }

  async run() {
    if (this.settings.starts) await this.attempt(() => this.adopt());
    while (!this.stopped) {
      const found = this.settings.own ? 'nothing' : await this.probe(); // nobody else's Fanfare is ever used as this application's own
      if (this.stopped) break;
      switch (found) {
        case 'ready':
          this.ready();
          this.delay = FIRST_DELAY;
          await this.sleep(LOOK_AGAIN);
          break;
        case 'starting':
        case 'draining':
          this.announced = false;
          await this.sleep(FIRST_DELAY);
          break;
        case 'nothing':
          this.announced = false;
          if (this.settings.starts) {
            await this.attempt(() => this.runChild());
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

  // attempt runs work that depends on files: a full disk must not end the agent.
  async attempt(work) {
    try {
      await work();
    } catch (err) {
      this.announced = false;
      this.sayOnce(`Fanfare can't be started: ${err.message}`);
      this.settled();
      await this.sleep(LAST_DELAY);
    }
  }

  ready() {
    if (this.announced) return;
    this.announced = true;
    this.said = null;
    this.onReady({ ...this.where, hold: this.left ? this.left.fifo : null });
    this.settled();
  }

  sayOnce(text) {
    if (this.said === text) return;
    this.said = text;
    this.logger.error('[fanfare-egg] %s', printable(text));
  }

  /** What is at the addresses: 'ready', 'starting', 'draining', 'nothing', or a text that says what is wrong there and what to do. */
  async probe() {
    const found = await this.probeAdmin();
    if (found !== 'ready' || this.announced) return found;
    // It is a Fanfare, and may be another application's.
    const client = new AdminClient({ url: this.where.admin, token: this.where.token, timeout: PATIENCE });
    try {
      await client.batch([ JSON.stringify({ op: 'countAll' }) ]);
      const { problem } = await checkStream({ stream: this.where.stream, path: this.settings.path, client, guarded: this.settings.server.authorize !== false });
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

  // probeAdmin asks the admin listener for its health: 'ready', 'starting', 'draining', 'nothing', or a text that says what is wrong.
  probeAdmin() {
    const url = new URL('/readyz', this.where.admin);
    return new Promise(resolve => {
      const req = (url.protocol === 'https:' ? https : http).get(url, { agent: false, timeout: PATIENCE }, res => {
        let body = '';
        res.setEncoding('utf8').on('data', text => { body = (body + text).slice(0, MAX_HEALTH); });
        res.on('error', () => resolve('draining'));
        res.on('end', () => {
          const state = stateOf(res.statusCode, body);
          if (state) resolve(state);
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

  // adopt takes over the Fanfare that the previous agent has left, if it was started with these settings.
  async adopt() {
    const left = this.lease.find();
    if (!left) return;
    if (left.settings !== fingerprint(this.settings, this.secrets)) {
      this.logger.info('[fanfare-egg] the settings have changed: Fanfare is started again');
      this.lease.release();
      kill(left.pid, 'SIGTERM');
      return;
    }
    this.left = left;
    this.secrets = left.secrets;
    this.where = { admin: left.admin, stream: left.stream, token: left.token, ask: left.secrets.ask };
    for (;;) {
      const found = await this.probeAdmin();
      if (this.stopped) return;
      if (found === 'ready') break;
      if (found === 'draining' || found === 'nothing' || !this.lease.isRead(left.fifo)) { // it shuts down
        this.abandon();
        return;
      }
      // It may be busy. Starting another server in its place would end its open streams.
      if (found !== 'starting') this.sayOnce(`${left.admin}: ${found}`);
      this.settled();
      await this.sleep(FIRST_DELAY);
      if (this.stopped) return;
    }
    this.token = left.token;
    this.follow(left.read);
    this.logger.info('[fanfare-egg] took over Fanfare: streams at %s, publish API at %s, pid %d', left.stream, left.admin, left.pid);
    this.ready();
    // There is no event for the end of a process that another process has started: poll.
    while (!this.stopped && this.lease.isRead(left.fifo)) await this.sleep(LOOK_AGAIN);
    if (this.stopped) return;
    this.logger.error('[fanfare-egg] Fanfare ended (pid %d)', left.pid);
    this.abandon();
  }

  abandon() {
    this.unfollow();
    this.left = null;
    this.announced = false;
    this.lease.release();
    if (!this.settings.own) this.where = { admin: this.settings.server.admin, stream: this.settings.server.stream, token: this.settings.server.token };
  }

  // follow passes Fanfare's log on, from a position in its file.
  follow(from, onRecord = () => {}) {
    this.unfollow();
    this.tail = new LogTail(this.lease.log, from, line => {
      this.log(line);
      onRecord(parse(line));
      if (this.left) this.remember();
    });
  }

  unfollow() {
    if (this.tail) this.tail.close();
    this.tail = null;
  }

  remember() {
    this.left.read = this.tail ? this.tail.at : 0;
    try {
      this.lease.record(this.left);
    } catch (err) {
      this.sayOnce(`the next agent will not find Fanfare: ${err.message}`);
    }
  }

  // standardInput returns what Fanfare reads, and ends with: the FIFO that all processes of the application hold open, or a pipe
  // of this process if there are no FIFOs.
  standardInput() {
    try {
      return this.lease.begin();
    } catch (err) {
      this.sayOnce(`Fanfare will end with the agent process, since it can't be left to the next one: ${err.message.trim()}`);
      return 'pipe';
    }
  }

  // runChild starts a server, waits for its end, and then for the time to try again.
  async runChild() {
    const { server } = this.settings;
    const binary = server.start.binary || process.env.EGG_FANFARE_BIN || 'fanfare';
    const began = Date.now();
    this.lease.makeDir();
    const log = fs.openSync(this.lease.log, 'a', 0o600);
    const from = fs.fstatSync(log).size;
    const stdin = this.standardInput();
    let child;
    try {
      child = this.child = spawn(binary, server.start.args, {
        env: fanfareEnvironment(this.settings, this.where, this.token, this.secrets),
        stdio: [ stdin, 'ignore', log ], // a file, not a pipe of this process, which may end first
        detached: true, // Ctrl-C is for this process, which then stops it
      });
    } catch (err) { // some errors are thrown, others are events
      throw new Error(`${binary}: ${err.message}`);
    } finally { // only the child needs them now
      fs.closeSync(log);
      if (stdin !== 'pipe') fs.closeSync(stdin);
    }
    this.last = '';
    let failure = await new Promise(resolve => {
      child.unref();
      const tooLate = setTimeout(() => {
        this.sayOnce(`Fanfare (${binary}) is not ready after ${server.start.readyTimeout} ms (sse.server.start.readyTimeout)`);
        this.settled();
      }, server.start.readyTimeout);
      const done = text => {
        clearTimeout(tooLate);
        this.unfollow();
        resolve(text);
      };
      this.letGo = () => done('');
      child.once('error', err => done(err));
      if (child.stdin) child.stdin.on('error', () => {}); // it has ended: 'exit' reports that
      const where = {};
      this.follow(from, record => {
        const at = originOf(record.url);
        if (record.msg === 'streams') where.stream = at;
        if (record.msg !== 'publish API' || !at || !where.stream) return;
        clearTimeout(tooLate);
        this.where = { admin: at, stream: where.stream, token: this.token, ask: this.secrets.ask };
        this.logger.info('[fanfare-egg] started Fanfare: streams at %s, publish API at %s, pid %d', this.where.stream, this.where.admin, child.pid);
        if (stdin !== 'pipe') {
          this.left = { ...this.where, pid: child.pid, fifo: this.lease.hold.path, secrets: this.secrets, settings: fingerprint(this.settings, this.secrets) };
          this.remember();
        }
        this.ready();
      });
      child.once('exit', (code, signal) => {
        if (this.tail) this.tail.read();
        done(`Fanfare (${binary}) ended (${signal || `exit code ${code}`})${this.last && `: ${this.last}`}`);
      });
    });
    this.left = null;
    const wasReady = this.announced;
    this.child = null;
    this.announced = false;
    if (this.stopped) return;
    if (failure instanceof Error) {
      failure = failure.code === 'ENOENT' || failure.code === 'EACCES'
        ? `Fanfare can't be started: ${binary}: ${failure.code === 'ENOENT' ? 'no such program' : 'not executable'}. Build it in Fanfare's repository (go build -o /usr/local/bin/fanfare ./cmd/fanfare) ` +
          'and set sse.server.start.binary or EGG_FANFARE_BIN to it, or start it yourself (sse.server.admin, sse.server.stream). ' +
          'The application runs without it: events wait and fail, and pages are told to come back. ' +
          '(`egg-scripts start --daemon` stops an application whose start writes an error such as this one: install Fanfare first, or say --ignore-stderr)'
        : `Fanfare can't be started: ${failure.message}`;
    }
    // Another program may have taken the port meanwhile: the next round reports what answers there.
    if (this.settings.own || await this.probeAdmin() === 'nothing') {
      this.sayOnce(failure);
      this.settled();
    }
    if (this.settings.own && !wasReady) this.where = null; // the ports that it had before may be taken now
    if (Date.now() - began > LIVED_LONG) this.delay = FIRST_DELAY;
    await this.sleep(this.delay);
    this.delay = Math.min(LAST_DELAY, this.delay * 2);
  }

  // log passes a line of Fanfare's log on to Egg's, and keeps its text if it reports a failure.
  log(line) {
    const { time, level, msg, ...rest } = parse(line); // eslint-disable-line no-unused-vars
    if (msg === undefined) {
      this.logger.error('[fanfare] %s', printable(line));
      this.last = line;
      return;
    }
    const write = { ERROR: 'error', WARN: 'warn' }[level] || 'info';
    this.logger[write]('[fanfare] %s', printable(`${msg} ${JSON.stringify(rest)}`));
    if (write === 'error') this.last = `${msg} ${JSON.stringify(rest)}`;
  }

  sleep(ms) {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms);
      this.wakeUp = () => { clearTimeout(timer); resolve(); };
    });
  }

  /**
   * Lets go of the server. If the workers have gone, it drains and stops; otherwise the next agent takes it over.
   */
  async stop() {
    this.stopped = true;
    this.wakeUp();
    const { child, left } = this;
    if (left) await this.leave(left);
    else if (child && child.exitCode === null && child.signalCode === null) await this.end(child);
    this.letGo();
    await this.running;
  }

  async leave({ pid, fifo }) {
    const { stopTimeout } = this.settings.server.start;
    this.lease.release();
    const began = Date.now();
    while (this.lease.isRead(fifo)) {
      const time = Date.now() - began;
      const found = time > TO_DRAIN ? await this.probeAdmin() : null;
      if (found === 'ready') return; // others hold it
      // Without an answer it is not known whether it shuts down: it may be busy, and others may hold it.
      const most = found === 'draining' || found === 'nothing' ? stopTimeout : Math.max(stopTimeout, HANGS);
      if (time > most + TO_DRAIN) {
        kill(pid, 'SIGKILL');
        break;
      }
      await new Promise(resolve => setTimeout(resolve, 20));
    }
    if (this.tail) this.tail.read();
    this.left = null;
    this.unfollow();
    this.lease.remove();
  }

  async end(child) {
    const exited = new Promise(resolve => child.once('exit', resolve));
    child.kill('SIGTERM');
    const hard = setTimeout(() => child.kill('SIGKILL'), this.settings.server.start.stopTimeout + TO_DRAIN);
    await exited;
    clearTimeout(hard);
    this.lease.remove();
  }
}

// stateOf reads an answer of Fanfare to GET /readyz; it is null if the answer is not Fanfare's. The first line is the state. With a
// backplane more lines follow, and a Fanfare that has lost its broker still serves: it keeps its streams, and says for each event
// what became of it.
function stateOf(status, body) {
  const [ state, ...more ] = body.split('\n');
  if (status === 200) return state === 'ok' && isHealth(more) ? 'ready' : null;
  if (status !== 503 || !isHealth(more)) return null;
  if (state === 'draining') return 'draining';
  if (state.startsWith('starting: ')) return 'starting';
  return more.some(line => line.startsWith('broker: ')) ? 'ready' : null;
}

// isHealth says whether lines are the rest of a health answer: nothing, or what a node says of its backplane.
function isHealth(lines) {
  return lines.length === 1 && lines[0] === '' || lines.length > 1 && lines[0].startsWith('node: ');
}

function kill(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch {
    // It has already ended.
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

// originOf is the origin of a URL in a log, whoever wrote it.
function originOf(url) {
  try {
    return new URL(url).origin;
  } catch {
    return undefined;
  }
}

module.exports = { FanfareProcess };
