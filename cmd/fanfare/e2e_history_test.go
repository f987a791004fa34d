package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// historyPage is an answer of GET /history.
type historyPage struct {
	Events []struct {
		ID, Position, Data string
		All                bool
	}
	More      bool
	Next, Gap string
}

func (s server) history(key, query string) (p historyPage) {
	s.T.Helper()
	status, text := s.Do(http.MethodGet, "/history?key="+key+"&"+query, "", "")
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&p); err != nil || status != http.StatusOK {
		s.T.Fatalf("%s: %d %s", query, status, text)
	}
	return p
}

// pages reads pages until there are no more. Each begins after the one before: at its end, or at the position of its last event.
func (s server) pages(key, query, by string) (got []string) {
	s.T.Helper()
	for range 1000 {
		p := s.history(key, query)
		if p.Gap != "" || p.Next == "" {
			s.T.Fatalf("%s: gap %q, next %q", query, p.Gap, p.Next)
		}
		for _, e := range p.Events {
			got = append(got, e.Data)
		}
		if !p.More {
			return got
		}
		after := p.Next
		if by == "position" {
			after = p.Events[len(p.Events)-1].Position
		}
		query = "limit=7&after=" + url.QueryEscape(after)
	}
	s.T.Fatal("the pages have no end")
	return nil
}

// Pages have each event that is kept once and in order, whatever stores them and whatever ids they have.
func TestHistoryPages(t *testing.T) {
	const events, batch = 300, 50
	ids := map[string]func(i int) string{
		"none":     func(int) string { return "" },
		"own":      func(i int) string { return fmt.Sprint("evt", i) },
		"numbered": func(i int) string { return fmt.Sprint("order-", i) },
		"redis":    func(i int) string { return fmt.Sprintf("%d-0", 1795450956619+int64(i)) },
		"equal":    func(int) string { return "same" },
	}
	test := func(t *testing.T, args ...string) {
		history := "512"
		if slices.Contains(args, "--backplane") {
			history = "16" // the log has the others
		}
		s := start(t, append(args, "--history", history)...)
		want := map[string][]string{}
		for first := 0; first < events; first += batch {
			var body bytes.Buffer
			for i := first; i < first+batch; i++ {
				for key, id := range ids {
					line := map[string]string{"key": key, "data": fmt.Sprint(i)}
					if id := id(i); id != "" {
						line["id"] = id
					}
					_ = json.NewEncoder(&body).Encode(line)
					want[key] = append(want[key], fmt.Sprint(i))
				}
			}
			if _, out := s.Do(http.MethodPost, "/batch", "application/x-ndjson", body.String()); strings.Contains(out, `"error"`) {
				t.Fatal(out)
			}
			// An event to all keys after each batch, which all keys have.
			data := fmt.Sprint("all", first)
			if status, out := s.Do(http.MethodPost, "/publishAll", "text/plain", data); status != http.StatusOK {
				t.Fatal(out)
			}
			for key := range ids {
				want[key] = append(want[key], data)
			}
		}
		for key := range ids {
			for _, by := range []string{"next", "position"} {
				if got := s.pages(key, "limit=7&from=earliest", by); !slices.Equal(got, want[key]) {
					t.Errorf("%s, by %s: %d of %d events in pages: %q", key, by, len(got), len(want[key]), got)
				}
			}
		}
	}
	for _, ids := range []string{"auto", "off"} {
		t.Run("ids "+ids, func(t *testing.T) {
			args := []string{"--ids", ids}
			t.Run("off", func(t *testing.T) { test(t, args...) })
			t.Run("embedded", func(t *testing.T) {
				test(t, append(args, "--backplane", "embedded", "--data-dir", filepath.Join(t.TempDir(), "data"))...)
			})
			backplanes(t, func(t *testing.T, more ...string) { test(t, append(args, more...)...) })
		})
	}
	backplanes(t, func(t *testing.T, args ...string) { // several partitions
		test(t, append(args, "--"+args[1]+"-partitions", "3")...)
	})
}
