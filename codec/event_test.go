package codec

import (
	"errors"
	"strings"
	"testing"

	"fanfare/internal/test/race"
)

func TestAppend(t *testing.T) {
	for _, c := range []struct {
		name string
		ev   Event
		want string
	}{
		{"zero", Event{}, "data: \n\n"},
		{"all fields", Event{Event: "e", ID: "i", Retry: "5", Data: []byte("d")}, "event: e\nretry: 5\nid: i\ndata: d\n\n"},
		{"zero retry is sent", Event{Retry: "0"}, "retry: 0\ndata: \n\n"},
		{"leading space", Event{Event: " e", ID: " i", Data: []byte(" d")}, "event:  e\nid:  i\ndata:  d\n\n"},
		{"line ends", Event{Data: []byte("a\nb\rc\r\nd\n\re")}, "data: a\ndata: b\ndata: c\ndata: d\ndata: \ndata: e\n\n"},
		{"last line end", Event{Data: []byte("a\r\n")}, "data: a\ndata: \n\n"},
		{"CR only", Event{Data: []byte("\r")}, "data: \ndata: \n\n"},
		{"other separators are text", Event{Data: []byte("a\v\f\u0085\u2028\u2029b")}, "data: a\v\f\u0085\u2028\u2029b\n\n"},
		{"NUL in data", Event{Data: []byte("a\x00b")}, "data: a\x00b\n\n"},
		{"comment", Event{Data: []byte(":c")}, ": c\n\n"},
		{"empty comment", Event{Data: []byte(" : \n ")}, ": \n\n"},
		{"comment with fields", Event{Event: "e", ID: "i", Data: []byte(":a\rb")}, "event: e\nid: i\n: a\n: b\n\n"},
		{"comment ends with a line end", Event{Data: []byte(":a\n")}, ": a\n: \n\n"},
		{"second colon stays", Event{Data: []byte(": : a")}, ": : a\n\n"},
		{"BOM in data", Event{Data: []byte("\uFEFFx")}, "data: \uFEFFx\n\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Append([]byte("before|"), c.ev)
			if err != nil || string(got) != "before|"+c.want {
				t.Fatalf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// TestCommentSpace: exactly the characters that JavaScript's \s matches may be before and after the colon of a comment.
func TestCommentSpace(t *testing.T) {
	const space = "\t\n\v\f\r \u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A" +
		"\u2028\u2029\u202F\u205F\u3000\uFEFF"
	for r := rune(0); r <= 0x10FFFF; r++ {
		if r >= 0xD800 && r <= 0xDFFF || r == ':' {
			continue
		}
		data := string(r) + ":" + string(r) + "x"
		text, comment := commentText([]byte(data))
		switch isSpace := strings.ContainsRune(space, r); {
		case comment != isSpace:
			t.Fatalf("%U: comment = %v, want %v", r, comment, isSpace)
		case comment && string(text) != "x":
			t.Fatalf("%U: text = %q, want x", r, text)
		case !comment && string(text) != data:
			t.Fatalf("%U: text = %q, want %q", r, text, data)
		}
	}
	if text, comment := commentText([]byte(space + ":" + space)); !comment || len(text) != 0 {
		t.Fatalf("all white space characters: %q, %v", text, comment)
	}
	if _, comment := commentText([]byte(space)); comment {
		t.Fatal("white space alone is not a comment")
	}
}

func TestAppendRefuses(t *testing.T) {
	for _, c := range []struct {
		ev     Event
		field  string
		offset int
		reason string
	}{
		{Event{Event: "a\nb"}, "event", 1, "line feed"},
		{Event{Event: "a\rb"}, "event", 1, "carriage return"},
		{Event{Event: "ab\x00"}, "event", 2, "NUL"},
		{Event{Event: "é\xff"}, "event", 2, "UTF-8"},
		{Event{ID: "\n"}, "id", 0, "line feed"},
		{Event{ID: "1\r"}, "id", 1, "carriage return"},
		{Event{ID: "1\x00"}, "id", 1, "NUL"},
		{Event{ID: "12\xc3"}, "id", 2, "UTF-8"},
		{Event{Retry: "1.5"}, "retry", 1, "digits"},
		{Event{Retry: "-1"}, "retry", 0, "digits"},
		{Event{Retry: "1\nevent: z"}, "retry", 1, "digits"},
		{Event{Retry: "١"}, "retry", 0, "digits"},
		{Event{Data: []byte("abc\xed\xa0\x80")}, "data", 3, "UTF-8"},
		{Event{Data: []byte(":" + strings.Repeat("é", 100) + "\x80")}, "data", 201, "UTF-8"},
	} {
		got, err := Append([]byte("before"), c.ev)
		var e *Error
		if !errors.As(err, &e) || e.Field != c.field || e.Offset != c.offset || !strings.Contains(e.Reason, c.reason) {
			t.Errorf("%+v: error %v; want %s at %d: %s", c.ev, err, c.field, c.offset, c.reason)
			continue
		}
		if !strings.HasPrefix(err.Error(), c.field+": ") {
			t.Errorf("%q does not name the field", err)
		}
		if string(got) != "before" {
			t.Errorf("%+v: dst = %q", c.ev, got)
		}
		if f, err := Encode(nil, c.ev, true); err == nil || f.Bytes != nil || f.IDAt != -1 {
			t.Errorf("%+v: Encode = %+v, %v", c.ev, f, err)
		}
	}
}

func TestEncode(t *testing.T) {
	for _, c := range []struct {
		name        string
		ev          Event
		reserveID   bool
		want        string
		idAt, idLen int
	}{
		{"no id", Event{Data: []byte("d")}, false, "data: d\n\n", -1, 0},
		{"own id", Event{ID: "42", Data: []byte("d")}, false, "id: 42\ndata: d\n\n", 4, 2},
		{"own id is kept", Event{ID: "42", Data: []byte("d")}, true, "data: d\nid: 42\n\n", 12, 2},
		{"room", Event{Data: []byte("d")}, true, "data: d\nid: \n\n", 12, 0},
		{"two lines", Event{ID: "7", Data: []byte("a\nb")}, true, "data: a\ndata: b\nid: 7\n\n", 20, 1},
		{"room after fields", Event{Event: "e", Retry: "7", Data: []byte("d")}, true, "event: e\nretry: 7\ndata: d\nid: \n\n", 30, 0},
		{"comment", Event{Data: []byte(":c")}, true, ": c\n\n", -1, 0},
		{"comment with id", Event{ID: "x", Data: []byte(":c")}, true, ": c\nid: x\n\n", 8, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Encode([]byte("other bytes"), c.ev, c.reserveID)
			if err != nil || string(f.Bytes) != c.want || f.IDAt != c.idAt || f.IDLen != c.idLen {
				t.Fatalf("got %q, id at %d, %d long, %v; want %q, %d, %d", f.Bytes, f.IDAt, f.IDLen, err, c.want, c.idAt, c.idLen)
			}
			if f.Silent != strings.HasPrefix(string(c.ev.Data), ":") {
				t.Errorf("silent: %v", f.Silent)
			}
			checkFrame(t, f)
		})
	}
}

// checkFrame checks what everybody downstream relies on.
func checkFrame(t *testing.T, f Frame) {
	t.Helper()
	s := string(f.Bytes)
	if !strings.HasSuffix(s, "\n\n") || strings.Contains(s[:len(s)-1], "\n\n") || strings.HasPrefix(s, "\n") ||
		strings.Contains(s, "\r") {
		t.Fatalf("%q is not one complete event", s)
	}
	if f.IDAt < 0 {
		if f.IDAt != -1 || f.IDLen != 0 {
			t.Fatalf("id at %d, %d long", f.IDAt, f.IDLen)
		}
		return
	}
	if line := f.IDAt - len(idLine); s[line:f.IDAt] != idLine || line > 0 && s[line-1] != '\n' || s[f.IDAt+f.IDLen] != '\n' {
		t.Fatalf("id at %d, %d long in %q", f.IDAt, f.IDLen, s)
	}
}

// TestEncodeInOneBuffer: frames can be encoded one after the other in one buffer.
func TestEncodeInOneBuffer(t *testing.T) {
	a, _ := Encode(make([]byte, 0, 64), Event{Data: []byte("a")}, false)
	b, _ := Encode(a.Bytes[len(a.Bytes):], Event{Data: []byte("b")}, false)
	if string(a.Bytes) != "data: a\n\n" || string(b.Bytes) != "data: b\n\n" ||
		string(a.Bytes[:len(a.Bytes)+len(b.Bytes)]) != "data: a\n\ndata: b\n\n" {
		t.Fatalf("%q %q", a.Bytes, b.Bytes)
	}
}

func TestAppendAllocations(t *testing.T) {
	ev := Event{Event: "news", ID: "é7", Retry: "3000", Data: []byte(strings.Repeat("a line\r\nanother\n", 20))}
	dst := make([]byte, 0, 1<<10)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Append(dst, ev); err != nil {
			t.Fatal(err)
		}
		if _, err := Encode(dst, ev, true); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations with enough capacity; want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = Append(nil, ev) }); n != 1 && !race.Enabled {
		t.Errorf("%v allocations without capacity; want 1", n)
	}
}

func TestErrorText(t *testing.T) {
	for _, c := range []struct {
		err  Error
		want string
	}{
		{Error{Field: "id", Offset: 3, Reason: "r"}, "id: r (byte 3)"},
		{Error{Field: "id", Offset: 3, Frame: 2, Reason: "r"}, "id: r (event 2, byte 3)"},
		{Error{Field: "id", Offset: -1, Frame: 2, Reason: "r"}, "id: r (event 2)"},
		{Error{Field: "body", Offset: -1, Reason: "r"}, "body: r"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// TestIDsCanBeSentBack: every way to make a frame refuses an id that a client cannot send back unchanged.
func TestIDsCanBeSentBack(t *testing.T) {
	for id, good := range map[string]bool{
		"": true, "7": true, "a b": true, "a\tb": true, "\u00a0x\u00a0": true, "\u4f60\U0001F600": true, "\ufeffx": true, "\u0085": true,
		"a\u0001b": false, "\x1f": false, "a\x7f": false, "\x1b[0m": false, " x": false, "x ": false, "\tx": false, "x\t": false, " ": false,
		"a\nb": false, "a\rb": false, "a\x00b": false, "\xff": false,
	} {
		check := func(way string, err error) {
			var e *Error
			if good != (err == nil) || err != nil && (!errors.As(err, &e) || e.Field != fieldID && e.Field != fieldBody) {
				t.Errorf("%s with the id %q: %v", way, id, err)
			}
		}
		check("CheckID", CheckID(id))
		_, err := Encode(nil, Event{ID: id, Data: []byte("x")}, true)
		check("Encode", err)
		if !strings.ContainsAny(id, "\r\n") {
			_, _, err = ParseFrames(nil, nil, []byte("data: x\nid: "+id+"\n\n"), true)
			check("ParseFrames", err)
			_, _, err = ParseFrame(nil, []byte("data: x\nid: "+id+"\n\n"), true)
			check("ParseFrame", err)
		}
	}
}
