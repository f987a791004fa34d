// The summary at the end of all scripts: a text for people, and the same as JSON for programs.
import { Settings, total } from './settings.ts';

interface Metric {
  type: string;
  contains: string;
  values: Record<string, number>;
  thresholds?: Record<string, { ok: boolean }>;
}

interface Data {
  state: { testRunDurationMs: number };
  metrics: Record<string, Metric>;
  root_group: { checks: { name: string; passes: number; fails: number }[] };
  setup_data?: { name?: string };
}

/** Rows of the table of times, in this order. Only those that were measured are shown. */
const trends: [string, string][] = [
  ['sse_connecting', 'stream open'],
  ['sse_first_event', 'first event'],
  ['sse_event_latency{phase:live}', 'event latency'],
  ['sse_event_latency{consumer:fast}', 'latency, fast'],
  ['sse_event_latency{consumer:slow}', 'latency, slow'],
  ['sse_event_latency{phase:replay}', 'replayed event'],
  ['sse_reconnect_duration', 'reconnect'],
  ['resume_duration', 'resume'],
  ['http_req_duration{name:publish}', 'publish request'],
  ['publish_behind', 'publisher late'],
];

/** Rows of the table of counts: name, label and which value. */
const counts: [string, string, string][] = [
  ['events_published', 'events published', 'count'],
  ['events_unsent', 'events unsent', 'count'],
  ['events_unanswered', 'events unanswered', 'count'],
  ['events_refused', 'events refused', 'count'],
  ['sse_event', 'events received', 'count'],
  ['sse_data_received', 'bytes received', 'count'],
  ['sse_lost', 'events lost', 'count'],
  ['sse_duplicate', 'events duplicated', 'count'],
  ['sse_reordered', 'events reordered', 'count'],
  ['sse_undelivered', 'events undelivered', 'count'],
  ['sse_misrouted', 'events misrouted', 'count'],
  ['sse_malformed', 'events cut off', 'count'],
  ['gap_events', 'gaps reported', 'count'],
  ['sse_disconnects', 'streams disconnected', 'count'],
  ['sse_active', 'streams open, most', 'max'],
  ['backpressure', 'back-pressure seen', 'count'],
  ['streams_replaced', 'streams replaced', 'count'],
  ['server_memory', 'server memory, bytes', 'max'],
];

/** handleSummary of a script. load describes the load of the test; by default, streams on keys. */
export function summary(script: string, question: string, s: Settings, load = streamsOnKeys(s)) {
  return (data: Data): Record<string, string> => {
    const text = asText(`${script}: ${question}`, `${load}, ${s.baseUrl}`, data);
    const files: Record<string, string> = { stdout: text };
    if (s.report) {
      files[`${s.report}.txt`] = text;
      files[`${s.report}.json`] = JSON.stringify(asJson(script, question, s, data), null, 2) + '\n';
    }
    return files;
  };
}

function streamsOnKeys(s: Settings): string {
  return `${total(s)} streams (${s.vus} VUs x ${s.streams}), KEYS ${s.keys}, RATE ${s.rate}, DURATION ${s.duration}s`;
}

function thresholds(data: Data) {
  const all = Object.entries(data.metrics).flatMap(([metric, m]) =>
    Object.entries(m.thresholds ?? {}).map(([limit, { ok }]) => ({ metric, limit, ok, value: valueFor(m, limit) })),
  );
  return all.sort((a, b) => (a.metric < b.metric ? -1 : 1));
}

/** The value that a threshold such as p(99)<100 is about. */
function valueFor(m: Metric, limit: string): number | undefined {
  const name = limit.match(/^[a-z]+(\([\d.]+\))?/)?.[0] ?? '';
  return m.values[name];
}

function asJson(script: string, question: string, s: Settings, data: Data) {
  const { token, streamToken, ...plain } = s; // no secrets in reports
  const limits = thresholds(data);
  return {
    script,
    question,
    run: data.setup_data?.name ?? s.run,
    passed: limits.every((t) => t.ok),
    seconds: data.state.testRunDurationMs / 1000,
    settings: { ...plain, token: token !== '', streamToken: streamToken !== '' },
    thresholds: limits,
    checks: data.root_group.checks,
    metrics: Object.fromEntries(Object.entries(data.metrics).map(([name, m]) => [name, { type: m.type, ...m.values }])),
  };
}

function asText(title: string, load: string, data: Data): string {
  const limits = thresholds(data);
  const failed = limits.filter((t) => !t.ok);
  const lines = ['', title, `${load}, run of ${(data.state.testRunDurationMs / 1000).toFixed(1)} s`, ''];

  const shown = trends.filter(([name]) => data.metrics[name] && data.metrics[name].values.count !== 0);
  if (shown.length > 0) {
    const columns = ['count', 'med', 'p(90)', 'p(99)', 'p(99.9)', 'max'];
    lines.push(row('time', columns));
    for (const [name, label] of shown) {
      const v = data.metrics[name].values;
      lines.push(row(label, columns.map((c) => (c === 'count' ? number(v.count) : ms(v[c])))));
    }
    lines.push('');
  }

  for (const [name, label, value] of counts) {
    const m = data.metrics[name];
    if (!m || (m.type === 'gauge' && !m.values.max)) continue;
    const perSecond = value === 'count' && m.values.rate ? `   (${number(Math.round(m.values.rate))} per second)` : '';
    lines.push(`  ${label.padEnd(22)}${number(m.values[value]).padStart(14)}${perSecond}`);
  }
  const complete = data.metrics.stream_complete?.values;
  if (complete) {
    lines.push(`  ${'streams with all'.padEnd(22)}${`${number(complete.passes)} of ${number(complete.passes + complete.fails)}`.padStart(14)}`);
  }
  const connects = data.metrics.sse_connect_success?.values;
  if (connects) {
    lines.push(`  ${'failed connects'.padEnd(22)}${`${number(connects.fails)} of ${number(connects.passes + connects.fails)}`.padStart(14)}`);
  }

  const bad = data.root_group.checks.filter((c) => c.fails > 0);
  if (bad.length > 0) lines.push('', ...bad.map((c) => `  FAILED ${c.fails} of ${c.fails + c.passes}: ${c.name}`));
  lines.push('');
  for (const t of limits) {
    const value = t.value === undefined ? '' : `   is ${Number(t.value.toFixed(4))}`;
    lines.push(`  ${t.ok ? 'ok  ' : 'FAIL'} ${t.metric}: ${t.limit}${value}`);
  }
  const verdict = failed.length === 0 ? `PASS: all ${limits.length} thresholds hold` : `FAIL: ${failed.length} of ${limits.length} thresholds`;
  return [...lines, '', verdict, ''].join('\n');
}

function row(label: string, cells: string[]): string {
  return `  ${label.padEnd(18)}${cells.map((c) => c.padStart(11)).join('')}`;
}

function ms(v: number | undefined): string {
  if (v === undefined) return '-';
  if (v >= 10_000) return `${(v / 1000).toFixed(1)} s`;
  return `${v.toFixed(v < 10 ? 2 : v < 100 ? 1 : 0)} ms`;
}

function number(n: number | undefined): string {
  return n === undefined ? '-' : String(n).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}
