package codec

import (
	"errors"
	"strings"
	"testing"
)

func TestParseFrames(t *testing.T) {
	type frame struct {
		bytes       string
		idAt, idLen int
	}
	for _, c := range []struct {
		name, body string
		reserveID  bool
		want       []frame
	}{
		{"one", "data: a\n\n", false, []frame{{"data: a\n\n", -1, 0}}},
		{"two", "data: a\n\ndata: b\n\n", false, []frame{{"data: a\n\n", -1, 0}, {"data: b\n\n", -1, 0}}},
		{"line ends", "data: a\rdata: b\r\n\r\ndata: c\n\r", false, []frame{{"data: a\ndata: b\n\n", -1, 0}, {"data: c\n\n", -1, 0}}},
		{"empty lines", "\n\r\ndata: a\n\n\n\r\n\rdata: b\n\n\n\n", false, []frame{{"data: a\n\n", -1, 0}, {"data: b\n\n", -1, 0}}},
		{"BOM", "\uFEFFdata: a\n\n", false, []frame{{"data: a\n\n", -1, 0}}},
		{"no space", "event:e\nretry:5\nid:7\ndata:a\n\n", false, []frame{{"event:e\nretry:5\nid: 7\ndata:a\n\n", 20, 1}}},
		{"the id is last", "data: a\nid: 7\nevent: e\n\n", true, []frame{{"data: a\nevent: e\nid: 7\n\n", 21, 1}}},
		{"order is kept without room", "data: a\nid: 7\nevent: e\n\n", false, []frame{{"data: a\nid: 7\nevent: e\n\n", 12, 1}}},
		{"id with spaces", "id:  7 \ndata\n\n", false, []frame{{"id:  7 \ndata\n\n", 4, 3}}},
		{"unknown fields", "foo\nbar: x\n data: no\ndata: a\n\n", false, []frame{{"foo\nbar: x\n data: no\ndata: a\n\n", -1, 0}}},
		{"comment", ": ping\n\n", true, []frame{{": ping\n\n", -1, 0}}},
		{"empty comment", ":\n\n", true, []frame{{":\n\n", -1, 0}}},
		{"no data", "retry: 5\nevent: x\n\n", true, []frame{{"retry: 5\nevent: x\n\n", -1, 0}}},
		{"id alone", "id: 7\n\n", true, []frame{{"id: 7\n\n", 4, 1}}},
		{"NUL in data", "data: \x00\n\n", false, []frame{{"data: \x00\n\n", -1, 0}}},
		{"retry again", "retry: 1\nretry: 2\n\n", false, []frame{{"retry: 1\nretry: 2\n\n", -1, 0}}},

		{"room", "data: a\n\n", true, []frame{{"data: a\nid: \n\n", 12, 0}}},
		{"room after all lines", ": c\nevent: e\ndata\ndata: b\nretry: 5\n\n", true,
			[]frame{{": c\nevent: e\ndata\ndata: b\nretry: 5\nid: \n\n", 39, 0}}},
		{"room in each", "data: a\n\nid: 1\ndata: b\n\n:c\n\ndata: d\n\n", true, []frame{{"data: a\nid: \n\n", 12, 0},
			{"data: b\nid: 1\n\n", 12, 1}, {":c\n\n", -1, 0}, {"data: d\nid: \n\n", 12, 0}}},
		{"empty id is room", "data: a\nid\n\n", true, []frame{{"data: a\nid: \n\n", 12, 0}}},
		{"empty id is room without data", "id:\n\n", true, []frame{{"id: \n\n", 4, 0}}},
		{"empty id is kept", "id:\ndata: a\n\n", false, []frame{{"id: \ndata: a\n\n", -1, 0}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := Frame{Bytes: []byte("data: old\n\n"), IDAt: -1}
			frames, dst, err := ParseFrames([]Frame{old}, []byte("before|"), []byte(c.body), c.reserveID)
			if err != nil {
				t.Fatal(err)
			}
			if string(frames[0].Bytes) != "data: old\n\n" || len(frames) != 1+len(c.want) {
				t.Fatalf("%d frames: %v", len(frames), frames)
			}
			all := "before|"
			for i, w := range c.want {
				f := frames[1+i]
				if string(f.Bytes) != w.bytes || f.IDAt != w.idAt || f.IDLen != w.idLen {
					t.Errorf("frame %d: %q, id at %d, %d long; want %q, %d, %d", i+1, f.Bytes, f.IDAt, f.IDLen, w.bytes, w.idAt, w.idLen)
				}
				if data := strings.Contains("\n"+w.bytes, "\ndata"); f.Silent == data {
					t.Errorf("frame %d: %q is silent: %v", i+1, f.Bytes, f.Silent)
				}
				checkFrame(t, f)
				all += w.bytes
			}
			if string(dst) != all {
				t.Errorf("dst = %q, want %q", dst, all)
			}
		})
	}
}

func TestParseFramesRefuses(t *testing.T) {
	for _, c := range []struct {
		body, field   string
		frame, offset int
		reason        string
	}{
		{"", "body", 0, -1, "holds no event"},
		{"\uFEFF", "body", 0, -1, "holds no event"},
		{"\n\r\n\r", "body", 0, -1, "holds no event"},
		{"data: a", "body", 1, 0, "incomplete"},
		{"data: a\n", "body", 1, 0, "incomplete"},
		{"data: a\r\n", "body", 1, 0, "incomplete"},
		{"data: a\n\n\ndata: b\n", "body", 2, 10, "incomplete"},
		{"data: a\n\n: c", "body", 2, 9, "incomplete"},
		{"id: 1\nid: 2\ndata: a\n\n", "id", 1, 6, "twice"},
		{"id\nid\n\n", "id", 1, 3, "twice"},
		{"data: a\n\nid: 1\x002\n\n", "id", 2, 14, "NUL"},
		{"event: a\x00\ndata\n\n", "event", 1, 8, "NUL"},
		{"retry: 1.5\n\n", "retry", 1, 8, "digits"},
		{"retry: -1\n\n", "retry", 1, 7, "digits"},
		{"retry:  1\n\n", "retry", 1, 7, "digits"},
		{"retry: \n\n", "retry", 1, 7, "digits"},
		{"retry\n\n", "retry", 1, 5, "digits"},
		{"data: a\n\ndata: \xff\n\n", "data", 2, 15, "UTF-8"},
		{"id: \xff\n\n", "id", 1, 4, "UTF-8"},
		{"event: \xe4\xb8\n\n", "event", 1, 7, "UTF-8"},
		{"retry: \xff\n\n", "retry", 1, 7, "UTF-8"},
		{": \xff\n\n", "comment", 1, 2, "UTF-8"},
		{"\uFEFF\uFEFFdata: a\n\n", "line", 1, 3, "byte order mark"},
		{"data: a\n\n\uFEFFdata: b\n\n", "line", 2, 9, "byte order mark"},
		{"data: a\n\uFEFF\n\n", "line", 1, 8, "byte order mark"},
		{"x\xff\n\n", "line", 1, 1, "UTF-8"},
		{"Data: a\n\n", "line", 1, 0, "no field that a client knows"},
		{": c\n\n{\"data\":1}\nDATA: b\n\n", "line", 2, 5, "no field that a client knows"},
		{"\xff", "line", 1, 0, "UTF-8"},
	} {
		frames, dst, err := ParseFrames([]Frame{{IDAt: -1}}, []byte("before"), []byte(c.body), true)
		var e *Error
		if !errors.As(err, &e) || e.Field != c.field || e.Frame != c.frame || e.Offset != c.offset || !strings.Contains(e.Reason, c.reason) {
			t.Errorf("%q: %v; want %s: %s (event %d, byte %d)", c.body, err, c.field, c.reason, c.frame, c.offset)
		}
		if len(frames) != 1 || string(dst) != "before" {
			t.Errorf("%q: %d frames, dst %q", c.body, len(frames), dst)
		}
	}
}

// TestParseFramesAliases: appending to a frame does not change the next one, and frames are valid after dst has grown.
func TestParseFramesAliases(t *testing.T) {
	body := []byte(strings.Repeat("data\n\n", 1000))
	frames, dst, err := ParseFrames(nil, make([]byte, 0, 8), body, true)
	if err != nil || len(frames) != 1000 {
		t.Fatal(len(frames), err)
	}
	clear(body)
	_ = append(frames[0].Bytes, "XXXX"...)
	at := 0
	for i, f := range frames {
		if string(f.Bytes) != "data\nid: \n\n" || &f.Bytes[0] != &dst[at] {
			t.Fatalf("frame %d: %q", i, f.Bytes)
		}
		at += len(f.Bytes)
	}
	if len(dst) > 2*len(body) {
		t.Errorf("dst grew to %d bytes of %d", len(dst), len(body))
	}
}

func TestParseFramesAllocations(t *testing.T) {
	body := []byte("event: e\r\nid: 7\r\ndata: a\r\n\r\ndata: é\n\n")
	frames, dst := make([]Frame, 0, 8), make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := ParseFrames(frames, dst, body, true); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations; want 0", n)
	}
}

func TestParseFrame(t *testing.T) {
	for _, c := range []struct {
		text      string
		reserveID bool
		want      string // or ...
		field     string // ... of the error
		idAt      int
	}{
		{"event: e\nretry: 1.5\nid: 7\ndata: x\n\n", false, "event: e\nretry: 1.5\nid: 7\ndata: x\n\n", "", 24},
		{"retry: -1\ndata: x\n\n", true, "retry: -1\ndata: x\nid: \n\n", "", 22},
		{"retry: soon\n: c\n\n", true, "retry: soon\n: c\n\n", "", -1},
		{"data: x\n\ndata: y\n\n", false, "", "body", 0},
		{"data: x\n", false, "", "body", 0},
		{"", false, "", "body", 0},
		{"id: a\x00\ndata: x\n\n", false, "", "id", 0},
		{"data: \xff\n\n", false, "", "data", 0},
	} {
		f, dst, err := ParseFrame([]byte("before|"), []byte(c.text), c.reserveID)
		var refused *Error
		switch {
		case c.field != "":
			if !errors.As(err, &refused) || refused.Field != c.field || string(dst) != "before|" || f.Bytes != nil {
				t.Errorf("%q: %q, %q, %v; want an error of %s", c.text, f.Bytes, dst, err, c.field)
			}
		case err != nil || string(f.Bytes) != c.want || f.IDAt != c.idAt || string(dst) != "before|"+c.want:
			t.Errorf("%q: %q, id at %d, %q, %v; want %q, %d", c.text, f.Bytes, f.IDAt, dst, err, c.want, c.idAt)
		}
	}
}

// TestEventName: the result is the type with which a client dispatches the event.
func TestEventName(t *testing.T) {
	for _, text := range []string{
		"data: x\n\n", "event: a\ndata: x\n\n", "data: x\nevent:a\n\n", "event: a\nevent: b\ndata: x\n\n", "event: a\nevent\ndata: x\n\n",
		"event:  a\ndata\n\n", ": event: a\ndata: event: b\n\n", "events: a\ndata: x\n\n", "event: error\r\ndata: x\r\n\r\n", "event: a:b\rdata: x\r\r",
	} {
		f, _, err := ParseFrame(nil, []byte(text), true)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		var p Parser
		if err := p.Feed(f.Bytes, func(m Message) { want = string(m.Type) }); err != nil {
			t.Fatal(err)
		}
		got := string(EventName(f.Bytes))
		if got == "" {
			got = "message"
		}
		if got != want {
			t.Errorf("%q: got %q, but a client dispatches %q", text, got, want)
		}
	}
}
