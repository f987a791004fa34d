// Does the server stay the same for hours: no loss, no slower delivery, no growing memory?
//
// VUS x STREAMS streams get RATE events per second for DURATION (default 1h). Every EVERY (default 1m) the server ends the
// streams of one key, in turn, and they reconnect. Every 10 s the server's memory, goroutines and files are read from /metrics.
// Since WARMUP (default a tenth of DURATION) they may grow by at most GROWTH percent (default 25).
//
//   DURATION=8h REPORT=soak loadtest/k6 run loadtest/scripts/soak.ts
import http from 'k6/http';
import { check, sleep } from 'k6';
import { Counter, Gauge, Trend } from 'k6/metrics';
import { publishToAll, publisherThresholds } from './lib/publisher.ts';
import { closeKey, keyName, params, Run, setup as prepare, waitForStreams } from './lib/server.ts';
import { seconds, settings, whole } from './lib/settings.ts';
import { limit, scenarios, streamThresholds, subscribe as follow, trendStats } from './lib/subscribers.ts';
import { summary } from './lib/summary.ts';

const s = settings({ vus: 10, streams: 50, keys: 10, rate: 20, duration: '1h', p99: 1000 });
const every = seconds('EVERY', '1m');
const warmup = seconds('WARMUP', `${s.duration / 10}s`);
const growth = whole('GROWTH', 25, 1, 1000);
const interval = Math.min(10, (s.duration - warmup) / 4);
if (interval <= 0) throw new Error(`WARMUP=${warmup}s: give less than DURATION=${s.duration}s`);

const watched: Record<string, Gauge> = {
  process_resident_memory_bytes: new Gauge('server_memory'),
  go_goroutines: new Gauge('server_goroutines'),
  process_open_fds: new Gauge('server_files'),
};
const readings = new Counter('server_readings');
const grown = new Trend('server_growth_percent');

const once = { executor: 'per-vu-iterations', vus: 1, iterations: 1, maxDuration: `${Math.ceil(limit(s))}s`, gracefulStop: '0s' };

export const options = {
  scenarios: { ...scenarios(s), watcher: { ...once, exec: 'watch' }, cutter: { ...once, exec: 'cut' } },
  thresholds: {
    ...streamThresholds(s),
    ...publisherThresholds(s),
    sse_reconnect_duration: ['p(99)<5000'],
    server_readings: ['count>0'], // otherwise the server's figures were never read
    'server_growth_percent{of:process_resident_memory_bytes}': [`max<${growth}`],
    'server_growth_percent{of:go_goroutines}': [`max<${growth}`],
    'server_growth_percent{of:process_open_fds}': [`max<${growth}`],
  },
  summaryTrendStats: trendStats,
};

export const setup = () => prepare(s);
export const subscribe = (run: Run) => follow(s, run);
export const publish = (run: Run) => publishToAll(s, run);

/** Reads the server's figures during the test. */
export function watch(run: Run) {
  waitForStreams(s, run);
  const begin = Date.now();
  const base: Record<string, number> = {};
  while (Date.now() + interval * 1000 < begin + s.duration * 1000) {
    sleep(interval);
    const res = http.get(`${s.publishUrl}/metrics`, params(s, 'metrics'));
    const lines = String(res.body).split('\n');
    for (const name of Object.keys(watched)) {
      const value = Number(lines.find((l) => l.startsWith(`${name} `))?.split(' ')[1]);
      if (!check(value, { 'the server reports its figures': (v) => v > 0 })) continue;
      watched[name].add(value);
      if (Date.now() < begin + warmup * 1000) continue;
      base[name] ??= value;
      readings.add(1);
      grown.add(Math.max(0, (100 * (value - base[name])) / base[name]), { of: name });
    }
  }
}

/** Ends the streams of one key after the other. */
export function cut(run: Run) {
  waitForStreams(s, run);
  const end = Date.now() + s.duration * 1000;
  for (let n = 0; Date.now() + every * 1000 < end; n++) {
    sleep(every);
    closeKey(s, keyName(run, n % s.keys));
  }
}

export const handleSummary = summary('soak', 'does the server stay the same for hours?', s);
