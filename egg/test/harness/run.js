'use strict';

// Runs each test file in a process of its own, two at a time, since applications mostly wait for each other, and says how long each
// took: node test/harness/run.js [FILE...]
//
// What failed comes last, in short: the end of a log is what is read first. If TEST_STEPS_FAILURES names a file, it goes
// there, too (scripts/steps.sh). The test files do not get this variable: run.test.js starts runs that fail on purpose.
const { execFile } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

const LONGEST = 60 * 60 * 1000; // ms for one file: some minutes on a quiet machine
const AT_ONCE = 2; // files
const SHOWN = 15; // lines of a failure

const dir = path.join(__dirname, '..');
const wanted = process.argv.slice(2);
const files = wanted.length > 0 ? wanted : fs.readdirSync(dir).filter(name => name.endsWith('.test.js')).map(name => path.join(dir, name));
const env = Object.fromEntries(Object.entries(process.env).filter(([ name ]) => !/^(FANFARE_|EGG_|TEST_STEPS_FAILURES$|https?_proxy$)/i.test(name)));
// The plugin hands FANFARE_… on to the server, which knows no such setting.
if (process.env.FANFARE_LONG) env.TEST_LONG = '1';
const reporters = [ 'spec', path.join(__dirname, 'reporter.js') ].flatMap(name => [ `--test-reporter=${name}`, '--test-reporter-destination=stdout' ]);
const reports = fs.mkdtempSync(path.join(os.tmpdir(), 'fanfare-egg-run-'));
const failures = [];

main().catch(err => {
  console.error(err);
  process.exitCode = 1;
});

async function main() {
  const waiting = files.slice();
  const work = async () => {
    while (waiting.length > 0) await run(waiting.shift());
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  fs.rmSync(reports, { recursive: true });
  if (failures.length > 0) {
    console.log(`\n${failures.join('\n')}`);
    if (process.env.TEST_STEPS_FAILURES) fs.appendFileSync(process.env.TEST_STEPS_FAILURES, `${failures.join('\n')}\n`);
  }
  process.exitCode = failures.length > 0 || files.length === 0 ? 1 : 0;
}

// run runs the tests of a file. What they say comes as one piece.
async function run(file) {
  const begin = Date.now();
  const name = path.basename(file);
  const report = path.join(reports, name);
  fs.writeFileSync(report, '');
  const { code, stdout, stderr } = await runNode([ ...reporters, file ], { ...env, NODE_ENV: 'test', TEST_REPORT: report });
  const number = what => Number((new RegExp(`^ℹ ${what} (\\d+)$`, 'm').exec(stdout) || [])[1] || 0);
  // A file of which no test has run says nothing: an exit status of 0 is not enough.
  const reason = code !== 0 ? code : number('pass') === 0 ? 'no test has passed' : '';
  process.stderr.write(stderr);
  if (reason !== '') {
    console.log(stdout);
    failures.push(...failuresOf(name, report, reason, stderr));
  }
  console.log(`${reason === '' ? 'ok    ' : 'FAILED'} ${name}: ${number('tests')} tests in ${((Date.now() - begin) / 1000).toFixed(1)} s${reason && ` (${reason})`}`);
}

// runNode resolves with what a process says, and with 0 or the reason why it has not ended well.
function runNode(args, env) {
  return new Promise(resolve => {
    const options = { env, timeout: LONGEST, killSignal: 'SIGKILL', maxBuffer: 64 * 1024 * 1024 };
    execFile(process.execPath, args, options, (err, stdout, stderr) => {
      const code = !err ? 0 : err.signal || (typeof err.code === 'number' ? `exit status ${err.code}` : err.message);
      resolve({ code, stdout, stderr });
    }).stdin.end(); // nothing may wait for a person
  });
}

// failuresOf describes what failed in a file: its tests, and the one during which it ended, or what it said.
function failuresOf(file, report, reason, stderr) {
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
