'use strict';

/**
 * Names the worker that sends what happens in every worker: the agent's side of the election. The one that is named stays
 * until it has died, so that what it tells of and what the others keep belong together.
 */
class Chair {
  /**
   * @param {() => void} onChange when there is another leader
   * @param {(id: string) => boolean} [isAlive] whether the process of a worker is there
   */
  constructor(onChange, isAlive = processIsAlive) {
    this.leader = null;
    this.onChange = onChange;
    this.isAlive = isAlive;
    this.threads = false; // workers that are threads have no process: the master's list has to do
  }

  /** A worker says that it is there, and whom it knows as the leader: an agent that was restarted knows nobody. */
  hello({ id, leader, thread }) {
    this.threads = Boolean(thread);
    if (this.leader === null) this.name(leader !== null && (this.threads || this.isAlive(leader)) ? leader : id);
  }

  /** The master says which workers listen; a leader that is still starting is not among them. */
  pids(ids) {
    if (this.leader === null || ids.includes(this.leader) || !this.threads && this.isAlive(this.leader)) return;
    this.name(ids.length > 0 ? [ ...ids ].sort((a, b) => a - b)[0] : null);
  }

  name(leader) {
    this.leader = leader;
    this.onChange();
  }
}

function processIsAlive(id) {
  try {
    process.kill(Number(id), 0);
    return true;
  } catch (err) {
    return err.code === 'EPERM';
  }
}

module.exports = { Chair };
