'use strict';

// Runs each test file in a process of its own, one after the other (their servers share two cores), and says how long each
// took: node test/harness/run.js [FILE...]
const { spawnSync } = require('child_process');
const fs = require('fs');
const path = require('path');

const dir = path.join(__dirname, '..');
const wanted = process.argv.slice(2);
const files = wanted.length > 0 ? wanted : fs.readdirSync(dir).filter(name => name.endsWith('.test.js')).map(name => path.join(dir, name));
const env = Object.fromEntries(Object.entries(process.env).filter(([ name ]) => !/^(FANFARE_|EGG_|https?_proxy$)/i.test(name)));

let failed = 0;
for (const file of files) {
  const begin = Date.now();
  const { status, signal, stdout } = spawnSync(process.execPath, [ file ], {
    env: { ...env, NODE_ENV: 'test' },
    stdio: [ 'ignore', 'pipe', 'inherit' ],
    timeout: 240000,
    killSignal: 'SIGKILL',
    maxBuffer: 64 * 1024 * 1024,
  });
  const text = stdout.toString();
  const number = name => Number((new RegExp(`^(?:#|ℹ) ${name} (\\d+)$`, 'm').exec(text) || [])[1] || 0); // as Node.js reports before version 23, and since
  // A file of which no test has run says nothing: an exit status of 0 is not enough.
  const reason = status !== 0 ? signal || `exit status ${status}` : number('pass') === 0 ? 'no test has passed' : '';
  const ok = reason === '';
  if (!ok) {
    failed++;
    console.log(text);
  }
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${path.basename(file)}: ${number('tests')} tests in ${((Date.now() - begin) / 1000).toFixed(1)} s${ok ? '' : ` (${reason})`}`);
}
process.exitCode = failed > 0 || files.length === 0 ? 1 : 0;
