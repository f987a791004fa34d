// Fanfare's publish API, and what every script does before its test.
import http from 'k6/http';
import { sleep } from 'k6';
import { Settings, total } from './settings.ts';

/** What setup gives to every VU: they don't share variables. */
export interface Run {
  name: string;
}

/** The run's setup: the server must be there, and take the token. Its time is no part of the test. */
export function setup(s: Settings): Run {
  const ready = http.get(`${s.publishUrl}/readyz`, { tags: { name: 'setup' } });
  if (ready.status !== 200) {
    throw new Error(
      `PUBLISH_URL=${s.publishUrl}: ${ready.error || `/readyz answers ${ready.status}`}. Start Fanfare first ` +
        '(go run ./cmd/fanfare), and name its admin listener here.',
    );
  }
  const count = http.get(`${s.publishUrl}/countAll`, params(s, 'setup'));
  if (count.status === 401) {
    throw new Error(`PUBLISH_URL=${s.publishUrl} asks for a token: give TOKEN, its publishToken (FANFARE_PUBLISH_TOKEN)`);
  }
  if (count.status !== 200) {
    throw new Error(`PUBLISH_URL=${s.publishUrl}: /countAll answers ${count.status}: ${count.body}`);
  }
  const health = http.get(`${s.baseUrl}/healthz`, { tags: { name: 'setup' } });
  if (health.status === 0) {
    throw new Error(`BASE_URL=${s.baseUrl}: ${health.error}. Name the stream listener here.`);
  }
  return { name: s.run || `k6-${Date.now().toString(36)}` };
}

/** The name of a key of the run. */
export function keyName(run: Run, index: number): string {
  return `${run.name}-${index}`;
}

export function streamUrl(s: Settings, key: string): string {
  return `${s.baseUrl}${s.path}?connectKey=${encodeURIComponent(key)}`;
}

/** Parameters of a request to the admin listener. The name keeps URLs with keys from becoming time series. */
export function params(s: Settings, name: string, type = 'application/json') {
  const headers: Record<string, string> = { 'Content-Type': type };
  if (s.token) headers.Authorization = `Bearer ${s.token}`;
  return { headers, tags: { name }, timeout: '10s' };
}

export function publish(s: Settings, key: string, event: object) {
  return http.post(`${s.publishUrl}/publish?key=${encodeURIComponent(key)}`, JSON.stringify(event), params(s, 'publish'));
}

/** What became of a publish request: all of it was taken, something was refused, or there was no answer in time. */
export type Outcome = 'taken' | 'refused' | 'unanswered';

/** Publishes lines {"key":…,"data":…} in one request. timeout is in seconds. */
export function publishBatch(s: Settings, lines: string[], name = 'publish', timeout = 10): Outcome {
  const p = params(s, name, 'application/x-ndjson');
  const res = http.post(`${s.publishUrl}/batch`, lines.join('\n'), { ...p, timeout: `${Math.ceil(timeout * 1000)}ms` });
  if (res.status === 0) return 'unanswered';
  return res.status === 200 && !String(res.body).includes('"error"') ? 'taken' : 'refused';
}

/** publishBatch for those who only ask whether all were taken. */
export function publishLines(s: Settings, lines: string[], name = 'publish'): boolean {
  return publishBatch(s, lines, name) === 'taken';
}

/** Ends all streams of a key; their clients come back. Returns how many there were. */
export function closeKey(s: Settings, key: string): number {
  const res = http.post(`${s.publishUrl}/close?key=${encodeURIComponent(key)}`, null, params(s, 'close'));
  if (res.status !== 200) throw new Error(`/close answers ${res.status}: ${res.error || res.body}`);
  return (res.json() as { closed: number }).closed;
}

/** How many streams of the run are open. With more keys than /keys lists it is those of the server as a whole. */
export function openStreams(s: Settings, run: Run): number {
  if (s.keys > 1000) {
    return (http.get(`${s.publishUrl}/countAll`, params(s, 'count')).json() as { count: number }).count;
  }
  const res = http.get(`${s.publishUrl}/keys?top=1000`, params(s, 'count'));
  const { top } = res.json() as { top: { key: string; subscribers: number }[] };
  let n = 0;
  for (const k of top) if (k.key.startsWith(`${run.name}-`)) n += k.subscribers;
  return n;
}

/** Waits until all streams are open, or connectTime is over. Returns how many are. */
export function waitForStreams(s: Settings, run: Run, expected = total(s)): number {
  const deadline = Date.now() + s.connectTime * 1000;
  for (;;) {
    const n = openStreams(s, run);
    if (n >= expected || Date.now() > deadline) return n;
    sleep(0.2);
  }
}
