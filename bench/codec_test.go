package bench_test

import (
	"strings"
	"testing"

	"fanfare/codec"
)

func BenchmarkEncode(b *testing.B) {
	for _, c := range []struct {
		name string
		ev   codec.Event
	}{
		{"200B", codec.Event{Event: "tick", Data: []byte(strings.Repeat("x", 170))}},
		{"100lines", codec.Event{Data: []byte(strings.Repeat("a line of some text\r\n", 100))}},
		{"1MB", codec.Event{Data: []byte(strings.Repeat("x", 1<<20))}},
	} {
		b.Run(c.name, func(b *testing.B) {
			dst := make([]byte, 0, 2<<20)
			b.SetBytes(int64(len(c.ev.Data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := codec.Encode(dst, c.ev, true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecodeJSON(b *testing.B) {
	for _, c := range []struct{ name, body string }{
		{"string", `"` + strings.Repeat("x", 200) + `"`},
		{"escapes", `{"data":"` + strings.Repeat(`line\n`, 40) + `"}`},
		{"object", `{"event":"tick","data":{"symbol":"ABC","price":101.25,"bid":[101.2,101.1,101.0],"text":"some text, with spaces","at":1700000000000}}`},
		{"spaced", `{ "event": "tick", "data": { "symbol": "ABC", "price": 101.25, "bid": [ 101.2, 101.1, 101.0 ], "at": 1700000000000 } }`},
	} {
		b.Run(c.name, func(b *testing.B) {
			body := []byte(c.body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := codec.DecodeJSON(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseFrames(b *testing.B) {
	body := []byte(strings.Repeat("event: tick\ndata: "+strings.Repeat("x", 170)+"\n\n", 100))
	frames, dst := make([]codec.Frame, 0, 100), make([]byte, 0, 2*len(body))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := codec.ParseFrames(frames, dst, body, true); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParser(b *testing.B) {
	stream := []byte(strings.Repeat("id: mf3k2a9x1b-42\ndata: "+strings.Repeat("x", 170)+"\n\n", 100))
	for _, c := range []struct {
		name string
		size int
	}{{"whole", len(stream)}, {"64B", 64}} {
		b.Run(c.name, func(b *testing.B) {
			var p codec.Parser
			n := 0
			emit := func(codec.Message) { n++ }
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				for i := 0; i < len(stream); i += c.size {
					if err := p.Feed(stream[i:min(i+c.size, len(stream))], emit); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
		})
	}
}
