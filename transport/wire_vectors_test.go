package transport

import (
	"encoding/json"
	"os"
	"testing"
)

// vector is one recorded call of egg-sse 1.0.7: what it was given, and what a
// subscriber received.
type vector struct {
	Name, Call, JSON, Wire, HTTP string
}

// differs are the bytes for the vectors where JSON tokens pass as they were
// sent, instead of as JavaScript writes them.
var differs = map[string]string{
	"string-lone-surrogate":        "data: a\uFFFDb\n\n",
	"obj-data-exp":                 "data: 1e3\n\n",
	"obj-data-1e21":                "data: 1e21\n\n",
	"obj-data-bigint-text":         "data: 12345678901234567890\n\n",
	"obj-data-neg-zero":            "data: -0\n\n",
	"obj-data-1e400":               "data: 1e400\n\n",
	"obj-data-json-newline":        `data: {"t":"a\nb\r\tc\u2028d"}` + "\n\n",
	"obj-data-json-unicode":        `data: {"t":"\u00e9\ud83d\ude00\u007f\u0080"}` + "\n\n",
	"obj-data-json-lone-surrogate": `data: {"t":"a\ud800b\udc00"}` + "\n\n",
	"obj-data-json-numbers": "data: [1.0,1e3,1e21,1e-7,-0,12345678901234567890,0.1,100000000000000000000,1e400," +
		"5e-324,1.7976931348623157e308]\n\n",
	"obj-data-json-int-keys": `data: {"b":1,"10":2,"a":3,"2":4,"01":5,"-1":6,"4294967294":7,"4294967295":8,` +
		`"9007199254740993":9}` + "\n\n",
	"obj-data-json-dup-keys": `data: {"a":1,"b":2,"a":3}` + "\n\n",
	"obj-dup-top":            "event: b\ndata: 2\n\n",
}

func loadVectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("../internal/test/vectors/egg-sse.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	return vectors
}

// TestWireVectors publishes what egg-sse was given, by each call, and compares
// what a socket receives.
func TestWireVectors(t *testing.T) {
	targets := map[string]string{"publish": "/publish?key=vectors", "publishAll": "/publishAll"}
	onBoth(t, rigOptions{Options: Options{PlainIDs: true}}, func(t *testing.T, r *rig) {
		w := r.stream("connectKey=vectors")
		count := map[string]int{}
		for _, v := range loadVectors(t) {
			count[v.HTTP]++
			if v.HTTP == "node only" {
				continue
			}
			// Each vector by both calls: over HTTP they take the same bodies.
			for call, target := range targets {
				a := r.call("POST", target, v.JSON, "Content-Type: application/json")
				want := v.Wire
				switch v.HTTP {
				case "400":
					if f := a.failed(t); a.status != 400 || f.Field == "" {
						t.Errorf("%s: %s %s: %d %s, want 400 and a field", v.Name, call, v.JSON, a.status, a.body)
					}
					// What was sent would be in front of the next vector's bytes.
					continue
				case "differs":
					if want = differs[v.Name]; want == "" {
						t.Fatalf("%s: the bytes to expect are missing in this test", v.Name)
					}
				case "same":
				default:
					t.Fatalf("%s: unknown http %q", v.Name, v.HTTP)
				}
				if a.status != 200 {
					t.Errorf("%s: %s %s: %d %s", v.Name, call, v.JSON, a.status, a.body)
					continue
				}
				if got := w.read(len(want)); got != want {
					t.Fatalf("%s: %s %s\n got %q\nwant %q", v.Name, call, v.JSON, got, want)
				}
			}
		}
		// The end of the last frame is the end of all.
		r.call("POST", "/publish?key=vectors", "end", "Content-Type: text/plain")
		w.expect("data: end\n\n")
		want := map[string]int{"same": 60, "differs": 13, "400": 15, "node only": 21}
		for kind, n := range want {
			if count[kind] != n {
				t.Errorf("%d vectors are %q; want %d", count[kind], kind, n)
			}
			delete(count, kind)
		}
		if len(count) > 0 {
			t.Errorf("vectors of unknown kinds: %v", count)
		}
	})
}
