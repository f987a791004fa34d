// Package codec encodes events as the bytes of an event stream, and parses such bytes, by the rules of WHATWG HTML 9.2
// "Server-sent events" (https://html.spec.whatwg.org/multipage/server-sent-events.html).
//
// [Encode] and [Append] encode an event. [DecodeJSON] reads an event from JSON. [ParseFrames] checks events that are
// encoded already, and a [Parser] reads a stream as a client does:
//
//	frame, err := codec.Encode(nil, codec.Event{Event: "news", Data: []byte("hello")}, false)
//	// frame.Bytes is "event: news\ndata: hello\n\n"
//
//	var p codec.Parser
//	err = p.Feed(frame.Bytes, func(m codec.Message) { fmt.Printf("%s: %s\n", m.Type, m.Data) })
//
// The package knows nothing about HTTP and subscribers. An event is encoded once, by [Encode] or [ParseFrames], and
// everybody downstream sends the same bytes.
//
// # Wire bytes
//
// An event is a block of lines that end with LF, followed by an empty line. Empty fields are left out, but there is
// always at least one data or comment line:
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
// comment, which clients ignore. The colon and that white space are removed:
//
//	: a heartbeat\n
//	\n
//
// A frame may reserve room for an id that the server sets later. The room is an id line without a value, which is the
// last line. [Frame].IDAt is the offset of the value:
//
//	data: text\n
//	id: \n
//	\n
//
// If the parameter reserveID is set, the id line is always the last line, even if it has a publisher's own id. Some
// clients take an id as soon as they have read its line. If the line came earlier, such a client could resume after an
// event that it has received only in part.
//
// # What is refused
//
// The package refuses CR, LF and NUL in an event name or an id (they would inject fields, or make the client drop the
// id), a retry that is not ASCII digits, and bytes that are not UTF-8. The error is an [*Error], which names the field
// and the byte.
//
// # JSON
//
// [DecodeJSON] decodes what a publisher sends: a string, or an object with data, event, id and retry. JSON in data is
// kept as it is, except for white space between its tokens. It is not parsed into numbers and written again. So 64-bit
// integers, 1e3, escapes and the order of the members are preserved.
//
// # Caveats: who owns which bytes
//
//   - [Append] and [Encode] write to dst. [Frame].Bytes aliases dst: do not reuse dst while the frame is in use, and do
//     not change a frame after passing it on.
//   - The frames of [ParseFrames] alias the dst that it returns, never the body. Each of them keeps the whole dst
//     alive: copy the bytes of a frame to keep it longer than the others.
//   - [Event].Data of [DecodeJSON] may alias the body: encode it before the body's buffer is reused. The strings of the
//     event are copies.
//   - The slices of a [Message] and the result of [Parser.LastEventID] belong to the parser. They are valid until emit
//     returns, or until the next Feed. Copy them to keep them.
//
// The functions are safe for concurrent use. A [Parser] is not.
package codec
