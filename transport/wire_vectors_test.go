package transport

import (
	"testing"

	"fanfare/internal/test/vectors"
)

// TestWireVectors publishes what egg-sse was given, by each call, and compares what a socket receives.
func TestWireVectors(t *testing.T) {
	targets := map[string]string{"publish": "/publish?key=vectors", "publishAll": "/publishAll"}
	onBoth(t, rigOptions{Options: Options{PlainIDs: true}}, func(t *testing.T, r *rig) {
		w := r.stream("connectKey=vectors")
		for _, v := range vectors.Load(t) {
			if v.HTTP == vectors.NodeOnly {
				continue
			}
			// Each vector by both calls: over HTTP they take the same bodies.
			for call, target := range targets {
				a := r.call("POST", target, v.JSON, "Content-Type: application/json")
				if v.HTTP == vectors.Refused {
					if f := a.failed(t); a.status != 400 || f.Field == "" {
						t.Errorf("%s: %s %s: %d %s, want 400 and a field", v.Name, call, v.JSON, a.status, a.body)
					}
					continue // the bytes of a vector that is published would come before those of the next one
				}
				if a.status != 200 {
					t.Errorf("%s: %s %s: %d %s", v.Name, call, v.JSON, a.status, a.body)
					continue
				}
				want := v.Want()
				if got := w.Read(len(want)); got != want {
					t.Fatalf("%s: %s %s\n got %q\nwant %q", v.Name, call, v.JSON, got, want)
				}
			}
		}
		// Nothing follows the last vector's bytes.
		r.call("POST", "/publish?key=vectors", "end", "Content-Type: text/plain")
		w.Expect("data: end\n\n")
	})
}
