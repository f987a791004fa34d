package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Pages of past events have each event of batches once and in order, whatever stores them.
func TestHistoryPages(t *testing.T) {
	test := func(t *testing.T, args ...string) {
		s := start(t, args...)
		var want []string
		for i := range 3 {
			var batch []string
			for j := range 100 {
				batch = append(batch, fmt.Sprintf("%d-%d", i, j))
			}
			s.publishBatch("k", batch)
			want = append(want, batch...)
		}
		type page struct {
			Events []struct{ ID, Data string }
			More   bool
			Gap    string
		}
		read := func(query string) (p page) {
			t.Helper()
			status, text := s.Do(http.MethodGet, "/history?key=k&"+query, "", "")
			if err := json.NewDecoder(strings.NewReader(text)).Decode(&p); err != nil || status != http.StatusOK || p.Gap != "" || len(p.Events) == 0 {
				t.Fatalf("%s: %d %s", query, status, text)
			}
			return p
		}
		first := read("limit=1000").Events[0]
		got, after := []string{first.Data}, first.ID
		for more := true; more; {
			p := read("limit=70&after=" + after)
			more, after = p.More, p.Events[len(p.Events)-1].ID
			for _, e := range p.Events {
				got = append(got, e.Data)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d events in pages: %q", len(got), got)
		}
	}
	t.Run("off", func(t *testing.T) { test(t) })
	t.Run("embedded", func(t *testing.T) {
		test(t, "--backplane", "embedded", "--data-dir", filepath.Join(t.TempDir(), "data"))
	})
	backplanes(t, test)
}
