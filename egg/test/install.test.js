'use strict';

// The README's ways to install the plugin from a clone: what is there afterwards, and whether an application runs with it.
const { test } = require('node:test');
const assert = require('node:assert');
const fs = require('fs');
const path = require('path');
const { execFileSync, spawnSync } = require('child_process');
const { startCluster } = require('./harness/application');
const { binary } = require('./harness/build');
const { subscribe } = require('./harness/subscriber');

const root = path.join(__dirname, '..');
const readme = fs.readFileSync(path.join(root, 'README.md'), 'utf8');
const tsc = path.join(root, 'node_modules/typescript/bin/tsc');

// run does what a person types, with the clone's path, and without a registry.
function run(command, cwd) {
  assert.ok(readme.includes(`\`${command}\``), command);
  const [ program, ...args ] = command.replace('PATH/egg', root).split(' ');
  execFileSync(program, [ ...args, '--offline', '--no-audit', '--no-fund', '--ignore-scripts', '--no-update-notifier' ], { cwd, stdio: 'pipe' });
}

function types(dir, ...more) {
  fs.writeFileSync(path.join(dir, 'use.ts'), "import { Application } from 'egg';\nimport 'fanfare-egg/egg';\nexport const use = (app: Application): number => app.sse.count('k');\n");
  const known = [ '--typeRoots', path.join(root, 'node_modules/@types'), '--types', 'node' ];
  return spawnSync(process.execPath, [ tsc, '--noEmit', '--strict', '--skipLibCheck', '--target', 'es2022', '--module', 'node16', '--moduleResolution', 'node16', ...known, ...more, 'use.ts' ], { cwd: dir }).stdout.toString();
}

for (const [ commands, link ] of [
  [ [ 'npm install --install-links PATH/egg' ], false ],
  [ [ 'npm pack PATH/egg', 'npm install ./fanfare-egg-0.1.0.tgz' ], false ],
  [ [ 'npm install PATH/egg' ], true ],
]) {
  test(commands.join(', '), async () => {
    // prepare makes a node_modules with what is installed, and links to everything else.
    const prepare = dir => {
      const modules = path.join(dir, 'node_modules');
      const others = fs.realpathSync(modules);
      fs.unlinkSync(modules);
      for (const command of commands) run(command, dir);
      for (const name of fs.readdirSync(others)) {
        if (name !== 'fanfare-egg' && !name.startsWith('.')) fs.symlinkSync(path.join(others, name), path.join(modules, name));
      }
    };
    const application = await startCluster({ version: 'egg2', plugin: 'fanfare-egg', workers: 1, server: { start: { binary } }, prepare });
    try {
      const installed = path.join(application.dir, 'node_modules/fanfare-egg');
      assert.strictEqual(fs.lstatSync(installed).isSymbolicLink(), link);
      assert.strictEqual(fs.existsSync(path.join(installed, 'test')), link, 'a copy has no tests');
      const client = await subscribe(application.origin, 'k');
      assert.strictEqual((await application.callAndWait('publish', 'k', 'x')).result.subscribers, 1);
      await client.saw('x');
      client.close();
      // A compiler follows the link, and does not find the application's Egg beside the clone.
      if (link) assert.notStrictEqual(types(application.dir), '');
      assert.strictEqual(types(application.dir, ...(link ? [ '--preserveSymlinks' ] : [])), '');
    } finally {
      assert.strictEqual(await application.stop(), 0);
    }
  });
}

test('the server: the command of the README is the one by which the tests build it', () => {
  assert.ok(readme.includes('$ go build -o fanfare ./cmd/fanfare\n'));
  const build = fs.readFileSync(path.join(__dirname, 'harness/build.js'), 'utf8');
  assert.match(build, /'go', \[ 'build', .*'-o', binary, '\.\/cmd\/fanfare' \]/);
  assert.match(execFileSync(binary, [ 'version' ]).toString(), /fanfare/i);
});
