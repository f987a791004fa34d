'use strict';

const fs = require('fs');

/** Whether a process runs: one that has ended and whose parent has not asked for its status does not. */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return !/\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** The processes whose parent this one is. */
function childrenOf(pid) {
  return fs.readdirSync('/proc').filter(name => /^\d+$/.test(name)).filter(name => {
    try {
      return fs.readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1).split(' ')[1] === String(pid);
    } catch {
      return false;
    }
  }).map(Number);
}

module.exports = { isAlive, childrenOf };
