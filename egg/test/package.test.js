'use strict';

const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { spawnSync, execFileSync } = require('child_process');
const { VERSIONS } = require('./harness/application');

const root = path.join(__dirname, '..');
const tsc = path.join(root, 'node_modules/typescript/bin/tsc');

// check compiles a text that stands in a version's folder, and returns what the compiler says.
function check(version, text) {
  const dir = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'fanfare-egg-types-'));
  try {
    fs.symlinkSync(path.join(__dirname, version, 'node_modules'), path.join(dir, 'node_modules'));
    fs.writeFileSync(path.join(dir, 'use.ts'), text);
    const types = path.join(root, 'node_modules/@types');
    const { stdout } = spawnSync(process.execPath, [ tsc, '--noEmit', '--strict', '--skipLibCheck', '--preserveSymlinks', '--target', 'es2022', '--module', 'node16', '--moduleResolution', 'node16', '--typeRoots', types, '--types', 'node', 'use.ts' ], { cwd: dir });
    return stdout.toString();
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}

for (const version of VERSIONS) {
  test(`${version}: the types of app.sse and config.sse`, () => {
    const head = `import { Application, EggAppConfig } from 'egg'; import 'fanfare-egg/${version === 'egg4' ? 'egg4' : 'egg'}';\nexport async function use(app: Application, config: EggAppConfig) {\n`;
    assert.strictEqual(check(version, `${head}
      config.sse.server = { once: { mode: 'leader' }, queue: { maxEvents: 5 } };
      const n: number = app.sse.count('k') + app.sse.countAll() + await app.sse.countAsync('k');
      app.sse.on('error', err => console.log(err.code === 'ERR_SSE_EXPIRED', err.field));
      const done = await app.sse.publish('k', { event: 'e', id: Math.random(), data: { n } }, { from: 'this' });
      return done.sent ? done.subscribers : done.reason;
    }`), '');
    for (const wrong of [ "app.sse.publish('k')", "app.sse.publish('k', 'x', { from: 'all' })", 'app.sse.ssePool', 'config.sse.server = { queue: 5 }', "const s: string = app.sse.count('k')" ]) {
      assert.match(check(version, `${head}${wrong};\n}`), /error TS/, wrong);
    }
  });
}

test('the package holds what it needs, and depends on nothing', () => {
  const [ { files } ] = JSON.parse(execFileSync('npm', [ 'pack', '--dry-run', '--json', '--ignore-scripts' ], { cwd: root, stdio: [ 'ignore', 'pipe', 'ignore' ] }));
  const names = files.map(f => f.path);
  const wanted = [ 'agent.js', 'app.js', 'LICENSE', 'config/config.default.js', 'config/config.unittest.js', 'egg.d.ts', 'egg4.d.ts', 'index.d.ts', 'index.js', 'package.json', 'README.md', ...fs.readdirSync(path.join(root, 'lib')).map(f => `lib/${f}`) ];
  assert.deepStrictEqual(names.slice().sort(), wanted.sort());
  const { dependencies, eggPlugin } = JSON.parse(fs.readFileSync(path.join(root, 'package.json')));
  assert.strictEqual(dependencies, undefined);
  assert.deepStrictEqual(eggPlugin, { name: 'sse' });
});

test('the types of every setting', () => {
  const text = fs.readFileSync(path.join(root, 'index.d.ts'), 'utf8');
  const { sse } = require('../config/config.default');
  const names = at => Object.entries(at).flatMap(([ name, value ]) => [ name, ...(name !== 'headers' && value && typeof value === 'object' && !Array.isArray(value) ? names(value) : []) ]);
  for (const name of names(sse)) assert.match(text, new RegExp(`\\b${name}\\?:`), name);
});
