// Does the server keep up while clients come and go, and does it forget clients that have left?
//
// VUS x STREAMS streams are open at the same time. For DURATION, RATE of them per second are closed and replaced by new ones,
// while 10 events per second are published. No stream may miss an event that was published between its opening and its
// replacement: it stays until it has them, or for DRAIN. Opening a stream takes at most P99 milliseconds, including failed
// attempts. At the end the server must not count any stream of the run.
//
//   VUS=20 STREAMS=50 RATE=300 DURATION=1m loadtest/k6 run loadtest/scripts/connect-churn.ts
import exec from 'k6/execution';
import { check, sleep } from 'k6';
import { Counter } from 'k6/metrics';
import { EventSource, Stream } from './lib/extension.ts';
import { publishToAll, publisherThresholds } from './lib/publisher.ts';
import { keyName, openStreams, Run, setup as prepare, streamUrl, waitForStreams } from './lib/server.ts';
import { settings, total } from './lib/settings.ts';
import {
  connectThresholds, deliveryThresholds, orderThresholds, paced, logOnce, scenarios, streamOptions, trendStats,
} from './lib/subscribers.ts';
import { summary } from './lib/summary.ts';

const s = settings({ vus: 10, streams: 20, keys: 1, rate: 100, duration: '20s', p99: 1000 });
const replaced = new Counter('streams_replaced');

export const options = {
  scenarios: scenarios(s),
  thresholds: {
    ...publisherThresholds(s),
    ...connectThresholds,
    ...orderThresholds,
    ...deliveryThresholds(s),
    'sse_expected{role:newcomer}': ['count>0'], // otherwise no new stream was open long enough to miss anything
    'sse_undelivered{role:newcomer}': ['count==0'],
    sse_connecting: [`p(99)<${s.p99}`],
    sse_disconnects: ['count==0'],
    sse_event: ['count>0'],
    'sse_event_latency{phase:live}': ['p(99)<5000'],
    streams_replaced: [`count>=${Math.floor(0.9 * s.rate * s.duration)}`], // otherwise RATE was not reached
  },
  summaryTrendStats: trendStats,
};

export const setup = () => prepare(s);

export function subscribe(run: Run) {
  const streams: Stream[] = [];
  const open = (index: number, role: string) => {
    const key = keyName(run, index % s.keys);
    const es = new EventSource(streamUrl(s, key), streamOptions(s, { expect: { key, ledger: run.name }, tags: { role } }));
    es.onerror = (e) => logOnce(e.message);
    return es;
  };
  paced(s, (index) => {
    streams.push(open(index, 'first'));
    if (streams.length === s.streams) setTimeout(churn, 0);
  });

  const churn = () => {
    waitForStreams(s, run); // of all VUs
    const begin = Date.now();
    const interval = (1000 * s.vus) / s.rate;
    // The VUs take turns. Each begins with its oldest stream.
    let at = begin + (interval * exec.scenario.iterationInTest) / s.vus;
    const next = () => {
      if (Date.now() >= begin + s.duration * 1000) {
        for (const es of streams) es.leave(s.drain * 1000);
        return;
      }
      for (; at <= Date.now(); at += interval) {
        streams.shift()?.leave(s.drain * 1000);
        streams.push(open(Math.floor(Math.random() * total(s)), 'newcomer'));
        replaced.add(1);
      }
      setTimeout(next, Math.max(1, Math.min(at, begin + s.duration * 1000) - Date.now()));
    };
    next();
  };
}

export const publish = (run: Run) => publishToAll(s, run, 10);

export function teardown(run: Run) {
  const deadline = Date.now() + s.drain * 1000;
  let left = openStreams(s, run);
  while (left > 0 && Date.now() < deadline) {
    sleep(0.2);
    left = openStreams(s, run);
  }
  check(left, { 'the server has forgotten all streams': (n) => n === 0 });
}

export const handleSummary = summary('connect-churn', 'does the server keep up while clients come and go?', s);
