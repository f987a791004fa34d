// What does it cost that every subscriber has a key of its own, as with notifications for a user?
//
// As fanout, but each stream has a key of its own (KEYS makes them fewer). RATE events a second go to the keys in turn: every
// event has one subscriber, so the cost is that of publishing and waking, not of delivering.
//
//   VUS=50 STREAMS=100 RATE=2000 loadtest/k6 run loadtest/scripts/many-keys.ts
import { publishToAll, publisherThresholds } from './lib/publisher.ts';
import { Run, setup as prepare } from './lib/server.ts';
import { settings } from './lib/settings.ts';
import { scenarios, streamThresholds, subscribe as follow, trendStats } from './lib/subscribers.ts';
import { summary } from './lib/summary.ts';

const s = settings({ vus: 10, streams: 100, rate: 1000, duration: '20s', p99: 500 });

export const options = {
  scenarios: scenarios(s),
  thresholds: { ...streamThresholds(s), ...publisherThresholds(s), sse_disconnects: ['count==0'] },
  summaryTrendStats: trendStats,
};

export const setup = () => prepare(s);
export const subscribe = (run: Run) => follow(s, run);
export const publish = (run: Run) => publishToAll(s, run);
export const handleSummary = summary('many-keys', 'what does a key for each subscriber cost?', s);
