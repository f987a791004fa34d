package payload

import (
	"strings"
	"testing"

	"fanfare/codec"
)

func TestDecode(t *testing.T) {
	type want struct{ data, event, id, retry, err string }
	for _, test := range []struct {
		body string
		mode Mode
		want want
	}{
		{"hello", Auto, want{data: "hello"}},
		{"", Auto, want{}},
		{`"hello"`, Auto, want{data: `"hello"`}},
		{`"hello"`, JSON, want{data: "hello"}},
		{`[1]`, Auto, want{data: "[1]"}},
		{`{"data":"x"}`, Auto, want{data: "x"}},
		{" {\"d\\u0061ta\" : {\"a\": 1}, \"event\":\"e\", \"id\":7, \"retry\":\"10\"}\r\n", Auto, want{`{"a":1}`, "e", "7", "10", ""}},
		{`{"data":"x"}`, Text, want{data: `{"data":"x"}`}},
		{`{"event":"e"}`, Auto, want{data: `{"event":"e"}`}},
		{`{"event":"e"}`, JSON, want{event: "e"}},
		{`{"data":"x","price":1}`, Auto, want{data: `{"data":"x","price":1}`}},
		{`{"data":"x","price":1}`, JSON, want{data: "x"}},
		{`{"Data":"x"}`, Auto, want{data: `{"Data":"x"}`}},
		{`{"data":"x"} {"data":"y"}`, Auto, want{data: `{"data":"x"} {"data":"y"}`}},
		{`{"data":"x"`, Auto, want{data: `{"data":"x"`}},
		{`{"data":}`, Auto, want{data: `{"data":}`}},
		{`{`, Auto, want{data: `{`}},
		{`{"data":"x"`, JSON, want{err: "body: "}},
		{`{"Data":"x"}`, JSON, want{err: "Data: "}},
		{`{"key":"k","data":"x"}`, JSON, want{err: "key: "}},
		{`5`, JSON, want{err: "body: must be a string or an object"}},
		{`{"data":"x","retry":"soon"}`, Auto, want{err: "retry: "}},
	} {
		ev, err := Decode([]byte(test.body), test.mode)
		got := want{data: string(ev.Data), event: ev.Event, id: ev.ID, retry: ev.Retry}
		if err != nil {
			got = want{err: err.Error()}
		}
		if test.want.err != "" && strings.HasPrefix(got.err, test.want.err) {
			got.err = test.want.err
		}
		if got != test.want {
			t.Errorf("%s %s: %+v, want %+v", test.mode, test.body, got, test.want)
		}
	}
}

func TestModes(t *testing.T) {
	for m := Auto; m <= JSON; m++ {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("%s: %v, %v", m, got, err)
		}
	}
	if _, err := ParseMode("Text"); err == nil {
		t.Error("Text is a mode")
	}
}

// FuzzDecode: Auto decides as JSON decodes, and never refuses what is no event.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"data":{"a":[1,"}"]},"id":"x"}`))
	f.Add([]byte("{\"data\":\"\xff\"}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ev, err := Decode(b, Auto)
		switch {
		case isEvent(b):
			as, asErr := codec.DecodeJSON(b)
			if (err == nil) != (asErr == nil) || err == nil && (string(ev.Data) != string(as.Data) || ev.Event != as.Event) {
				t.Errorf("%q: %+v, %v; as JSON %+v, %v", b, ev, err, as, asErr)
			}
		case err != nil || string(ev.Data) != string(b) || ev.Event+ev.ID+ev.Retry != "":
			t.Errorf("%q is text, and became %+v, %v", b, ev, err)
		}
	})
}
