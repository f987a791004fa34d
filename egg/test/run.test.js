'use strict';

// The runner of the tests: what it takes for a success.
const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { spawnSync } = require('child_process');

const HEAD = "const { test, describe } = require('node:test');\n";

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
    const dir = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'fanfare-egg-run-'));
    try {
      const file = path.join(dir, 'x.test.js');
      fs.writeFileSync(file, text);
      const { status, stdout } = spawnSync(process.execPath, [ path.join(__dirname, 'harness/run.js'), file ], { timeout: 60000 });
      assert.strictEqual(status, ok ? 0 : 1, stdout.toString());
      assert.match(stdout.toString(), says);
    } finally {
      fs.rmSync(dir, { recursive: true });
    }
  });
}

test('a file that is not there', () => {
  const { status } = spawnSync(process.execPath, [ path.join(__dirname, 'harness/run.js'), '/nowhere/x.test.js' ], { timeout: 60000 });
  assert.strictEqual(status, 1);
});
