package codec

import (
	"bytes"
	"slices"
)

// Event is one event as its publisher means it. The zero value is a message with empty data.
type Event struct {
	// Event is the type that the client dispatches; "" leaves it out, and clients take "message". UTF-8 without CR, LF
	// and NUL.
	Event string
	// ID becomes the client's last event id; "" leaves it out. UTF-8 without CR, LF and NUL.
	ID string
	// Retry is the client's reconnection time in milliseconds, ASCII digits as they are to be sent; "" leaves it out.
	Retry string
	// Data is the text, UTF-8, of any number of lines. Text that begins with a colon is a comment (see the package
	// comment).
	Data []byte
	// Notice says that the event is about the stream itself, such as a gap of its source: it is no value of the key,
	// which new subscribers would get. It changes no byte.
	Notice bool
}

// Frame is one finished event in the form that is sent. It does not change once it has been handed on.
type Frame struct {
	// Bytes are the lines and the empty line that ends them.
	Bytes []byte
	// IDAt is the offset of the id's value in Bytes, just behind "id: ", or -1 if the frame has no id of its own and no
	// room for one.
	IDAt int
	// IDLen is the length of the id's value. 0 with IDAt >= 0 is the room where the server inserts an id.
	IDLen int
	// Silent says that the frame has no data line, so that a client dispatches nothing: a comment, or an id or a
	// reconnection time alone (WHATWG HTML 9.2.6).
	Silent bool
	// Notice is that of the [Event].
	Notice bool
}

// idLine begins every id line of a frame: the value is always just behind it.
const idLine = "id: "

// idRoom is an id line without its value.
const idRoom = "id: \n"

// Append appends the event to dst and returns the longer slice:
//
//	event: E\n
//	retry: R\n
//	id: I\n
//	data: D\n        (for each line of the data; ": D\n" if it is a comment)
//	\n
//
// event, retry and id lines are left out when empty. It allocates nothing when dst has room. An event that can't be
// sent is refused with an [*Error], and dst is returned as it was. The bytes are a block of WHATWG HTML 9.2.5.
func Append(dst []byte, ev Event) ([]byte, error) {
	dst, _, _, err := appendEvent(dst, ev, false)
	return dst, err
}

// Encode appends the event to dst as [Append] does, and says where its id is. Bytes of the frame are the event's alone,
// without what dst held; they keep dst's capacity, so that the next event can be encoded behind them.
//
// If stamp is set, the id line is the last one: some clients take an id when they have read its line, and resume after
// the event although the connection was cut in the middle of it. An event that has no id and isn't a comment then gets an
// id line without a value: the room for the id that the server gives (IDAt >= 0, IDLen 0). An event with an id keeps it.
func Encode(dst []byte, ev Event, stamp bool) (Frame, error) {
	start := len(dst)
	out, idAt, comment, err := appendEvent(dst, ev, stamp)
	if err != nil {
		return Frame{IDAt: -1}, err
	}
	return Frame{Bytes: out[start:], IDAt: idAt, IDLen: len(ev.ID), Silent: comment, Notice: ev.Notice}, nil
}

// appendEvent is Append; idAt is the offset of the id's value from where the event begins, or -1, and comment says that the
// event is one.
func appendEvent(dst []byte, ev Event, stamp bool) (out []byte, idAt int, comment bool, err error) {
	if err := check(&ev, stamp); err != nil {
		return dst, -1, false, err
	}
	text, comment := commentText(ev.Data)
	prefix := "data: "
	if comment {
		prefix = ": "
	}

	// One allocation at most, and none too large: frames live in the history for minutes.
	lines := 1 + bytes.Count(text, []byte{'\n'}) + bytes.Count(text, []byte{'\r'})
	dst = slices.Grow(dst, len("event: \nretry: \nid: \n\n")+len(ev.Event)+len(ev.Retry)+len(ev.ID)+
		len(text)+lines*(len(prefix)+1))

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
	id := ev.ID != "" || stamp && !comment
	if stamp {
		dst = appendLines(dst, prefix, text)
	}
	if id {
		dst = append(dst, idLine...)
		idAt = len(dst) - start
		dst = append(dst, ev.ID...)
		dst = append(dst, '\n')
	}
	if !stamp {
		dst = appendLines(dst, prefix, text)
	}
	return append(dst, '\n'), idAt, comment, nil
}

// check refuses what can't be sent.
func check(ev *Event, stamp bool) error {
	if err := checkName(fieldEvent, ev.Event); err != nil {
		return err
	}
	if err := checkID(ev.ID, stamp); err != nil {
		return err
	}
	if i := notDigit(ev.Retry); i >= 0 {
		return &Error{Field: fieldRetry, Offset: i, Reason: reasonRetry}
	}
	if i := invalidUTF8(ev.Data); i >= 0 {
		return &Error{Field: fieldData, Offset: i, Reason: reasonUTF8}
	}
	return nil
}

// appendLines appends each line of text behind prefix. Text that ends with a line end has an empty line behind it.
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
