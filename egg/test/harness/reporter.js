'use strict';

// A reporter for node:test, beside the one that writes for people: a line of JSON in the file TEST_REPORT for each test that
// begins and that ends. Each line is there at once, even if the process is killed.
const fs = require('fs');

module.exports = async function* (events) {
  let failed = false;
  for await (const { type, data } of events) {
    const { name, details, nesting } = data;
    if (type === 'test:dequeue') note({ begins: name, nesting });
    if (type === 'test:pass') note({ ends: name, nesting });
    failed ||= type === 'test:fail';
    // The last report of a file. A test that has failed may have left a server running, which would keep the process.
    if (failed && type === 'test:diagnostic' && /^duration_ms/.test(data.message)) setTimeout(() => process.exit(1), 1000);
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
