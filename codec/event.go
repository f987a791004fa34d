package codec

import (
	"bytes"
	"slices"
)

// Event is one event before encoding. The zero value is a message with empty data.
type Event struct {
	// Event is the type that the client dispatches. "" leaves it out, and clients use "message". UTF-8 without CR, LF
	// and NUL.
	Event string
	// ID becomes the client's last event id. "" leaves it out. UTF-8 without control characters, see [CheckID].
	ID string
	// Retry is the client's reconnection time in milliseconds, in ASCII digits, which are sent as they are. "" leaves
	// it out.
	Retry string
	// Data is the text: UTF-8, with any number of lines. Text that begins with a colon is a comment (see the package
	// comment).
	Data []byte
	// Notice says that the event is about the stream itself, such as a gap of its source. It is not a value of the key,
	// so it is not sent first to new subscribers. It does not change the bytes.
	Notice bool
}

// Frame is one encoded event. Do not change it after passing it on.
type Frame struct {
	// Bytes are the lines, and the empty line after them.
	Bytes []byte
	// IDAt is the offset of the id's value in Bytes, just after "id: ", or -1 if the frame has neither an id nor room
	// for one.
	IDAt int
	// IDLen is the length of the id's value. 0 with IDAt >= 0 means that the server inserts an id there.
	IDLen int
	// Silent says that the frame has no data line, so that clients do not dispatch it: it is a comment, or only an id
	// or a reconnection time (WHATWG HTML 9.2.6).
	Silent bool
	// Notice is the Notice of the [Event].
	Notice bool
}

// idLine begins every id line of a frame. The value is always just after it.
const idLine = "id: "

// idRoom is an id line without a value.
const idRoom = "id: \n"

// Append appends the event to dst and returns the longer slice:
//
//	event: E\n
//	retry: R\n
//	id: I\n
//	data: D\n        (for each line of the data; ": D\n" if it is a comment)
//	\n
//
// Empty event, retry and id lines are left out. Append allocates nothing if dst has enough capacity. If the event is
// invalid, Append returns dst unchanged and an [*Error]. The bytes are a block of WHATWG HTML 9.2.5.
func Append(dst []byte, ev Event) ([]byte, error) {
	dst, _, _, err := appendEvent(dst, ev, false)
	return dst, err
}

// Encode appends the event to dst as [Append] does, and says where its id is. The Bytes of the frame are only the
// event's, without the earlier contents of dst. They keep the capacity of dst, so that the next event can be encoded
// after them.
//
// If reserveID is set, the id line is the last one. Some clients take an id when they have read its line, and would
// resume after the event even if the connection was cut in the middle of it. If the event has no id and is not a
// comment, it then gets an id line without a value, which is the room for the id that the server sets (IDAt >= 0, IDLen
// 0). An event with an id keeps it.
func Encode(dst []byte, ev Event, reserveID bool) (Frame, error) {
	start := len(dst)
	out, idAt, comment, err := appendEvent(dst, ev, reserveID)
	if err != nil {
		return Frame{IDAt: -1}, err
	}
	return Frame{Bytes: out[start:], IDAt: idAt, IDLen: len(ev.ID), Silent: comment, Notice: ev.Notice}, nil
}

// appendEvent does the work of Append and Encode. idAt is the offset of the id's value from the beginning of the event,
// or -1. comment says whether the event is a comment.
func appendEvent(dst []byte, ev Event, reserveID bool) (out []byte, idAt int, comment bool, err error) {
	if err := check(&ev, reserveID); err != nil {
		return dst, -1, false, err
	}
	text, comment := commentText(ev.Data)
	prefix := "data: "
	if comment {
		prefix = ": "
	}

	// Make at most one allocation, and not a larger one than necessary: the history keeps frames for minutes.
	lines := 1 + bytes.Count(text, []byte{'\n'}) + bytes.Count(text, []byte{'\r'})
	dst = slices.Grow(dst, len("event: \nretry: \nid: \n\n")+len(ev.Event)+len(ev.Retry)+len(ev.ID)+
		len(text)+lines*(len(prefix)+1))

	// Append the lines: event, retry, id, data; or, with reserveID, event, retry, data, id.
	start := len(dst)
	idAt = -1
	if ev.Event != "" {
		dst = append(dst, "event: "...)
		dst = append(dst, ev.Event...)
		dst = append(dst, '\n')
	}
	if ev.Retry != "" {
		dst = append(dst, "retry: "...)
		dst = append(dst, ev.Retry...)
		dst = append(dst, '\n')
	}
	id := ev.ID != "" || reserveID && !comment
	if reserveID {
		dst = appendLines(dst, prefix, text)
	}
	if id {
		dst = append(dst, idLine...)
		idAt = len(dst) - start
		dst = append(dst, ev.ID...)
		dst = append(dst, '\n')
	}
	if !reserveID {
		dst = appendLines(dst, prefix, text)
	}
	return append(dst, '\n'), idAt, comment, nil
}

// check refuses an event that cannot be sent.
func check(ev *Event, reserveID bool) error {
	if err := checkName(fieldEvent, ev.Event); err != nil {
		return err
	}
	if err := checkID(ev.ID, reserveID); err != nil {
		return err
	}
	if i := indexNonDigit(ev.Retry); i >= 0 {
		return &Error{Field: fieldRetry, Offset: i, Reason: reasonRetry}
	}
	if i := indexInvalidUTF8(ev.Data); i >= 0 {
		return &Error{Field: fieldData, Offset: i, Reason: reasonUTF8}
	}
	return nil
}

// appendLines appends each line of text after prefix. Text that ends with a line end has an empty line at the end.
func appendLines(dst []byte, prefix string, text []byte) []byte {
	lines := newLineCursor(text)
	for i := 0; ; {
		end := lines.end(i)
		dst = append(dst, prefix...)
		dst = append(dst, text[i:end]...)
		dst = append(dst, '\n')
		if end == len(text) {
			return dst
		}
		i = lines.after(end)
	}
}
