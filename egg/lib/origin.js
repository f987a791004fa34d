'use strict';

const { AsyncLocalStorage } = require('async_hooks');
const { createHash } = require('crypto');
const worker = require('worker_threads');

// Where a publish comes from, according to its asynchronous context.
const REQUEST = { name: 'a request', own: true, throws: true };
const MESSAGE_TO_ONE = { name: 'a message to this worker', own: true };
const ELSEWHERE = { name: 'outside of requests', own: false };

// A message to all workers. place names an event that results from it. The name is the same in each worker, even if the
// published content differs (by the worker's own time or pid).
class MessageToAll {
  constructor(message) {
    this.name = 'a message to all workers';
    this.own = false;
    this.message = message;
    this.counts = new Map();
    this.place = (op, key) => {
      const { action, data } = this.message;
      if (this.digest === undefined) this.digest = createHash('sha1').update(`${action}\0${JSON.stringify(data)}`).digest('base64');
      const what = `${op}\0${key}`;
      const n = (this.counts.get(what) || 0) + 1;
      this.counts.set(what, n);
      return `${this.digest}\0${n}`;
    };
  }
}

const storage = new AsyncLocalStorage();

/**
 * What the current code runs in. `own` means that this worker alone does: a request that it answers, an upgraded
 * connection (WebSocket), a message or a schedule that was given to it. Anything else (messages and schedules for all
 * workers, subscriptions, timers) is taken to happen in every worker alike. `throws` means that an error has a caller who
 * answers for it: a request, and not the whole process.
 * @return {{ name: string, own: boolean, throws?: boolean, place?: (op: string, key: string) => string }}
 */
function currentOrigin() {
  return storage.getStore() || ELSEWHERE;
}

/** Marks what results from a server's requests and upgraded connections. */
function markServer(server) {
  const { emit } = server;
  server.emit = function(event, ...args) {
    switch (event) {
      case 'upgrade':
      case 'connect':
        markSocket(args[1]);
        // falls through
      case 'request':
      case 'checkContinue':
      case 'checkExpectation':
        return storage.run(REQUEST, () => emit.call(this, event, ...args));
      default:
        return emit.call(this, event, ...args);
    }
  };
}

// Data on an upgraded connection is handled in the context of the socket, not of its request.
function markSocket(socket) {
  const { emit } = socket;
  socket.emit = function(...args) {
    return storage.run(REQUEST, () => emit.apply(this, args));
  };
}

/**
 * Marks what results from Egg's messages. The master passes on whether a message had one receiver (sendTo, sendRandom, schedules
 * of type `worker`), but the messenger does not give it to listeners.
 * @return {() => void} undoes it
 */
function markMessenger(messenger) {
  const name = typeof messenger._onMessage === 'function' ? '_onMessage' : 'onMessage'; // Egg 2 and 3, Egg 4
  const receive = messenger[name];
  const marked = message => {
    const one = message && (message.receiverPid !== undefined || message.receiverWorkerId !== undefined);
    return storage.run(one || !message ? MESSAGE_TO_ONE : new MessageToAll(message), () => receive.call(messenger, message));
  };
  const replace = (from, to) => {
    for (const port of [ process, worker.parentPort ]) { // a thread's port does not tell its listeners, only their number
      if (!port) continue;
      const before = port.listenerCount('message');
      port.off('message', from);
      if (port.listenerCount('message') < before) port.on('message', to);
    }
    messenger[name] = to; // which messenger.close() removes
  };
  replace(receive, marked);
  return () => { if (messenger[name] === marked) replace(marked, receive); };
}

module.exports = { currentOrigin, markServer, markMessenger };
