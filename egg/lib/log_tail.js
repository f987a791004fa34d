'use strict';

const fs = require('fs');

const EVERY = 50; // ms between two reads
const PART = 64 * 1024; // bytes read at a time, and the longest line
const MAX_FILE = 1024 * 1024; // bytes after which what has been read is removed

/**
 * Reads the lines that another process appends to a file. Fanfare logs to a file, not a pipe, because it outlives the agent that
 * would read the pipe.
 */
class LogTail {
  /**
   * @param {string} file
   * @param {number} from the byte to begin at
   * @param {(line: string) => void} onLine
   */
  constructor(file, from, onLine) {
    this.onLine = onLine;
    this.fd = fs.openSync(file, 'a+', 0o600); // the writing process also appends, so the file can be truncated
    this.at = from;
    this.rest = Buffer.alloc(0);
    this.buffer = Buffer.alloc(PART);
    this.timer = setInterval(() => this.read(), EVERY);
    this.timer.unref();
  }

  /** Passes on what is there. */
  read() {
    for (;;) {
      const n = fs.readSync(this.fd, this.buffer, 0, PART, this.at);
      if (n === 0) {
        if (fs.fstatSync(this.fd).size >= this.at) break;
        this.at = 0; // another process has truncated it
        continue;
      }
      this.at += n;
      this.rest = Buffer.concat([ this.rest, this.buffer.subarray(0, n) ]);
      for (let end; (end = this.rest.indexOf(10)) >= 0;) {
        const line = this.rest.toString('utf8', 0, end);
        this.rest = this.rest.subarray(end + 1);
        this.onLine(line);
      }
      if (this.rest.length > PART) this.rest = Buffer.alloc(0);
    }
    if (this.at > MAX_FILE) {
      fs.ftruncateSync(this.fd);
      this.at = 0;
    }
  }

  close() {
    clearInterval(this.timer);
    this.read();
    fs.closeSync(this.fd);
  }
}

module.exports = { LogTail };
