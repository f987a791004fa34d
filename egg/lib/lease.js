'use strict';

const { execFileSync } = require('child_process');
const { createHash, randomBytes } = require('crypto');
const fs = require('fs');
const os = require('os');
const path = require('path');

const { O_RDONLY, O_WRONLY, O_NONBLOCK } = fs.constants;
const STALE = 60000; // ms after which the files of an application that was killed are removed

/**
 * One process's part in keeping a Fanfare alive. Fanfare reads a FIFO, and stops when no process has it open for writing. The
 * agent and each worker keep it open as long as they live, and the kernel closes it when they die. So Fanfare outlives its
 * agent, but not the application.
 */
class Hold {
  constructor() {
    this.path = null;
    this.fd = null;
  }

  /** Opens the FIFO, and closes the one that was held before. Returns false if nobody reads this one. */
  take(fifo) {
    if (this.path === fifo) return true;
    const fd = openForWriting(fifo);
    if (fd === null) return false;
    this.release();
    Object.assign(this, { path: fifo, fd });
    return true;
  }

  release() {
    if (this.fd !== null) fs.closeSync(this.fd);
    this.fd = this.path = null;
  }
}

// openForWriting opens a FIFO that a process reads.
function openForWriting(fifo) {
  try {
    return fs.openSync(fifo, O_WRONLY | O_NONBLOCK);
  } catch {
    return null; // ENXIO: nobody reads it; ENOENT: it was removed
  }
}

/**
 * What an agent leaves for the next one: the FIFO, Fanfare's addresses and token (lease.json, readable only by its user), and
 * Fanfare's log. They are in a folder of the application's run directory, or of the temporary directory if that cannot be
 * written. The folder has the name of this start of the application.
 */
class Lease {
  /**
   * @param {object} options
   * @param {string} options.rundir Egg's config.rundir
   * @param {string} options.name the same for each agent of one start of the application, and for no other
   * @throws {Error} if there is no place for it
   */
  constructor({ rundir, name }) {
    this.hold = new Hold();
    const user = process.getuid ? process.getuid() : 0; // it may have no name, in a container
    const other = path.join(os.tmpdir(), `fanfare-egg-${user}-${createHash('sha1').update(rundir).digest('hex').slice(0, 12)}`);
    let failure;
    for (const base of [ path.join(rundir, 'fanfare'), other ]) {
      try {
        fs.mkdirSync(base, { recursive: true, mode: 0o700 });
        const { uid } = fs.lstatSync(base); // in the temporary directory it may be another user's
        if (uid !== user) throw new Error(`${base} is another user's`);
        this.dir = path.join(base, name);
        this.makeDir();
        fs.accessSync(this.dir, fs.constants.W_OK | fs.constants.X_OK);
        sweep(base, name);
        return;
      } catch (err) {
        failure = failure || err;
      }
    }
    throw new Error(`config.rundir can't be used: ${failure.message}`);
  }

  /** Makes the folder if it is not there. */
  makeDir() {
    fs.mkdirSync(this.dir, { recursive: true, mode: 0o700 });
  }

  get file() {
    return path.join(this.dir, 'lease.json');
  }

  get log() {
    return path.join(this.dir, 'fanfare.log');
  }

  /** What the previous agent left, if its Fanfare runs: this process holds it from now on. */
  find() {
    const left = read(this.file);
    return left && this.hold.take(left.fifo) ? left : null;
  }

  /**
   * Makes a FIFO, and holds it.
   * @return {number} a descriptor of its other end, for Fanfare's standard input
   * @throws {Error} there are no FIFOs here
   */
  begin() {
    this.release();
    for (const name of fs.readdirSync(this.dir)) if (name.endsWith('.fifo')) fs.unlinkSync(path.join(this.dir, name));
    const fifo = path.join(this.dir, `${randomBytes(6).toString('hex')}.fifo`);
    execFileSync('mkfifo', [ '-m', '600', fifo ], { stdio: [ 'ignore', 'ignore', 'pipe' ] });
    const reader = fs.openSync(fifo, O_RDONLY | O_NONBLOCK);
    this.hold.take(fifo);
    return reader;
  }

  /** Stores what find will return. */
  record(what) {
    const text = JSON.stringify({ ...what, fifo: this.hold.path });
    fs.writeFileSync(`${this.file}.new`, text, { mode: 0o600 });
    fs.renameSync(`${this.file}.new`, this.file);
  }

  /** Whether Fanfare runs, including while it shuts down. */
  isRead(fifo) {
    const fd = openForWriting(fifo);
    if (fd !== null) fs.closeSync(fd);
    return fd !== null;
  }

  release() {
    this.hold.release();
  }

  remove() {
    fs.rmSync(this.dir, { recursive: true, force: true });
    try {
      fs.rmdirSync(path.dirname(this.dir));
    } catch {
      // Other starts of the application have their folders in it.
    }
  }
}

function read(file) {
  try {
    const what = JSON.parse(fs.readFileSync(file, 'utf8'));
    return what && typeof what.fifo === 'string' ? what : null;
  } catch {
    return null;
  }
}

// sweep removes the folders of other starts of the application whose processes have all been killed.
function sweep(base, own) {
  for (const name of fs.readdirSync(base)) {
    if (name === own) continue;
    const dir = path.join(base, name);
    try {
      const left = read(path.join(dir, 'lease.json'));
      const fd = left && openForWriting(left.fifo);
      if (typeof fd === 'number') fs.closeSync(fd);
      else if (Date.now() - fs.statSync(dir).mtimeMs > STALE) fs.rmSync(dir, { recursive: true, force: true });
    } catch {
      // Another agent sweeps at the same time.
    }
  }
}

module.exports = { Hold, Lease };
