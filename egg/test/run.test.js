'use strict';

// The runner of the tests: what it takes for a success.
const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { spawnSync } = require('child_process');
const { PATIENCE } = require('./harness/wait');

const HEAD = "const { test, describe } = require('node:test');\n";

// run runs a file of tests with this text, and returns what the runner says.
function run(text, env = {}) {
  const dir = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'fanfare-egg-run-test-'));
  try {
    const file = path.join(dir, 'x.test.js');
    fs.writeFileSync(file, text);
    const { status, stdout } = spawnSync(process.execPath, [ path.join(__dirname, 'harness/run.js'), file ], { timeout: PATIENCE, env: { ...process.env, ...env } });
    return { status, said: stdout.toString() };
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}

for (const [ what, text, ok, says ] of [
  [ 'a test that passes', `${HEAD}test('a', () => {});`, true, /^ok {4} x\.test\.js: 1 tests in / ],
  [ 'a test that fails', `${HEAD}test('a', () => { throw new Error('no'); });`, false, /\(exit status 1\)/ ],
  [ 'an empty file', '', false, /FAILED x\.test\.js: 0 tests in .*\(no test has passed\)/ ],
  [ 'tests that a condition leaves out', `${HEAD}if (process.env.NOWHERE) test('a', () => {});`, false, /no test has passed/ ],
  [ 'a suite without a test', `${HEAD}describe('a', () => {});`, false, /no test has passed/ ],
  [ 'tests that are all skipped', `${HEAD}test('a', { skip: true }, () => {});`, false, /no test has passed/ ],
  [ 'a file that ends before its tests', `${HEAD}test('a', () => {}); process.exit(0);`, false, /no test has passed/ ],
]) {
  test(what, () => {
    const { status, said } = run(text);
    assert.strictEqual(status, ok ? 0 : 1, said);
    assert.match(said, says);
  });
}

test('what failed comes last, in short', () => {
  const { said } = run(`${HEAD}
    test('good', () => {});
    describe('outer', () => {
      test('inner', () => { throw new Error('the reason\\n' + 'more\\n'.repeat(100)); });
      test('another', async () => { await new Promise(resolve => setTimeout(resolve, 50)); throw 'no error'; });
    });`);
  const [ first, second, ...more ] = said.slice(said.lastIndexOf('\n\n') + 2).split(/^(?=FAILED )/m);
  assert.match(first, /^FAILED x\.test\.js: outer > inner\n    Error: the reason\n(    more\n){14}    … and \d+ lines\n$/);
  assert.match(second, /^FAILED x\.test\.js: outer > another\n    no error\n$/);
  assert.deepStrictEqual(more, []);
});

test('what was running is named if the process is killed, beside what failed before', t => {
  const file = path.join(fs.realpathSync(os.tmpdir()), `fanfare-egg-run-${process.pid}`);
  t.after(() => fs.rmSync(file, { force: true }));
  const text = `${HEAD}
    test('bad', () => { throw new Error('the reason'); });
    describe('outer', () => {
      test('inner', async () => { await new Promise(resolve => setTimeout(resolve, 50)); process.kill(process.pid, 'SIGKILL'); });
    });`;
  const { said } = run(text, { TEST_STEPS_FAILURES: file });
  assert.match(said, /\nFAILED x\.test\.js: bad\n    Error: the reason\n(    .*\n)*FAILED x\.test\.js: SIGKILL, in: outer > inner\n$/);
  assert.ok(said.endsWith(`\n\n${fs.readFileSync(file, 'utf8')}`), 'the file has the same');
});

test('a run that a test starts does not report its failures as those of the outer run', t => {
  const file = path.join(fs.realpathSync(os.tmpdir()), `fanfare-egg-run-nested-${process.pid}`);
  t.after(() => fs.rmSync(file, { force: true }));
  const text = `${HEAD}
    test('inherits nothing', () => require('node:assert').strictEqual(process.env.TEST_STEPS_FAILURES, undefined));`;
  const { status, said } = run(text, { TEST_STEPS_FAILURES: file });
  assert.strictEqual(status, 0, said);
  assert.ok(!fs.existsSync(file), 'nothing is reported');
});

test('a file that is not there', () => {
  const { status } = spawnSync(process.execPath, [ path.join(__dirname, 'harness/run.js'), '/nowhere/x.test.js' ], { timeout: PATIENCE });
  assert.strictEqual(status, 1);
});
