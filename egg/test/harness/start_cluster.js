'use strict';

// node start_cluster.js OPTIONS, with an IPC channel that is told when the application is ready. OPTIONS are those of Egg's
// startCluster, as JSON.
const path = require('path');
const { createRequire } = require('module');

const options = JSON.parse(process.argv[2]);
const { startCluster } = createRequire(path.join(options.baseDir, 'app.js'))('egg');

const ready = () => process.send({ ready: true });
const started = startCluster(options, ready);
if (started && started.then) { // Egg 2 and 3 call back, Egg 4 promises
  started.then(ready, err => {
    console.error(err);
    process.exit(1);
  });
}
