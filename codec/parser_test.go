package codec

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParser(t *testing.T) {
	msg := func(data string) refMessage { return refMessage{"message", data, ""} }
	for _, c := range []struct {
		name, stream string
		want         []refMessage
		lastID       string
	}{
		// The examples of WHATWG HTML 9.2.6.
		{"example: two-line event", "data: YHOO\ndata: +2\ndata: 10\n\n", []refMessage{msg("YHOO\n+2\n10")}, ""},
		{"example: four blocks", ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
			[]refMessage{{"message", "first event", "1"}, msg("second event")}, ""},
		{"example: four blocks, finished", ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
			[]refMessage{{"message", "first event", "1"}, msg("second event"), msg(" third event")}, ""},
		{"example: no space and empty data", "data\n\ndata\ndata\n\ndata:", []refMessage{msg(""), msg("\n")}, ""},
		{"example: one space", "data:test\n\ndata: test\n\n", []refMessage{msg("test"), msg("test")}, ""},
		{"example: event types", "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
			[]refMessage{{"add", "73857293", ""}, {"remove", "2153", ""}, {"add", "113411", ""}}, ""},

		{"BOM", "\uFEFFdata: a\n\n", []refMessage{msg("a")}, ""},
		{"two BOMs", "\uFEFF\uFEFFdata: a\n\ndata: b\n\n", []refMessage{msg("b")}, ""},
		{"BOM later", "data: a\n\n\uFEFFdata: b\n\n", []refMessage{msg("a")}, ""},
		{"part of a BOM", "\xef\xbbdata: a\n\ndata: b\n\n", []refMessage{msg("b")}, ""},
		{"CR", "data: a\r\rdata: b\r\r", []refMessage{msg("a"), msg("b")}, ""},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []refMessage{msg("a"), msg("b")}, ""},
		{"mixed", "data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\r", []refMessage{msg("a\nb\nc"), msg("d")}, ""},
		{"CRLF LF is two", "data: a\r\n\ndata: b\r\n\n", []refMessage{msg("a"), msg("b")}, ""},
		{"LF CR is two", "data: a\n\rdata: b\n\n", []refMessage{msg("a"), msg("b")}, ""},
		{"unfinished block", "data: a\n\ndata: b\nid: 9\n", []refMessage{msg("a")}, ""},
		{"unfinished line", "data: a\n\ndata: b", []refMessage{msg("a")}, ""},
		{"no data, no event", "event: x\nid: 1\n\ndata: a\n\n", []refMessage{{"message", "a", "1"}}, "1"},
		{"id stays", "id: 1\ndata: a\n\ndata: b\n\n", []refMessage{{"message", "a", "1"}, {"message", "b", "1"}}, "1"},
		{"id reset", "id: 1\ndata: a\n\nid\ndata: b\n\n", []refMessage{{"message", "a", "1"}, msg("b")}, ""},
		{"id with NUL", "id: 1\ndata: a\n\nid: 2\x00\ndata: b\n\n", []refMessage{{"message", "a", "1"}, {"message", "b", "1"}}, "1"},
		{"id alone", "id: 5\n\n", nil, "5"},
		{"last of two", "id: 1\nid: 2\nevent: a\nevent: b\ndata: x\n\n", []refMessage{{"b", "x", "2"}}, "2"},
		{"event reset", "event: a\nevent:\ndata: x\n\n", []refMessage{msg("x")}, ""},
		{"field names are exact", "Data: a\n data: b\ndata : c\ndat: d\ndataa: e\n\ndata: x\n\n", []refMessage{msg("x")}, ""},
		{"colons in values", "data:a:b\ndata: :c\n\n", []refMessage{msg("a:b\n:c")}, ""},
		{"one space only", "data:  a\ndata:\tb\n\n", []refMessage{msg(" a\n\tb")}, ""},
		{"NUL in data", "data: \x00\n\n", []refMessage{msg("\x00")}, ""},
		{"other separators", "data: a\v\u0085\u2028b\n\n", []refMessage{msg("a\v\u0085\u2028b")}, ""},
		{"invalid UTF-8", "event: \xff\ndata: \xe4\xb8x\xed\xa0\x80\xf0\x9f\x98\n\n",
			[]refMessage{{"\uFFFD", "\uFFFDx\uFFFD\uFFFD\uFFFD\uFFFD", ""}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			stream := []byte(c.stream)
			want := refParse(stream)
			if !reflect.DeepEqual(want.Messages, c.want) || want.LastEventID != c.lastID {
				t.Fatalf("the reference parser: %q, id %q; want %q, %q", want.Messages, want.LastEventID, c.want, c.lastID)
			}
			single := make([][]byte, len(stream))
			for i := range stream {
				single[i] = stream[i : i+1]
			}
			chunkings := [][][]byte{{stream}, single}
			for i := range stream {
				chunkings = append(chunkings, [][]byte{stream[:i], nil, stream[i:]})
			}
			for _, chunks := range chunkings {
				got, err := parseAll(new(Parser), chunks...)
				got.Retry = want.Retry
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("%q: %q, %v; want %q", chunks, got, err, want)
				}
			}
		})
	}
}

// TestParserDispatchesAtOnce: an event is dispatched with the byte that ends it. A CR does not wait for an LF.
func TestParserDispatchesAtOnce(t *testing.T) {
	for _, end := range []string{"\n\n", "\r\r", "\r\n\r"} {
		var p Parser
		n := 0
		if err := p.Feed([]byte("data: a"+end), func(Message) { n++ }); err != nil || n != 1 {
			t.Errorf("%q: %d events, %v", end, n, err)
		}
	}
}

func TestParserRetry(t *testing.T) {
	var p Parser
	if _, ok := p.Retry(); ok {
		t.Fatal("a retry before the first")
	}
	for _, c := range []struct {
		line string
		want time.Duration
	}{
		{"retry: 1500", 1500 * time.Millisecond},
		{"retry: 1.5", 1500 * time.Millisecond},
		{"retry: -1", 1500 * time.Millisecond},
		{"retry:  1", 1500 * time.Millisecond},
		{"retry: 1 ", 1500 * time.Millisecond},
		{"retry: ", 1500 * time.Millisecond},
		{"retry", 1500 * time.Millisecond},
		{"retry: ١", 1500 * time.Millisecond},
		{"retry:0", 0},
		{"retry: 007", 7 * time.Millisecond},
		{"retry: 9223372036854", 9223372036854 * time.Millisecond},
		{"retry: 9223372036855", math.MaxInt64},
		{"retry: " + strings.Repeat("9", 400), math.MaxInt64},
	} {
		// A retry takes effect at once, without an empty line.
		if err := p.Feed([]byte(c.line+"\n"), nil); err != nil {
			t.Fatal(err)
		}
		if got, ok := p.Retry(); !ok || got != c.want {
			t.Errorf("%s: %v, %v; want %v", c.line, got, ok, c.want)
		}
	}
}

func TestParserReset(t *testing.T) {
	var p Parser
	var got []refMessage
	emit := func(m Message) {
		got = append(got, refMessage{string(m.Type), string(m.Data), string(m.LastEventID)})
	}
	for _, stream := range []string{
		"retry: 5\nid: 1\ndata: a\n\nid: 2\nevent: lost\ndata: lost\r",
		"\ndata: b\n\nda",
		"\uFEFFdata: c\n\n",
	} {
		if err := p.Feed([]byte(stream), emit); err != nil {
			t.Fatal(err)
		}
		p.Reset()
	}
	want := []refMessage{{"message", "a", "1"}, {"message", "b", "1"}, {"message", "c", "1"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if d, ok := p.Retry(); !ok || d != 5*time.Millisecond || string(p.LastEventID()) != "1" {
		t.Errorf("retry %v, id %q", d, p.LastEventID())
	}
}

func TestParserLimit(t *testing.T) {
	line := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct{ stream, field string }{
		{"data: " + line(94) + "\n\n", ""},
		{"data: " + line(95) + "\n\n", "line"},
		{": " + line(99), "line"},
		{line(101), "line"},
		{"data: " + line(50) + "\ndata: " + line(49) + "\n\n", ""},
		{"data: " + line(50) + "\ndata: " + line(50) + "\n\n", "data"},
		{strings.Repeat("data\n", 101) + "\n", ""},
		{strings.Repeat("data\n", 102) + "\n", "data"},
		{strings.Repeat("data: "+line(50)+"\n\n", 10), ""},
		{strings.Repeat(": "+line(50)+"\n", 10), ""},
	} {
		for _, size := range []int{1, 7, len(c.stream)} {
			p := Parser{MaxBytes: 100}
			var err error
			for rest := []byte(c.stream); len(rest) > 0 && err == nil; rest = rest[min(size, len(rest)):] {
				err = p.Feed(rest[:min(size, len(rest))], nil)
			}
			var e *Error
			switch {
			case c.field == "":
				if err != nil {
					t.Errorf("%.20q in chunks of %d: %v", c.stream, size, err)
				}
				continue
			case !errors.As(err, &e) || e.Field != c.field || !strings.Contains(err.Error(), "longer than 100 bytes; raise MaxBytes"):
				t.Errorf("%.20q in chunks of %d: %v; want %s", c.stream, size, err, c.field)
				continue
			}
			if again := p.Feed([]byte("data: a\n\n"), func(Message) { t.Error("an event after the error") }); again != err {
				t.Errorf("then: %v", again)
			}
			p.Reset()
			n := 0
			if err := p.Feed([]byte("data: a\n\n"), func(Message) { n++ }); err != nil || n != 1 {
				t.Errorf("after Reset: %d events, %v", n, err)
			}
		}
	}
	var p Parser
	if err := p.Feed([]byte("data: "+line(DefaultMaxBytes)), nil); err == nil {
		t.Error("there is no default limit")
	}
}

// TestParserReleases: the parser does not keep the buffers of a large event.
func TestParserReleases(t *testing.T) {
	var p Parser
	n := 0
	for _, chunk := range []string{"id: 1\nevent: e\ndata: ", strings.Repeat("x", 1<<20), "\n\n", "data: a\n\n"} {
		if err := p.Feed([]byte(chunk), func(m Message) { n += len(m.Data) }); err != nil {
			t.Fatal(err)
		}
	}
	if n != 1<<20+1 || cap(p.line) > maxKeptBuffer || cap(p.data) > maxKeptBuffer {
		t.Errorf("%d bytes; %d and %d kept", n, cap(p.line), cap(p.data))
	}
}

func TestParserAllocations(t *testing.T) {
	stream := []byte(": ping\n\nid: 17\nevent: tick\ndata: some text\ndata: é\n\nretry: 5\ndata: x\r\n\r\n")
	p := Parser{OnComment: func([]byte) {}}
	n := 0
	emit := func(Message) { n++ }
	if allocs := testing.AllocsPerRun(100, func() {
		for i := 0; i < len(stream); i += 5 {
			_ = p.Feed(stream[i:min(i+5, len(stream))], emit)
		}
		_ = p.Feed(stream, emit)
	}); allocs != 0 || n == 0 {
		t.Errorf("%v allocations for %d events; want 0", allocs, n)
	}
}

// TestAppendValid compares appendValid with the decoder of the standard, for every kind of first bytes of a character.
func TestAppendValid(t *testing.T) {
	bytes := []byte{0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE,
		0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF}
	n := len(bytes)
	for i := range n * n * n * n {
		b := []byte{bytes[i%n], bytes[i/n%n], bytes[i/n/n%n], bytes[i/n/n/n]}
		for len(b) > 0 {
			if got, want := string(appendValid(nil, b)), refDecode(b); got != want {
				t.Fatalf("%x: %q, want %q", b, got, want)
			}
			b = b[:len(b)-1]
			if i%7 != 0 { // shorter inputs are tested often enough
				break
			}
		}
	}
}

// TestParserNamed: Named is true for every name that the stream gives, even for "message".
func TestParserNamed(t *testing.T) {
	var got []string
	p := new(Parser)
	if err := p.Feed([]byte("data: 1\n\nevent: message\ndata: 2\n\nevent: a\nevent:\ndata: 3\n\nevent: a\ndata: 4\n\n"), func(m Message) {
		got = append(got, fmt.Sprintf("%s %s %v", m.Data, m.Type, m.Named))
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"1 message false", "2 message true", "3 message false", "4 a true"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
