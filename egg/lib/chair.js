'use strict';

/**
 * The agent's side of the election: it names the leader, the worker that sends what happens in every worker. A leader stays
 * until it dies, so what it reports and what the others keep belong together.
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
    this.known = new Set(); // workers that have said hello, including those that are starting
    this.orphaned = false; // the leader has gone, and there was no other worker
    this.threads = false; // workers that are threads have no process: only the master's list tells whether they live
  }

  /** A worker says that it exists, and which leader it knows: an agent that was restarted knows none. */
  hello({ id, leader, thread }) {
    this.threads = Boolean(thread);
    this.known.add(id);
    if (this.leader === null) this.name(leader !== null && (this.threads || this.isAlive(leader)) ? leader : id);
  }

  /** The master lists the workers that listen; a leader that is still starting is not among them. */
  pids(ids) {
    if (!this.threads) for (const id of this.known) if (!this.isAlive(id)) this.known.delete(id);
    // An agent that was restarted gets this list before the workers have told it who leads.
    if (this.leader === null && !this.orphaned) return;
    if (this.leader !== null && (ids.includes(this.leader) || !this.threads && this.isAlive(this.leader))) return;
    const [ next = null ] = [ ...ids ].sort((a, b) => a - b);
    // If none listens, take one that is starting: it keeps what the old leader may not have sent.
    const [ starting = null ] = this.threads ? [] : this.known;
    this.orphaned = !next && !starting;
    if (this.leader !== (next || starting)) this.name(next || starting);
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
