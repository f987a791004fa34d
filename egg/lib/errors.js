'use strict';

/**
 * Why an event was not published, or may not have been.
 *
 * | code | meaning | published? |
 * |---|---|---|
 * | ERR_SSE_QUEUE_FULL | Fanfare is away or slow, and server.queue is full | no |
 * | ERR_SSE_EXPIRED | it waited in the queue for longer than server.queue.maxAge | no |
 * | ERR_SSE_REFUSED | Fanfare's answer is an error: see `status`, `field` | no |
 * | ERR_SSE_AWAY | token, disconnect, presence: Fanfare can't be reached | |
 * | ERR_SSE_CLOSED | the application was closed before | no |
 * | ERR_SSE_NO_LEADER | no worker was known to send it (server.once.wait) | no |
 * | ERR_SSE_UNCERTAIN | the connection broke, or time ran out, before the answer | perhaps |
 */
class SseError extends Error {
  constructor(code, message, more) {
    super(message, more && more.cause ? { cause: more.cause } : undefined);
    this.name = 'SseError';
    this.code = code;
    if (more) for (const name of ['status', 'field']) if (more[name] !== undefined) this[name] = more[name];
  }
}

module.exports = { SseError };
