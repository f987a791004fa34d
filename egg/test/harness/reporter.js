'use strict';

// A reporter for node:test, beside the one that writes for people: a line of JSON in the file TEST_REPORT for each test that
// begins and that ends. Each line is there at once, even if the process is killed.
const fs = require('fs');

// How long nothing is reported before a process that has failed is ended; the longest test takes less on a busy machine.
const IDLE = Number(process.env.TEST_IDLE) || 5 * 60 * 1000;

module.exports = async function* (events) {
  let failed = false;
  let idle;
  for await (const { type, data } of events) {
    const { name, details, nesting } = data;
    if (type === 'test:dequeue') note({ begins: name, nesting });
    if (type === 'test:pass') note({ ends: name, nesting });
    // A test that has failed may have left a server running, which keeps the process when all tests are through.
    failed ||= type === 'test:fail';
    clearTimeout(idle);
    if (failed) idle = setTimeout(() => process.exit(1), IDLE).unref();
    if (type === 'test:fail') note({ ends: name, nesting, error: textOf(details.error) });
  }
  yield '';
};

const note = record => fs.appendFileSync(process.env.TEST_REPORT, `${JSON.stringify(record)}\n`);

// textOf is what an error says, or null if it says only that tests inside this one have failed.
function textOf(err) {
  if (err.failureType === 'subtestsFailed') return null;
  const { cause } = err; // node:test wraps what was thrown
  return cause instanceof Error ? cause.stack : String(cause || err.stack);
}
