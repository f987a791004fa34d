'use strict';

// Runs each test file in a process of its own, one after the other, since their servers share two cores, and says how long
// each took: node test/harness/run.js [FILE...]
//
// What failed comes last, in short: the end of a log is what is read first. If TEST_STEPS_FAILURES names a file, it goes
// there, too (scripts/steps.sh). The test files do not get this variable: run.test.js starts runs that fail on purpose.
const { spawnSync } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

const LONGEST = 60 * 60 * 1000; // ms for one file: some minutes on a quiet machine
const SHOWN = 15; // lines of a failure

const dir = path.join(__dirname, '..');
const wanted = process.argv.slice(2);
const files = wanted.length > 0 ? wanted : fs.readdirSync(dir).filter(name => name.endsWith('.test.js')).map(name => path.join(dir, name));
const env = Object.fromEntries(Object.entries(process.env).filter(([ name ]) => !/^(FANFARE_|EGG_|TEST_STEPS_FAILURES$|https?_proxy$)/i.test(name)));
// The plugin hands FANFARE_… on to the server, which knows no such setting.
if (process.env.FANFARE_LONG) env.TEST_LONG = '1';
const report = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'fanfare-egg-run-')), 'report');

const failures = [];
for (const file of files) {
  const begin = Date.now();
  fs.writeFileSync(report, '');
  const reporters = [ 'spec', path.join(__dirname, 'reporter.js') ].flatMap(name => [ `--test-reporter=${name}`, '--test-reporter-destination=stdout' ]);
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [ ...reporters, file ], {
    env: { ...env, NODE_ENV: 'test', TEST_REPORT: report },
    stdio: [ 'ignore', 'pipe', 'pipe' ],
    timeout: LONGEST,
    killSignal: 'SIGKILL',
    maxBuffer: 64 * 1024 * 1024,
  });
  const text = stdout.toString();
  const number = name => Number((new RegExp(`^ℹ ${name} (\\d+)$`, 'm').exec(text) || [])[1] || 0);
  // A file of which no test has run says nothing: an exit status of 0 is not enough.
  const reason = status !== 0 ? signal || `exit status ${status}` : number('pass') === 0 ? 'no test has passed' : '';
  const name = path.basename(file);
  process.stderr.write(stderr);
  if (reason !== '') {
    console.log(text);
    failures.push(...failuresOf(name, reason, stderr.toString()));
  }
  console.log(`${reason === '' ? 'ok    ' : 'FAILED'} ${name}: ${number('tests')} tests in ${((Date.now() - begin) / 1000).toFixed(1)} s${reason && ` (${reason})`}`);
}
fs.rmSync(path.dirname(report), { recursive: true });
if (failures.length > 0) {
  console.log(`\n${failures.join('\n')}`);
  if (process.env.TEST_STEPS_FAILURES) fs.appendFileSync(process.env.TEST_STEPS_FAILURES, `${failures.join('\n')}\n`);
}
process.exitCode = failures.length > 0 || files.length === 0 ? 1 : 0;

// failuresOf describes what failed in a file: its tests, and the one during which it ended, or what it said.
function failuresOf(file, reason, stderr) {
  const found = [];
  const open = []; // tests that have begun, the outer ones first
  for (const { begins, ends, nesting, error } of fs.readFileSync(report, 'utf8').split('\n').filter(Boolean).map(text => JSON.parse(text))) {
    open.length = Math.min(open.length, nesting);
    if (error) found.push(`${[ ...open, ends ].join(' > ')}\n${short(error)}`);
    if (begins !== undefined) open.push(begins);
  }
  if (found.length === 0 || open.length > 0) found.push(`${reason}${open.length > 0 ? `, in: ${open.join(' > ')}` : ''}\n${short(stderr)}`);
  return found.map(text => `FAILED ${file}: ${text.trimEnd()}`);
}

function short(text) {
  const lines = text.split('\n').filter(line => !line.includes('(node:internal/') && !line.includes('at async node:internal/'));
  return [ ...lines.slice(0, SHOWN), ...(lines.length > SHOWN ? [ `… and ${lines.length - SHOWN} lines` ] : []) ].map(line => `    ${line}`).join('\n');
}
