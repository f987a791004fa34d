// Package codec turns events into the bytes of an event stream, and such bytes back into events, by the rules of
// WHATWG HTML 9.2 "Server-sent events" (https://html.spec.whatwg.org/multipage/server-sent-events.html).
//
// It knows no HTTP and no subscribers. An event is encoded once, by [Encode] or [ParseFrames]; everybody downstream
// sends the same bytes.
//
// # Wire bytes
//
// One event is a block of lines that end with LF, closed by an empty line. Fields that are empty are left out; there
// is always at least one data or comment line:
//
//	event: news\n
//	retry: 3000\n
//	id: 7\n
//	data: first line of the data\n
//	data: second line of the data\n
//	\n
//
// Data is split at CRLF, CR and LF, the three line ends of an event stream, and nowhere else: U+2028, U+2029, U+0085,
// form feeds and vertical tabs are text. Data that begins with a colon, with or without white space around it, is a
// comment, which clients ignore; the colon and that white space are taken off:
//
//	: a heartbeat\n
//	\n
//
// A frame may leave room for an id that the server gives later. It is an id line without a value, the last line, and
// [Frame].IDAt says where the value belongs:
//
//	data: text\n
//	id: \n
//	\n
//
// With such room the id line is always the last one, a publisher's own id too: clients that take an id as soon as they
// have read its line would otherwise resume after an event of which they have only a part.
//
// # What is refused
//
// CR, LF and NUL in an event name or an id (they would inject fields, or make the client drop the id), a retry that
// is not ASCII digits, and bytes that are not UTF-8. The error is an [*Error], which names the field and the byte.
//
// # JSON
//
// [DecodeJSON] takes what a publisher sends: a string, or an object with data, event, id and retry. JSON inside data
// passes as it came, without the white space between its tokens: it is not parsed into numbers and written again, so a
// 64-bit integer, 1e3, an escape and the order of the members survive.
//
// # Caveats: who owns which bytes
//
//   - [Append] and [Encode] write to the dst they are given. [Frame].Bytes aliases it: the caller must not reuse dst
//     while the frame is in use, and a frame that was handed to others is not changed any more.
//   - The frames of [ParseFrames] alias the dst that it returns, never the body. Each of them keeps the whole dst alive:
//     copy a frame's bytes to keep it longer than the others.
//   - [Event].Data of [DecodeJSON] may alias the body: encode it before the body's buffer is used again. The strings of
//     the event are copies.
//   - The slices of a [Message], and what [Parser.LastEventID] returns, are the parser's own: they are valid until emit
//     returns, or until the next Feed. Copy what is kept.
//
// The functions may be called from any number of goroutines; a [Parser] belongs to one.
package codec
