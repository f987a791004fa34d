// How long does an event take to reach all subscribers of a key, and does each of them get every event?
//
// VUS x STREAMS streams are opened at CONNECT_RATE. When all of them are open, RATE events per second are published for DURATION,
// to KEYS keys in turn. At the end each stream must have got every event of its key once.
//
// With as many keys as streams, every event has one subscriber, as with notifications for a user. The test then measures the cost
// of publishing and waking up, and not of delivering.
//
//   loadtest/k6 run loadtest/scripts/fanout.ts
//   VUS=100 STREAMS=100 RATE=10 DURATION=30s loadtest/k6 run loadtest/scripts/fanout.ts      # 10,000 streams
//   KEYS=1000 RATE=1000 loadtest/k6 run loadtest/scripts/fanout.ts                           # a key for each of 1,000 streams
import { publishToAll, publisherThresholds } from './lib/publisher.ts';
import { Run, setup as prepare } from './lib/server.ts';
import { settings } from './lib/settings.ts';
import { scenarios, streamThresholds, subscribe as follow, trendStats } from './lib/subscribers.ts';
import { summary } from './lib/summary.ts';

const s = settings({ vus: 10, streams: 100, keys: 1, rate: 20, duration: '20s', p99: 500 });

export const options = {
  scenarios: scenarios(s),
  thresholds: { ...streamThresholds(s), ...publisherThresholds(s), sse_disconnects: ['count==0'] },
  summaryTrendStats: trendStats,
};

export const setup = () => prepare(s);
export const subscribe = (run: Run) => follow(s, run);
export const publish = (run: Run) => publishToAll(s, run);
export const handleSummary = summary('fanout', 'how long does an event take to all subscribers of a key, and does each get all?', s);
