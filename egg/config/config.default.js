'use strict';

module.exports = {
  sse: {
    // As in egg-sse.
    path: '/stream',
    headers: {
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-cache, no-transform',
      Connection: 'keep-alive',
      'X-Accel-Buffering': 'no',
      'Access-Control-Allow-Origin': '*',
    },
    maxClients: 10000,
    pingInterval: 10000,
    cacheKey: '@sse/count',

    // Fanfare, and how to reach it.
    server: {
      // The admin listener (publish API) and the stream listener, as this host reaches them. With port 0 in `admin` the
      // agent starts a Fanfare for this application alone, on free ports, or with its streams on the port in `stream`. With
      // another port in both, the Fanfare that runs there is used, which several applications may share.
      admin: 'http://127.0.0.1:0',
      stream: 'http://127.0.0.1:0',
      // Fanfare's publishToken. One that the agent starts gets a token of its own if this is empty.
      token: '',
      // Who may subscribe, if not everybody who reaches the stream listener: true, whom the application's middlewares let
      // through; a function (ctx, keys), which is asked after them; 'tokens', who has a token of app.sse.token. Tokens count
      // with true and a function, too.
      authorize: false,
      // Where a Fanfare that the agent starts asks the application; empty: on the application's port.
      callback: '',
      // By which the application knows the questions of a Fanfare that the agent does not start: `sse-authorize` in its authCallback.
      callbackSecret: '',
      // How `path` on the application's port gets to Fanfare: 'proxy'; 'redirect' to publicStream; 'off', if a proxy in front
      // sends it there.
      mode: 'proxy',
      publicStream: '',
      // What happens in every worker (schedules of type `all`, messages to all workers, subscriptions, timers) is sent by
      // one worker: 'auto'. 'leader': so is everything else. 'every': each worker sends what it publishes.
      once: {
        mode: 'auto',
        keep: 2000, // ms for which the workers remember what that one reported; 0: what it does not send is lost
        skew: 500, // ms between two workers within which equal content is one event
        wait: 10000, // ms to wait until that worker is known
      },
      // What waits for Fanfare.
      queue: { maxEvents: 10000, maxBytes: 16 * 1024 * 1024, maxAge: 30000 },
      // What goes in one request.
      batch: { maxEvents: 500, maxBytes: 1024 * 1024 },
      timeout: 10000, // ms for an answer of Fanfare
      closeTimeout: 3000, // ms to send what is left when the application is closed
      uncertain: 'report', // or 'resend': what may have arrived before the connection broke
      count: { refresh: 1000, keep: 60000, maxKeys: 1000 },
      // The agent starts Fanfare if none answers ('auto', if `admin` is on this host), or not at all (false).
      start: {
        enable: 'auto',
        binary: '', // or EGG_FANFARE_BIN in the environment, or fanfare in PATH
        ids: 'auto', // events get ids, and browsers that come back get what they missed; 'off': exactly the bytes of egg-sse
        args: [], // more flags of fanfare
        readyTimeout: 10000, // ms for which the start of the workers waits for it; it is used when it is ready
        stopTimeout: 5000, // ms for streams to end politely
      },
      dryRun: false, // check and encode, but send nothing
    },
  },
};
