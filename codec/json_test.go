package codec

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"fanfare/internal/test/race"
)

func TestDecodeJSON(t *testing.T) {
	for _, c := range []struct {
		body string
		want Event
	}{
		{`"text"`, Event{Data: []byte("text")}},
		{" \r\n\t\"text\" \n", Event{Data: []byte("text")}},
		{`""`, Event{}},
		{`"\"\\\/\b\f\n\r\t\u0041\ud83d\ude00\\"`, Event{Data: []byte("\"\\/\b\f\n\r\tA😀\\")}},
		{`"\udc00\ud83d\ude00\ud800\ud800x"`, Event{Data: []byte("\uFFFD😀\uFFFD\uFFFDx")}},
		{`{}`, Event{}},
		{` { } `, Event{}},
		{`{"data":"a\nb"}`, Event{Data: []byte("a\nb")}},
		{`{"data":""}`, Event{}},
		{`{"data":null}`, Event{Data: []byte("null")}},
		{`{"data":true}`, Event{Data: []byte("true")}},
		{`{"data": -0.0e-0 }`, Event{Data: []byte("-0.0e-0")}},
		{`{"data":9223372036854775807}`, Event{Data: []byte("9223372036854775807")}},
		{`{"data":[1 , "a b" , {"c" : "\u2028<\/" , "c":1E+2}] }`, Event{Data: []byte(`[1,"a b",{"c":"\u2028<\/","c":1E+2}]`)}},
		{"{\"data\":{\"a\":\"\u2028<>&\"}}", Event{Data: []byte("{\"a\":\"\u2028<>&\"}")}},
		{`{"data":{"a":"\" \\"} , "x":"}","event":"e"}`, Event{Event: "e", Data: []byte(`{"a":"\" \\"}`)}},
		{`{"data":[ ]}`, Event{Data: []byte(`[]`)}},
		{`{"data":{"data":1,"event":"inner","id":2}}`, Event{Data: []byte(`{"data":1,"event":"inner","id":2}`)}},
		{`{"\u0064\u0061ta":"x"}`, Event{Data: []byte("x")}},
		{`{"Data":"x","EVENT":"e","iD":1,"Retry":"bad"}`, Event{}},
		{`{"data ":"x","dat":1,"dataa":2,"":3}`, Event{}},
		{`{"data":"a","data":"b"}`, Event{Data: []byte("b")}},
		{`{"event":true,"event":"ok","id":[],"id":7,"retry":-1,"retry":1}`, Event{Event: "ok", ID: "7", Retry: "1"}},
		{`{"event":"a","event":null,"id":"a","id":0}`, Event{}},

		{`{"event":"","id":"","retry":""}`, Event{}},
		{`{"event":0,"id":-0,"retry":0.0}`, Event{}},
		{`{"event":0e5,"id":-0.0E-9,"retry":-0}`, Event{}},
		{`{"event":false,"id":null,"retry":false}`, Event{}},
		{`{"event":"0","id":"0","retry":"0"}`, Event{Event: "0", ID: "0", Retry: "0"}},
		{`{"event":1e3,"id":-1.50}`, Event{Event: "1e3", ID: "-1.50"}},
		{`{"id":12345678901234567890}`, Event{ID: "12345678901234567890"}},
		{`{"id":0.01,"event":0e1}`, Event{ID: "0.01"}},
		{`{"event":"\u4e8b\ud800","id":"a b"}`, Event{Event: "事\uFFFD", ID: "a b"}},

		{`{"retry":3000}`, Event{Retry: "3000"}},
		{`{"retry":"007"}`, Event{Retry: "007"}},
		{`{"retry":"\u0031"}`, Event{Retry: "1"}},
		{`{"retry":1e3}`, Event{Retry: "1000"}},
		{`{"retry":3000.0}`, Event{Retry: "3000"}},
		{`{"retry":15e-1,"retry":150E-1}`, Event{Retry: "15"}},
		{`{"retry":9007199254740992.0}`, Event{Retry: "9007199254740992"}},
		{`{"retry":123456789012345678901234567890}`, Event{Retry: "123456789012345678901234567890"}},
	} {
		body := []byte(c.body)
		got, err := DecodeJSON(body)
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		if got.Event != c.want.Event || got.ID != c.want.ID || got.Retry != c.want.Retry || !bytes.Equal(got.Data, c.want.Data) {
			t.Errorf("%s\n got %+v %q\nwant %+v %q", c.body, got, got.Data, c.want, c.want.Data)
		}
		if string(body) != c.body {
			t.Errorf("%s: the body was changed to %s", c.body, body)
		}
	}
}

func TestDecodeJSONRefuses(t *testing.T) {
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	for _, c := range []struct {
		body, field string
		offset      int
		reason      string
	}{
		{``, "body", 0, "is empty"},
		{" \n", "body", 2, "is empty"},
		{`7`, "body", 0, "must be a string or an object with data, event, id, retry; got a number"},
		{`-7.5`, "body", 0, "got a number"},
		{`  true`, "body", 2, "got a boolean"},
		{`false`, "body", 0, "got a boolean"},
		{`null`, "body", 0, "got null"},
		{`[{"data":1}]`, "body", 0, "got an array"},

		{`{"data":1`, "body", 9, "ends too early"},
		{`"abc`, "body", 4, "ends too early"},
		{`{"data":1} {}`, "body", 11, "not valid JSON"},
		{`"a" "b"`, "body", 4, "not valid JSON"},
		{`"a",`, "body", 3, "not valid JSON"},
		{`{"data":[1,,2]}`, "body", 11, "not valid JSON"},
		{`{"data":01}`, "body", 9, "not valid JSON"},
		{`{"data":1.}`, "body", 10, "not valid JSON"},
		{`{"data":+1}`, "body", 8, "not valid JSON"},
		{`{"data":NaN}`, "body", 8, "not valid JSON"},
		{`{data:1}`, "body", 1, "not valid JSON"},
		{`{"data":1,}`, "body", 10, "not valid JSON"},
		{`{"data" 1}`, "body", 8, "not valid JSON"},
		{`{"data":'x'}`, "body", 8, "not valid JSON"},
		{`"\x"`, "body", 1, "not valid JSON"},
		{`"\u12g4"`, "body", 1, "not valid JSON"},
		{"\"a\nb\"", "body", 2, "not valid JSON"},
		{"\"a\x00b\"", "body", 2, "not valid JSON"},
		{"\"a\"\x00", "body", 3, "not valid JSON"},
		{"\uFEFF\"a\"", "body", 0, "not valid JSON"},
		{"\"a\u00A0\"\u00A0", "body", 5, "not valid JSON"},
		{`undefined`, "body", 0, "not valid JSON"},

		{"\"ab\xff\"", "body", 3, "UTF-8"},
		{"{\"x\":\"\xed\xa0\x80\"}", "body", 6, "UTF-8"},
		{"\xff\xfe\"\x00a\x00", "body", 0, "UTF-8"},

		{`{"data":` + deep + `}`, "body", 8 + 9_999, "nested deeper than 10000"},
		{deep, "body", 10_000, "nested deeper than 10000"},

		{`{"event":true}`, "event", 9, "must be a string or a number; got a boolean"},
		{`{"event":{"a":1}}`, "event", 9, "got an object"},
		{`{"id": []}`, "id", 7, "got an array"},
		{`{"id":"ok","id":true}`, "id", 16, "got a boolean"},
		{`{"retry":1.5}`, "retry", 9, "digits 0-9 only; got 1.5"},
		{`{"retry":-1}`, "retry", 9, "got -1"},
		{`{"retry":1e-400}`, "retry", 9, "got 1e-400"},
		{`{"retry":1e400}`, "retry", 9, "got 1e400"},
		{`{"retry":1e17}`, "retry", 9, "got 1e17"},
		{`{"retry":-1e3}`, "retry", 9, "got -1e3"},
		{`{"retry":"1e3"}`, "retry", 9, `got "1e3"`},
		{`{"retry":" 1"}`, "retry", 9, `got " 1"`},
		{`{"retry":"-1"}`, "retry", 9, `got "-1"`},
		{`{"retry":"` + strings.Repeat("é", 99) + `"}`, "retry", 9, "…"},
		{`{"retry":true}`, "retry", 9, "got a boolean"},
		{`{"retry":[1]}`, "retry", 9, "got an array"},
		{`{"retry":{}}`, "retry", 9, "got an object"},
	} {
		got, err := DecodeJSON([]byte(c.body))
		name := excerpt([]byte(c.body))
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: got %+v, %v", name, got, err)
			continue
		}
		if e.Field != c.field || e.Offset != c.offset || !strings.Contains(e.Reason, c.reason) {
			t.Errorf("%s: %v; want %s: %s (byte %d)", name, err, c.field, c.reason, c.offset)
		}
		if len(err.Error()) > 300 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
}

func TestDecodeJSONDepth(t *testing.T) {
	data := strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1)
	ev, err := DecodeJSON([]byte(`{"data":` + data + `}`))
	if err != nil || string(ev.Data) != data {
		t.Fatalf("%d levels: %v", maxDepth, err)
	}
	if _, err := DecodeJSON([]byte(`{"data":[` + data + `]}`)); err == nil {
		t.Fatalf("%d levels must be refused", maxDepth+1)
	}
}

// TestDecodeJSONHostile: long runs of quotes and backslashes take linear time. With quadratic time this test would not
// end.
func TestDecodeJSONHostile(t *testing.T) {
	for _, unit := range []string{`\"`, `\\`, `\\\"`, `\u0022`} {
		body := `{"x":"` + strings.Repeat(unit, 1<<20) + `","data":1}`
		ev, err := DecodeJSON([]byte(body))
		if err != nil || string(ev.Data) != "1" {
			t.Fatalf("%s: %q, %v", unit, ev.Data, err)
		}
	}
}

func TestDecodeJSONAliases(t *testing.T) {
	for _, body := range []string{`"text"`, `{"data":"text"}`, `{"data":{"a":[1,"b c"]},"x" : 1}`} {
		b := []byte(body)
		ev, err := DecodeJSON(b)
		if err != nil {
			t.Fatal(err)
		}
		if &ev.Data[0] != &b[bytes.Index(b, ev.Data)] {
			t.Errorf("%s: the data was copied", body)
		}
	}
	b := []byte(`{"event":"name","id":"one","retry":"5"}`)
	ev, _ := DecodeJSON(b)
	clear(b)
	if ev.Event != "name" || ev.ID != "one" || ev.Retry != "5" {
		t.Errorf("the strings alias the body: %+v", ev)
	}
}

// TestDecodeJSONAllocations: decoding allocates only a string each for the event, the id and the retry, and text that
// is not in the body.
func TestDecodeJSONAllocations(t *testing.T) {
	for _, c := range []struct {
		body string
		most float64
	}{
		{`"some text"`, 0},
		{`{"data":"some text"}`, 0},
		{`{"data":{"a":[1,2.5,"b c",null]},"unknown":{}}`, 0},
		{`{"event":"tick","data":{"a":1}}`, 1},
		{`{"event":"tick","id":"one","retry":1000,"data":1}`, 3},
		{`"two\nlines"`, 1},
		{`{ "data" : { "a" : 1 } }`, 1},
	} {
		body := []byte(c.body)
		n := testing.AllocsPerRun(200, func() {
			if _, err := DecodeJSON(body); err != nil {
				t.Fatal(err)
			}
		})
		if n > c.most && !race.Enabled {
			t.Errorf("%s: %v allocations; want at most %v", c.body, n, c.most)
		}
	}
}

// TestDecodePublishRefuses: DecodePublish refuses members that look like mistakes, and DecodeJSON does not.
func TestDecodePublishRefuses(t *testing.T) {
	for body, field := range map[string]string{
		`{"Data":"typo"}`: "Data", `{"DATA":1,"data":2}`: "DATA", `{"data":1,"ID":7}`: "ID", `{"key":"k","data":1}`: "key",
		`{"connectKey":"k"}`: "connectKey",
		`{"connectkey":"k"}`: "connectkey", `{"lastEventId":"k"}`: "lastEventId", `{"data":1,"retyr":5}`: "retyr", `{"data":1,"events":"e"}`: "events",
		`{"evnt":"e","data":1}`: "evnt", `{"dat":1}`: "dat",
		`{"dta":1,"event":"e"}`: "dta", `{"data":1,"ids":["a"]}`: "ids", `{"data":1,"kye":"k"}`: "kye",
		`{"data":1,"keys":["k"]}`: "keys", `{"data":1,"date":"2026","user":"x"}`: "", `{"data":1,"event":"e","events":2}`: "",
		`{"data":1,"idx":2,"rate":1}`: "",
		`{"op":"close"}`:              "op", `{"frame":"x"}`: "frame", `{"Retr\u0079":5}`: "Retry",
		`{"data":1,"user":"x"}`: "", `"Data"`: "", `{"data":{"Data":1,"key":2}}`: "", `{}`: "", `{"dataset":1}`: "", `{"msg":"x"}`: "",
	} {
		_, err := DecodePublish([]byte(body))
		var e *Error
		if got := errors.As(err, &e); got != (field != "") || got && e.Field != field {
			t.Errorf("%s: %v, want an error for %q", body, err, field)
		}
		if _, err := DecodeJSON([]byte(body)); err != nil {
			t.Errorf("%s: DecodeJSON: %v", body, err)
		}
	}
	if _, err := DecodePublish([]byte(`{"key":"k","op":"publish","frame":"x"}`), "key", "op", "frame"); err != nil {
		t.Error(err)
	}
	for body, refused := range map[string]bool{
		`{"op":"publish","kye":"k","data":1}`: true, `{"op":"publish","key":"k","kye":"k","data":1}`: false,
		`{"op":"count","key":"k","trace":"x"}`:   false,
		`{"op":"publish","key":"k","farme":"x"}`: true, `{"ops":"publish","key":"k","data":1}`: true,
	} {
		if _, err := DecodePublish([]byte(body), "key", "op", "frame"); (err != nil) != refused {
			t.Errorf("%s: %v", body, err)
		}
	}
	if _, err := DecodePublish([]byte(`{"Key":"k"}`), "key"); err == nil {
		t.Error("Key was accepted for key")
	}
}
