'use strict';

// Text that begins with a colon, possibly after white space, is a comment. \s is JavaScript's: it includes NBSP, the byte order
// mark, U+2028 and line ends.
const COMMENT = /^\s*:\s*/;
const LINE_END = /\r\n|\r|\n/;
const CONTROL = /[\r\n\0]/;
const SURROGATE = /[\ud800-\udfff]/;

/**
 * The error of an event that cannot be sent: a TypeError with the `field` at fault.
 * @param {string} field data, event, id or retry
 * @param {string} reason what is wrong, and what to do
 * @param {unknown} [cause] what was thrown while reading it
 */
function refusal(field, reason, cause) {
  const err = new TypeError(`${field}: ${reason}`, cause === undefined ? undefined : { cause });
  err.code = 'ERR_SSE_EVENT';
  err.field = field;
  return err;
}

/**
 * Makes the frame that egg-sse would write for `data`, without changing `data`:
 *
 *     event: E\n
 *     retry: R\n
 *     id: I\n
 *     data: D\n     (for each line; ": D\n" if it is a comment)
 *     \n
 *
 * Falsy event, retry and id are left out. Data that is an object or null is its JSON text, any other its String().
 *
 * @param {unknown} data a string, or an object with data, event, id, retry
 * @return {string} the finished event (WHATWG HTML 9.2.5)
 * @throws {TypeError} with `field`: the event cannot be sent. egg-sse throws, too, but blocks a connection indefinitely. It
 *   accepts CR, LF and NUL in event, id or retry, so that an event can inject fields.
 */
function encode(data) {
  if (data === undefined || data === null) {
    throw refusal('data', `is ${data}: publish a string, or an object with data, event, id, retry`);
  }
  let frame = '';
  let value;
  if (typeof data === 'string') {
    value = data;
  } else {
    frame = line('event', data) + line('retry', data) + line('id', data);
    value = member(data, 'data');
    checkAssignable(data, value);
  }
  frame += lines(value);
  frame += '\n';
  // A lone surrogate has no encoding in UTF-8: it is sent as U+FFFD.
  return SURROGATE.test(frame) ? Buffer.from(frame).toString() : frame;
}

function member(event, name) {
  try {
    return event[name];
  } catch (err) {
    throw refusal(name, `reading it failed: ${message(err)}`, err);
  }
}

function line(name, event) {
  const value = member(event, name);
  if (!value) return '';
  let text;
  try {
    text = '' + value; // as egg-sse joins them: valueOf counts before toString
  } catch (err) {
    throw refusal(name, `has no text: ${message(err)}; use a string or a number`, err);
  }
  if (CONTROL.test(text)) {
    throw refusal(name, 'must not contain a line end or NUL, which would begin another field; remove it, or move the text to data');
  }
  return `${name}: ${text}\n`;
}

function lines(value) {
  if (value === undefined) return 'data: \n';
  if (typeof value === 'object') {
    try {
      return `data: ${JSON.stringify(value)}\n`;
    } catch (err) {
      throw refusal('data', `has no JSON text: ${message(err)}`, err);
    }
  }
  let text;
  try {
    text = String(value);
  } catch (err) {
    throw refusal('data', `has no text: ${message(err)}`, err);
  }
  const comment = COMMENT.test(text);
  const prefix = comment ? ': ' : 'data: ';
  return prefix + (comment ? text.replace(COMMENT, '') : text).split(LINE_END).join(`\n${prefix}`) + '\n';
}

// egg-sse assigns the text of data back to the event, and throws if that is not possible. Here nothing is assigned, but the
// same events are refused, so the same calls succeed.
function checkAssignable(event, value) {
  if (typeof event !== 'object' && typeof event !== 'function') return;
  if (value === undefined || typeof value === 'object') return;
  let holder = event;
  let property;
  while (holder && !(property = Object.getOwnPropertyDescriptor(holder, 'data'))) holder = Object.getPrototypeOf(holder);
  const writable = property && ('value' in property ? property.writable : property.set);
  if (!writable || holder !== event && 'value' in property && !Object.isExtensible(event)) {
    throw refusal('data', 'is read-only (a frozen object, or a getter), which egg-sse refuses too: publish a copy, { ...event }');
  }
}

function message(err) {
  try {
    return err instanceof Error ? String(err.message).split('\n')[0] : String(err);
  } catch {
    return 'something without a text was thrown';
  }
}

module.exports = { encode, refusal };
