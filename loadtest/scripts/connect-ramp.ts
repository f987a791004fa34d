// How fast can streams be opened, how many can be held, and is each of them alive?
//
// VUS x STREAMS streams are opened, RATE per second, and held for DURATION with one event per second. P99 is for the time from
// the first packet to the response's head. Thresholds: no stream is refused or ends early, and each gets every event.
//
//   VUS=100 STREAMS=180 RATE=2000 KEYS=10 loadtest/k6 run loadtest/scripts/connect-ramp.ts      # 18,000 streams
import { publishToAll, publisherThresholds } from './lib/publisher.ts';
import { Run, setup as prepare } from './lib/server.ts';
import { settings, whole } from './lib/settings.ts';
import { scenarios, streamThresholds, subscribe as follow, trendStats } from './lib/subscribers.ts';
import { summary } from './lib/summary.ts';

const rate = whole('RATE', 500, 1, 1_000_000);
const s = settings({ vus: 20, streams: 100, keys: 1, rate, connectRate: rate, duration: '10s', p99: 1000 });

export const options = {
  scenarios: scenarios(s),
  thresholds: {
    ...streamThresholds(s),
    ...publisherThresholds(s),
    'sse_event_latency{phase:live}': ['p(99)<5000'], // the events only show that the streams work
    sse_connecting: [`p(99)<${s.p99}`],
    sse_disconnects: ['count==0'],
  },
  summaryTrendStats: trendStats,
};

export const setup = () => prepare(s);
export const subscribe = (run: Run) => follow(s, run);
export const publish = (run: Run) => publishToAll(s, run, Math.max(1, s.keys)); // one event per second for each key
export const handleSummary = summary('connect-ramp', 'how fast can streams be opened, and is each alive?', s);
