// The publisher of a run. It is an open loop: its schedule is fixed before it starts.
import exec from 'k6/execution';
import { check, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { plan as enter } from './extension.ts';
import { keyName, publishBatch, Run, waitForStreams } from './server.ts';
import { Settings, total } from './settings.ts';

/** The event that tells a stream how many events were published on its key. */
export const endEvent = 'run-end';

const maxBatch = 500; // events of a request

const published = new Counter('events_published'); // that the server accepted
/** Events of the schedule that were not sent in time, because earlier requests took too long. */
const unsent = new Counter('events_unsent');
/** Events that were sent, and that the server did not answer in time. */
const unanswered = new Counter('events_unanswered');
/** Events that the server answered but did not accept. */
const refused = new Counter('events_refused');
/** Publishers that reached the end of their schedule. One that hangs and is stopped counts nothing. */
const finished = new Counter('publishers_finished');
const behind = new Trend('publish_behind', true);

/** Microseconds since 1970. Date has only milliseconds; the time since the test's start is finer. */
class Clock {
  private readonly zero: number;

  constructor() {
    const tick = Date.now();
    let now = tick;
    while (now === tick) now = Date.now(); // a millisecond at most
    this.zero = now * 1000 - exec.instance.currentTestRunDuration * 1000;
  }

  now(): number {
    return Math.round(this.zero + exec.instance.currentTestRunDuration * 1000);
  }
}

export interface Plan {
  rate: number; // events per second, over all its keys
  keys: number[]; // their indices; events go to them in turn
  streams: number; // that must be open before the first event
}

/** Publishes at the script's RATE to all KEYS, once all streams are open. */
export function publishToAll(s: Settings, run: Run, rate = s.rate) {
  publishPlan(s, run, { rate, keys: Array.from({ length: s.keys }, (_, i) => i), streams: total(s) });
}

export function publishPlan(s: Settings, run: Run, plan: Plan) {
  const open = waitForStreams(s, run, plan.streams);
  const all = check(open, { 'all streams were open before the first event': (n) => n >= plan.streams });
  if (!all) console.error(`only ${open} of ${plan.streams} streams were open after ${s.connectTime} s (CONNECT_TIME)`);

  const count = Math.max(1, Math.round(plan.rate * s.duration));
  const counts = publishPaced(s, run, plan, count);
  const ends = plan.keys.map((key, i) =>
    JSON.stringify({ key: keyName(run, key), event: endEvent, data: { published: counts[i] } }),
  );
  while (ends.length > 0) {
    const outcome = publishBatch(s, ends.splice(0, maxBatch), 'publish-end', s.drain / 4);
    check(outcome, { 'the end was published': (o) => o === 'accepted' });
    if (outcome === 'unanswered') break; // the others would also hang
  }
  finished.add(1);
}

/** Publishes count events and returns, for each key, how many the server accepted. */
function publishPaced(s: Settings, run: Run, plan: Plan, count: number): number[] {
  const clock = new Clock();
  const counts: number[] = new Array(plan.keys.length).fill(0);
  const names = plan.keys.map((key) => keyName(run, key));
  const quoted = names.map((name) => JSON.stringify(name));
  const interval = 1e6 / plan.rate;
  const begin = clock.now() + 100_000;
  const giveUp = begin + (s.duration + s.drain / 2) * 1e6;
  const ledger = enter(run.name, names, count, begin, interval);
  let free = 0; // when the last request was answered
  let n = 0;
  while (n < count) {
    let now = clock.now();
    if (now >= giveUp) break;
    if (now < begin + n * interval) {
      sleep((begin + n * interval - now) / 1e6);
      now = Math.max(clock.now(), begin + n * interval);
    }
    const first = n;
    const lines: string[] = [];
    for (; n < count && lines.length < maxBatch && begin + n * interval <= now; n++) {
      // An event that was delayed by the server, because an answer took long, counts from its due time (no coordinated
      // omission). An event that is late because of a timer counts from now, because that is not the server's fault.
      const due = begin + n * interval;
      const ts = Math.round(due < free ? due : now);
      const i = n % names.length;
      lines.push(`{"key":${quoted[i]},"data":${payload(quoted[i], Math.floor(n / names.length) + 1, ts, s.size)}}`);
      behind.add((now - due) / 1000);
    }
    ledger.sending(n);
    const outcome = publishBatch(s, lines, 'publish', Math.max(0.5, (giveUp - now) / 1e6));
    ledger.answered(outcome === 'accepted');
    if (outcome === 'accepted') {
      published.add(lines.length);
      for (let accepted = first; accepted < n; accepted++) counts[accepted % names.length]++;
    } else (outcome === 'refused' ? refused : unanswered).add(lines.length);
    free = clock.now();
  }
  if (n < count) {
    console.error(`${count - n} of ${count} events were not sent: the publish route took too long`);
    unsent.add(count - n);
    // They are as late as the publisher was when it gave up. The ledger adds them to the streams' latency.
    const now = clock.now();
    for (; n < count; n++) behind.add((now - (begin + n * interval)) / 1000);
  }
  return counts;
}

/** The data of an event, padded to size bytes. key is its JSON. */
export function payload(key: string, seq: number, ts: number, size: number): string {
  const bare = `{"seq":${seq},"ts":${ts},"key":${key}}`;
  const pad = size - bare.length - ',"pad":""'.length;
  return pad < 0 ? bare : `${bare.slice(0, -1)},"pad":"${'x'.repeat(pad)}"}`;
}

/**
 * The thresholds of the publishers of a run. With several generators (RUN) only one publishes, and the others have no figures.
 */
export function publisherThresholds(s: Settings, publishers = 1): Record<string, string[]> {
  return {
    checks: ['rate==1'],
    events_published: [s.run ? 'count>=0' : 'count>0'],
    events_unsent: ['count==0'],
    events_unanswered: ['count==0'],
    events_refused: ['count==0'],
    publishers_finished: [s.run ? 'count>=0' : `count==${publishers}`],
    dropped_iterations: ['count==0'],
    'http_req_failed{name:publish}': ['rate==0'],
    'http_req_duration{name:publish}': ['p(99)<1000'],
    publish_behind: ['p(99)<1000'], // otherwise RATE was not reached
  };
}
