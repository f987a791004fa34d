//go:build linux

package publish_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/publish"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func publisher(t *testing.T, addr string, pipeline int) *publish.Publisher {
	t.Helper()
	b, err := publish.New(&plan.Plan{
		Run: "r", Publish: plan.Request{Method: "POST", URL: "http://" + addr + "/{{.Key}}", Body: "{{.Seq}} "}, Key: "k{{.KeyIndex}}",
		Keys: 6, PublishAddr: addr, Publishers: 3, Pipeline: pipeline, PublishTimeout: 5 * time.Second,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Flush)
	return b
}

// TestOrderWithinKeys: whatever the depth, each key's events arrive in order, over connections kept or ended.
func TestOrderWithinKeys(t *testing.T) {
	for _, c := range []struct {
		pipeline int
		answer   func(w http.ResponseWriter, n int)
	}{
		{1, func(http.ResponseWriter, int) {}},
		{8, func(w http.ResponseWriter, _ int) { _, _ = io.WriteString(w, strings.Repeat("x", 10_000)) }},
		{1, func(w http.ResponseWriter, n int) {
			if n%7 == 0 {
				w.Header().Set("Connection", "close")
			}
		}},
	} {
		var mu sync.Mutex
		got, n := map[string][]string{}, 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			got[r.URL.Path] = append(got[r.URL.Path], strings.Fields(string(body))...)
			n++
			c.answer(w, n)
		}))
		b := publisher(t, s.Listener.Addr().String(), c.pipeline)
		for i := range 120 {
			b.Publish(i%6, 2, measure.Now())
		}
		b.Flush()
		s.Close()
		want := []string{}
		for i := range 40 {
			want = append(want, fmt.Sprint(i+1))
		}
		for key := range 6 {
			if g := got[fmt.Sprintf("/k%d", key)]; !slices.Equal(g, want) {
				t.Errorf("pipeline %d, key %d: %v", c.pipeline, key, g)
			}
			if b.Last()[key] != 40 {
				t.Errorf("last is %d", b.Last()[key])
			}
		}
		if st := b.Stats(); st.Events != 240 || st.Refused+st.Unanswered != 0 || st.Requests != 120 || st.Latency.Count() != 120 {
			t.Errorf("pipeline %d: %+v", c.pipeline, st)
		}
	}
}

func TestFailuresAreCounted(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/k1" {
			http.Error(w, "not you", http.StatusForbidden)
		} else if r.URL.Path == "/k2" {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	}))
	defer s.Close()
	b := publisher(t, s.Listener.Addr().String(), 1)
	for i := range 12 {
		b.Publish(i%6, 1, measure.Now())
	}
	b.Flush()
	if st := b.Stats(); st.Refused != 4 || st.Errors["307 to /elsewhere (redirects are not followed)"] != 2 || st.Unanswered != 0 || st.Errors["403 not you"] != 2 || st.Latency.Count() != 8 {
		t.Errorf("%+v", st)
	}
	if taken := b.Taken(); taken[0] != 2 || taken[1] != 0 {
		t.Errorf("taken %v", taken)
	}
	if f := b.Failed(); len(f) != 4 || f[0].From != 1 || f[3].To != 2 || f[0].Due == 0 {
		t.Errorf("failed %v", f)
	}

	// A server that resets every connection, and none at all.
	resetting := wiretest.Serve(t, func(_ int, c *net.TCPConn) { _ = c.SetLinger(0) })
	for _, addr := range []string{resetting.Addr().String(), proctest.FreeAddr(t)} {
		b = publisher(t, addr, 4)
		for i := range 50 {
			b.Publish(i%6, 1, measure.Now())
		}
		b.Flush()
		if st := b.Stats(); st.Unanswered != 50 || st.Events != 50 || len(st.Errors) == 0 {
			t.Errorf("%s: %+v", addr, st)
		}
	}
}

func TestPacer(t *testing.T) {
	p := publish.NewPacer()
	defer p.Release()
	at := measure.Now() + 3000
	if !p.Until(t.Context(), at) || measure.Now() < at {
		t.Error("too early")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if begin := measure.Now(); p.Until(ctx, begin+60_000_000) || measure.Now() > begin+5_000_000 {
		t.Error("a wait that was cancelled went on")
	}
}
