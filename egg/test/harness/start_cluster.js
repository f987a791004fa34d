'use strict';

// node start_cluster.js DIR WORKERS PORT, with an IPC channel that is told when the application is ready.
const path = require('path');
const { createRequire } = require('module');

const [ dir, workers, port ] = process.argv.slice(2);
const { startCluster } = createRequire(path.join(dir, 'app.js'))('egg');

const ready = () => process.send({ ready: true });
const options = { baseDir: dir, workers: Number(workers), port: Number(port) };
const started = startCluster(options, ready);
if (started && started.then) { // Egg 2 and 3 call back, Egg 4 promises
  started.then(ready, err => {
    console.error(err);
    process.exit(1);
  });
}
