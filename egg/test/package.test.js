'use strict';

const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { spawnSync, execFileSync } = require('child_process');
const { VERSIONS } = require('./harness/application');

const root = path.join(__dirname, '..');
const ts = require('typescript');
const { makeSse } = require('./harness/sse');
const tsc = path.join(root, 'node_modules/typescript/bin/tsc');

// check compiles a text that stands in a version's folder, and returns what the compiler says, or what the program says that
// comes out if it is to run.
function check(version, text, { type = 'commonjs', run = false } = {}) {
  const dir = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'fanfare-egg-types-'));
  try {
    fs.symlinkSync(path.join(__dirname, version, 'node_modules'), path.join(dir, 'node_modules'));
    fs.writeFileSync(path.join(dir, 'use.ts'), text);
    fs.writeFileSync(path.join(dir, 'package.json'), JSON.stringify({ type }));
    const types = path.join(root, 'node_modules/@types');
    const { stdout, status } = spawnSync(process.execPath, [ tsc, ...(run ? [] : [ '--noEmit' ]), '--strict', '--skipLibCheck', '--preserveSymlinks', '--target', 'es2022', '--module', 'node16', '--moduleResolution', 'node16', '--typeRoots', types, '--types', 'node', 'use.ts' ], { cwd: dir });
    if (!run || status !== 0) return stdout.toString();
    const program = spawnSync(process.execPath, [ 'use.js' ], { cwd: dir });
    return program.stdout.toString() + program.stderr.toString();
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}

for (const version of VERSIONS) {
  // One compilation, since each takes seconds: what is right has no error, and each line that is wrong has one.
  test(`${version}: the types of app.sse and config.sse`, () => {
    const right = `import { Agent, Application, EggAppConfig } from 'egg'; import 'fanfare-egg/${version === 'egg4' ? 'egg4' : 'egg'}';
    export async function use(app: Application, config: EggAppConfig, agent: Agent) {
      config.sse.server = { once: { mode: 'leader' }, queue: { maxEvents: 5 } };
      const n: number = app.sse.count('k') + app.sse.countAll() + await app.sse.countAsync('k');
      config.sse.server = { authorize: async (ctx, keys) => ctx.session.user !== undefined && { subject: ctx.session.user, keys, cache: '1m' } };
      const made: { token: string; expires: Date } = await agent.sse.token([ 'a', 5 ], { subject: 'u', ttl: '15m' });
      const ended: number = await app.sse.disconnect(made.token);
      const { streams } = (await app.sse.presence('k')).subjects[ended];
      app.sse.on('error', err => console.log(err.code === 'ERR_SSE_EXPIRED', err.field));
      const done = await app.sse.publish('k', { event: 'e', id: Math.random(), data: { n } }, { from: 'this' });
      return done.sent ? done.subscribers + streams : done.reason;
    }
    export function misuse(app: Application, config: EggAppConfig) {\n`;
    const wrong = [ "app.sse.publish('k')", "app.sse.publish('k', 'x', { from: 'all' })", 'app.sse.ssePool', 'config.sse.server = { queue: 5 }', "config.sse.server = { authorize: 'yes' }", 'app.sse.token()', "app.sse.token('k', { ttl: true })", "const s: string = app.sse.count('k')" ];
    const errors = check(version, `${right}${wrong.join(';\n')};\n}\n`);
    const lines = [ ...errors.matchAll(/^use\.ts\((\d+),\d+\): error TS/gm) ].map(m => Number(m[1]));
    const first = right.split('\n').length;
    assert.deepStrictEqual([ ...new Set(lines) ], wrong.map((_, i) => first + i), errors);
  });
}

const TYPES = { egg2: 'egg', egg3: 'egg', egg4: 'egg4' };

for (const version of VERSIONS) {
  for (const type of [ 'commonjs', 'module' ]) {
    test(`${version}: a program that imports the declarations runs (${type})`, () => {
      assert.strictEqual(check(version, `
        import type { Application, EggAppConfig } from 'egg';
        import 'fanfare-egg/${TYPES[version]}';
        import { encode, SseError, type SseConfig, type SseErrorCode } from 'fanfare-egg';
        const code: SseErrorCode = 'ERR_SSE_EXPIRED';
        const err = new SseError(code, 'late', { status: 503, field: 'f', cause: new Error('away') });
        let refused = '';
        try {
          encode({ id: 'a\\nb' });
        } catch (e) {
          refused = (e as { field: string }).field;
        }
        export const use = (app: Application, config: EggAppConfig): [ number, SseConfig ] => [ app.sse.count('k'), config.sse ];
        console.log(JSON.stringify([ encode({ event: 'e', data: [ 1 ] }), err instanceof Error, err.name, err.code, err.status, err.field, refused ]));
      `, { type, run: true }), `${JSON.stringify([ 'event: e\ndata: [1]\n\n', true, 'SseError', 'ERR_SSE_EXPIRED', 503, 'f', 'id' ])}\n`);
    });
  }
}

test('what the declarations name is there when it runs, and the other way round', async () => {
  const source = ts.createSourceFile('index.d.ts', fs.readFileSync(path.join(root, 'index.d.ts'), 'utf8'), ts.ScriptTarget.ES2022, true);
  const named = name => source.statements.find(s => s.name && s.name.text === name);
  const members = name => [ ...new Set(named(name).members.map(m => m.name.text)) ];
  const sse = makeSse({});
  try {
    for (const name of members('Sse')) assert.ok(name in sse, name);
    assert.deepStrictEqual(members('SseStats').sort(), Object.keys(sse.stats).sort());
    for (const name of members('SseStats')) assert.notStrictEqual(typeof sse.stats[name], 'undefined', name);
  } finally {
    await sse.shutdown();
  }
  const values = source.statements.filter(s => ts.isClassDeclaration(s) || ts.isFunctionDeclaration(s)).map(s => s.name.text);
  assert.deepStrictEqual(values.sort(), Object.keys(require('..')).sort());
  // Each code that is declared is used, and each that is used declared.
  const declared = [ ...named('SseErrorCode').getText().matchAll(/'(ERR_SSE_\w+)'/g), ...named('SseCallError').getText().matchAll(/'(ERR_SSE_\w+)'/g) ].map(m => m[1]);
  const used = new Set(fs.readdirSync(path.join(root, 'lib')).flatMap(file => [ ...fs.readFileSync(path.join(root, 'lib', file), 'utf8').matchAll(/'(ERR_SSE_\w+)'/g) ].map(m => m[1])));
  assert.deepStrictEqual(declared.sort(), [ ...used ].sort());
});

test('the default settings have the declared types', () => {
  assert.strictEqual(check('egg2', `import type { SseConfig } from 'fanfare-egg';\nexport const config: SseConfig = ${JSON.stringify(require('../config/config.default').sse)};`), '');
});

test('the package holds what it needs, and depends on nothing', () => {
  const [ { files } ] = JSON.parse(execFileSync('npm', [ 'pack', '--dry-run', '--json', '--ignore-scripts' ], { cwd: root, stdio: [ 'ignore', 'pipe', 'ignore' ] }));
  const names = files.map(f => f.path);
  const wanted = [ 'agent.js', 'app.js', 'LICENSE', 'config/config.default.js', 'config/config.unittest.js', 'egg.d.ts', 'egg.js', 'egg4.d.mts', 'egg4.d.ts', 'egg4.js', 'index.d.ts', 'index.js', 'package.json', 'README.md', ...fs.readdirSync(path.join(root, 'lib')).map(f => `lib/${f}`) ];
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

test('each test that the README names is there', () => {
  const named = [ ...fs.readFileSync(path.join(root, 'README.md'), 'utf8').matchAll(/\| `(\w+)`: \*(.+)\* \|$/gm) ];
  assert.ok(named.length >= 15);
  for (const [ , file, title ] of named) {
    assert.ok(fs.readFileSync(path.join(__dirname, `${file}.test.js`), 'utf8').includes(`test('${title.replaceAll("'", "\\'")}'`), `${file}: ${title}`);
  }
});
