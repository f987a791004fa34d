// How many events per second does the publish API accept, and how long does a request take?
//
// VUS publishers, each with its own key, together send RATE events per second for DURATION. All events that are due go into one
// request, so a higher rate makes larger requests and not a backlog. STREAMS subscribers on each key (default 1) check that
// accepted events arrive. P99 is for a publish request. KEYS has no effect.
//
//   VUS=4 RATE=50000 SIZE=200 loadtest/k6 run loadtest/scripts/publish.ts
import exec from 'k6/execution';
import { publishPlan, publisherThresholds } from './lib/publisher.ts';
import { Run, setup as prepare } from './lib/server.ts';
import { settings, total } from './lib/settings.ts';
import { scenarios, streamThresholds, subscribe as follow, trendStats } from './lib/subscribers.ts';
import { summary } from './lib/summary.ts';

const given = settings({ vus: 4, streams: 1, keys: 1, rate: 2000, duration: '20s', p99: 250 });
const s = { ...given, keys: given.vus };
const both = scenarios(s);

export const options = {
  scenarios: { ...both, publisher: { ...both.publisher, vus: s.vus } },
  thresholds: {
    ...streamThresholds(s),
    ...publisherThresholds(s, s.vus),
    'sse_event_latency{phase:live}': ['p(99)<5000'],
    'http_req_duration{name:publish}': [`p(99)<${s.p99}`],
    events_published: [`count>=${Math.floor(0.99 * s.rate * s.duration)}`],
    sse_disconnects: ['count==0'],
  },
  summaryTrendStats: trendStats,
};

export const setup = () => prepare(s);
export const subscribe = (run: Run) => follow(s, run);
export const publish = (run: Run) =>
  publishPlan(s, run, { rate: s.rate / s.vus, keys: [exec.scenario.iterationInTest], streams: total(s) });
export const handleSummary = summary('publish', 'how many events a second does the publish API take?', s);
