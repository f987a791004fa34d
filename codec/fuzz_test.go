package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tmaxmax/go-sse"

	"fanfare/internal/test/vectors"
)

// dataLines returns data as a client sees it, with LF as its line ends.
func dataLines(data string) string {
	return strings.ReplaceAll(strings.ReplaceAll(data, "\r\n", "\n"), "\r", "\n")
}

// checkBlock checks that clients get ev from the block of bytes. The clients are the Parser and the client of another
// project.
func checkBlock(t *testing.T, ev Event, block []byte) {
	t.Helper()
	text, comment := commentText(ev.Data)
	got, err := parseAll(new(Parser), block)
	if err != nil {
		t.Fatal(err)
	}
	want := refResult{LastEventID: ev.ID}
	if comment {
		want.Comments = strings.Split(dataLines(string(text)), "\n")
	} else {
		want.Messages = []refMessage{{"message", dataLines(string(ev.Data)), ev.ID}}
		if ev.Event != "" {
			want.Messages[0].Type = ev.Event
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v (data %q)\n got %+v\nwant %+v", ev, ev.Data, got, want)
	}

	if comment {
		return // go-sse, unlike a browser, dispatches a block with an event or id line and no data
	}
	var others []refMessage
	for m, err := range sse.Read(bytes.NewReader(block), &sse.ReadConfig{MaxEventSize: len(block) + 1024}) {
		if err != nil {
			t.Fatalf("go-sse: %v", err)
		}
		if m.Type == "" {
			m.Type = "message"
		}
		others = append(others, refMessage{m.Type, m.Data, m.LastEventID})
	}
	if !reflect.DeepEqual(others, want.Messages) {
		t.Fatalf("go-sse of %q: %+v; want %+v", block, others, want.Messages)
	}
}

func FuzzAppend(f *testing.F) {
	f.Add("", "", "", []byte(""), true)
	f.Add("news", "7", "3000", []byte("a\nb\r\nc\rd"), false)
	f.Add(" e", " ", "0", []byte(" \t:\n comment\r\n\n"), true)
	f.Add(":", ":", "", []byte("\uFEFF:\u3000x\u2028y"), true)
	f.Add("é", "\uFEFF", "007", []byte("\uFEFF\x00"), false)
	f.Add("a\nb", "\x00", "1.5", []byte("\xff"), true)
	for _, v := range vectors.Load(f) {
		if ev, err := DecodeJSON([]byte(v.JSON)); err == nil {
			f.Add(ev.Event, ev.ID, ev.Retry, ev.Data, true)
		}
	}
	f.Fuzz(func(t *testing.T, event, id, retry string, data []byte, reserveID bool) {
		ev := Event{Event: event, ID: id, Retry: retry, Data: data}
		plain, err := Append(nil, ev)
		control := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
		good := !strings.ContainsAny(event, "\r\n\x00") && !strings.ContainsFunc(id, control) &&
			utf8.ValidString(event) && utf8.ValidString(id) &&
			strings.Trim(retry, "0123456789") == "" && utf8.Valid(data)
		if good != (err == nil) {
			t.Fatalf("%+v: %v", ev, err)
		}
		if err != nil {
			return
		}
		checkBlock(t, ev, plain)

		frame, err := Encode(nil, ev, reserveID)
		if reserveID && CheckID(ev.ID) != nil {
			if err == nil {
				t.Fatalf("the id %q was accepted", ev.ID)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		checkFrame(t, frame)
		if !reserveID && !bytes.Equal(frame.Bytes, plain) {
			t.Fatalf("Encode: %q, Append: %q", frame.Bytes, plain)
		}
		if frame.IDAt >= 0 {
			if got := string(frame.Bytes[frame.IDAt : frame.IDAt+frame.IDLen]); got != id {
				t.Fatalf("id %q, want %q", got, id)
			}
		}
		// ParseFrames does not change an encoded event, and makes the same room.
		frames, _, err := ParseFrames(nil, nil, plain, reserveID)
		if err != nil || len(frames) != 1 || !reflect.DeepEqual(frames[0], frame) {
			t.Fatalf("ParseFrames(%q) = %v, %v; want %v", plain, frames, err, frame)
		}
		// An id that is inserted into the room is the event's id.
		if frame.IDAt >= 0 && frame.IDLen == 0 {
			withID := string(frame.Bytes[:frame.IDAt]) + "mf3k2a9x1b-42" + string(frame.Bytes[frame.IDAt:])
			ev.ID = "mf3k2a9x1b-42"
			checkBlock(t, ev, []byte(withID))
		}
	})
}

func FuzzParser(f *testing.F) {
	f.Add([]byte("data: a\r\n\r\ndata: b\r\rid: 1\n\n"), []byte{1, 2, 3})
	f.Add([]byte("\uFEFFdata\n\ndata\ndata\n\ndata:"), []byte{1})
	f.Add([]byte("\xef\xbb\n: c\xff\nid: \x00\nretry: 5\nretry: x\n\n"), []byte{1, 1, 1, 200})
	f.Add([]byte("event: \xf0\x9f\x98\ndata: \xe4\xb8\r\ndata:  x\r\n\n"), []byte{0, 10})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		want := refParse(stream)
		whole := new(Parser)
		got, err := parseAll(whole, stream)
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := whole.Retry(); ok != (want.Retry != "") || ok && d != milliseconds([]byte(want.Retry)) {
			t.Fatalf("retry %v, %v; want %q", d, ok, want.Retry)
		}
		got.Retry = want.Retry
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q\n got %+v\nwant %+v", stream, got, want)
		}

		var chunks [][]byte
		for rest, i := stream, 0; len(rest) > 0; i++ {
			n := len(rest)
			if len(cuts) > 0 {
				n = min(n, int(cuts[i%len(cuts)]))
				if n == 0 && i >= len(cuts) {
					n = 1
				}
			}
			chunks = append(chunks, bytes.Clone(rest[:n]))
			rest = rest[n:]
		}
		p := new(Parser)
		got, err = parseAll(p, chunks...)
		got.Retry = want.Retry
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q\n got %+v, %v\nwant %+v", chunks, got, err, want)
		}

		// With a limit, the result is either an error or the same.
		small := &Parser{MaxBytes: 8}
		if got, err = parseAll(small, chunks...); err == nil {
			got.Retry = want.Retry
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%q with a limit\n got %+v\nwant %+v", chunks, got, want)
			}
		}
	})
}

func FuzzDecodeJSON(f *testing.F) {
	for _, v := range vectors.Load(f) {
		if v.JSON != "" {
			f.Add([]byte(v.JSON))
		}
	}
	for _, s := range []string{`{"d\u0061ta":[1 , 2]}`, `{"data":"\ud83d\ude00\udc00\ud800"}`, `{"a":"\\\"","data":{"\"":[]} }`,
		"\"\u2028\x7f\"", "{\"data\":\xff}", `{"data":1}}`, `[[[[`, `{"retry":3000.0,"id":-0.0,"event":0e9}`, `{"Data":1}`,
		strings.Repeat("[", 10001) + strings.Repeat("]", 10001)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		given := string(body)
		ev, err := DecodeJSON(body)
		if string(body) != given {
			t.Fatalf("the body was changed: %q -> %q", given, body)
		}
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Offset < 0 || e.Offset > len(body) || e.Reason == "") {
			t.Fatalf("%q: error %#v", body, err)
		}
		valid := utf8.Valid(body) && json.Valid(body)
		if !valid {
			if err == nil || e.Field != fieldBody {
				t.Fatalf("%q is not valid, but the error is %v", body, err)
			}
			return
		}

		var text string
		var object map[string]json.RawMessage
		switch bytes.TrimLeft(body, " \t\r\n")[0] {
		case '"':
			if json.Unmarshal(body, &text) != nil || err != nil || string(ev.Data) != text || ev.Event+ev.ID+ev.Retry != "" {
				t.Fatalf("%q: %+v (data %q), %v; want %q", body, ev, ev.Data, err, text)
			}
		case '{':
			if jerr := json.Unmarshal(body, &object); jerr != nil {
				t.Fatalf("%q: %v", body, jerr)
			}
			checkObject(t, object, ev, err)
		default:
			if err == nil || e.Field != fieldBody {
				t.Fatalf("%q: error %v", body, err)
			}
		}
		if err != nil {
			return
		}
		block, err := Append(nil, ev)
		if err != nil {
			if !errors.As(err, &e) || e.Field != fieldEvent && e.Field != fieldID {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		checkBlock(t, ev, block)
	})
}

// checkObject compares the result of DecodeJSON for an object with the members that encoding/json decodes.
func checkObject(t *testing.T, object map[string]json.RawMessage, ev Event, err error) {
	t.Helper()
	if data := object["data"]; err == nil && data != nil {
		var want bytes.Buffer
		if data[0] == '"' {
			var s string
			_ = json.Unmarshal(data, &s)
			want.WriteString(s)
		} else if err := json.Compact(&want, data); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ev.Data, want.Bytes()) {
			t.Fatalf("data %q, want %q", ev.Data, want.Bytes())
		}
	}
	field := ""
	var e *Error
	if errors.As(err, &e) {
		field = e.Field
	}
	for _, m := range []struct{ name, got string }{{fieldEvent, ev.Event}, {fieldID, ev.ID}, {fieldRetry, ev.Retry}} {
		raw := string(object[m.name])
		var value any
		if raw != "" {
			d := json.NewDecoder(strings.NewReader(raw))
			d.UseNumber()
			if err := d.Decode(&value); err != nil {
				t.Fatal(err)
			}
		}
		want, refused := "", false
		switch v := value.(type) {
		case nil:
		case bool:
			refused = v
		case string:
			want, refused = v, m.name == fieldRetry && strings.Trim(v, "0123456789") != ""
		case json.Number:
			mantissa, _, _ := strings.Cut(strings.ToLower(raw), "e")
			if strings.Trim(mantissa, "-.0") == "" {
				break
			}
			want = raw
			if m.name == fieldRetry && strings.Trim(raw, "0123456789") != "" {
				f, err := v.Float64()
				// encoding/json writes a whole number that a double represents exactly in digits
				digits, _ := json.Marshal(f)
				want = string(digits)
				refused = err != nil || strings.Trim(want, "0123456789") != "" || want == "0" || f > 1<<53
			}
		default:
			refused = true
		}
		if refused {
			if field == "" {
				t.Fatalf("%s %s was not refused", m.name, raw)
			}
			if field == m.name {
				return
			}
			continue
		}
		if field == m.name {
			t.Fatalf("%s %s: %v", m.name, raw, err)
		}
		if err == nil && m.got != want {
			t.Fatalf("%s %s: %q, want %q", m.name, raw, m.got, want)
		}
	}
	if err != nil {
		t.Fatalf("%q is valid, but the error is %v", object, err)
	}
}

func FuzzParseFrames(f *testing.F) {
	f.Add([]byte("data: a\n\nid:7\nevent:e\rdata\r\n\r\n: c\n\n"), true)
	f.Add([]byte("\uFEFF\n\nid\ndata: a\n\n"), false)
	f.Add([]byte("id: 1\nid: 2\n\n"), true)
	f.Add([]byte("data: \xff\n\n"), true)
	f.Add([]byte("retry: 1.5\n\n"), true)
	f.Add([]byte("data: a\n"), true)
	f.Fuzz(func(t *testing.T, body []byte, reserveID bool) {
		given := string(body)
		frames, dst, err := ParseFrames(nil, nil, body, reserveID)
		if string(body) != given {
			t.Fatal("the body was changed")
		}
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Offset > len(body) || frames != nil || dst != nil {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if len(frames) == 0 {
			t.Fatalf("%q: no frames", body)
		}
		// ParseFrame has the same result for one event, and refuses several.
		one, _, err := ParseFrame(nil, body, reserveID)
		if (err == nil) != (len(frames) == 1) || err == nil && !reflect.DeepEqual(one.Bytes, frames[0].Bytes) {
			t.Fatalf("%q: ParseFrame = %q, %v; ParseFrames has %d", body, one.Bytes, err, len(frames))
		}
		var all []byte
		for _, fr := range frames {
			checkFrame(t, fr)
			all = append(all, fr.Bytes...)
			if fr.IDLen == 0 && fr.IDAt >= 0 && !reserveID {
				t.Fatalf("unexpected room in %q", fr.Bytes)
			}
		}
		if !bytes.Equal(all, dst) || len(dst) > 2*len(body) {
			t.Fatalf("%q: dst = %q of frames %q", body, dst, all)
		}
		// For a client, the frames are equal to the body, except for the rooms.
		want, got := refParse(body), refParse(all)
		if reserveID {
			for _, r := range []*refResult{&want, &got} {
				r.LastEventID = ""
				for i := range r.Messages {
					r.Messages[i].LastEventID = ""
				}
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q -> %q\n got %+v\nwant %+v", body, all, got, want)
		}
		// Parsing the result again does not change it.
		frames2, dst2, err := ParseFrames(nil, nil, dst, reserveID)
		if err != nil || !bytes.Equal(dst, dst2) || !reflect.DeepEqual(frames, frames2) {
			t.Fatalf("%q again: %q, %v", dst, dst2, err)
		}
	})
}
