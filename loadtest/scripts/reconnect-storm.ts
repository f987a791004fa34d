// What happens when all clients are disconnected at once and reconnect?
//
// RATE events per second are published. Every EVERY (default 5s) the server ends all streams (POST /close). Each client
// reconnects after 0.5 to 1.5 s with its Last-Event-ID. No event may be lost or duplicated, and all clients must be back within
// P99 milliseconds. The server must keep the events published meanwhile (history), and set ids (ids: auto).
//
//   VUS=50 STREAMS=100 EVERY=10s DURATION=1m loadtest/k6 run loadtest/scripts/reconnect-storm.ts
import { check, sleep } from 'k6';
import { publishToAll, publisherThresholds } from './lib/publisher.ts';
import { closeKey, keyName, Run, setup as prepare, waitForStreams } from './lib/server.ts';
import { seconds, settings, total } from './lib/settings.ts';
import { limit, scenarios, streamThresholds, subscribe as follow, trendStats } from './lib/subscribers.ts';
import { summary } from './lib/summary.ts';

const s = settings({ vus: 10, streams: 50, keys: 5, rate: 50, duration: '20s', p99: 5000 });
const every = seconds('EVERY', '5s');
if (every < 2) throw new Error(`EVERY=${every}s: give 2s or more, because clients take up to 1.5 s to reconnect`);
if (every > s.duration) throw new Error(`EVERY=${every}s is longer than DURATION=${s.duration}s, so there would be no storm: give less`);

export const options = {
  scenarios: {
    ...scenarios(s),
    storms: { executor: 'per-vu-iterations', vus: 1, iterations: 1, exec: 'storm', maxDuration: `${Math.ceil(limit(s))}s`, gracefulStop: '0s' },
  },
  thresholds: {
    ...streamThresholds(s),
    ...publisherThresholds(s),
    'sse_event_latency{phase:live}': ['p(99)<5000'],
    'sse_event_latency{phase:replay}': ['p(99)<10000'], // how long subscribers were away
    sse_reconnect_duration: [`p(99)<${s.p99}`],
    sse_disconnects: ['count>0'], // otherwise there was no storm
  },
  summaryTrendStats: trendStats,
};

export const setup = () => prepare(s);
export const subscribe = (run: Run) => follow(s, run);
export const publish = (run: Run) => publishToAll(s, run);

export function storm(run: Run) {
  waitForStreams(s, run);
  const end = Date.now() + s.duration * 1000;
  while (Date.now() + every * 500 < end) {
    sleep(every / 2);
    let closed = 0;
    for (let key = 0; key < s.keys; key++) closed += closeKey(s, keyName(run, key));
    check(closed, { 'all clients were connected before a storm': (n) => n === total(s) });
    sleep(every / 2);
  }
}

export const handleSummary = summary('reconnect-storm', 'what happens when all clients are disconnected and reconnect?', s);
