package main_test

import (
	"strconv"
	"strings"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

// Once retention has removed events, a client gets one gap, and then everything that the log still has.
func TestEmbeddedRetention(t *testing.T) {
	for _, c := range []struct {
		name          string
		flags         []string
		events, bytes int
		least, most   int // of the events that are kept
	}{
		{"retentionBytes", []string{"--retention-bytes", "8MiB", "--max-event-bytes", "100KiB"}, 300, 50_000, 100, 200},
		{"retentionPerKey", []string{"--retention-per-key", "20"}, 100, 10, 20, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, append(c.flags, "--history", "8", "--backplane", "embedded", "--data-dir", t.TempDir())...)
			client := s.subscribe("k")
			began := client.Position()
			last := ""
			for i := range c.events {
				last = s.PublishText("k", strconv.Itoa(i)+" "+strings.Repeat("x", c.bytes)).ID
				if i%10 == 0 {
					s.PublishText("other", "x") // entries of other keys are between them
				}
			}
			eventually.True(t, "the newest event arrives", func() bool { client.Feed(); return client.LastID() == last })
			client.Close()
			read := func(what string, e *wiretest.Events, gap bool) int {
				defer e.Close()
				m := e.Next()
				if gap {
					g := m.Gap(t)
					if g.Reason != "history" || g.Missed != nil || g.After == g.Next {
						t.Errorf("%s: %+v", what, g)
					}
					m = e.Next()
				}
				first, n := -1, 0
				for ; ; m = e.Next() {
					number, _, _ := strings.Cut(m.Data, " ")
					if n == 0 {
						first = atoi(t, number)
					}
					if n++; number != strconv.Itoa(first+n-1) {
						t.Fatalf("%s: %.40s %.40q is not event %d", what, m.Type, m.Data, first+n-1)
					}
					if m.ID == last {
						return n
					}
				}
			}
			path := proctest.StreamPath("k")
			for what, e := range map[string]*wiretest.Events{
				"resumes":  wiretest.Subscribe(t, proctest.Addr(s.Stream), path, "Last-Event-ID: "+began),
				"1h":       wiretest.Subscribe(t, proctest.Addr(s.Stream), path+"&rewind=1h"),
				"earliest": wiretest.Subscribe(t, proctest.Addr(s.Stream), path+"&rewind=earliest"),
			} {
				if n := read(what, e, what == "resumes" || what == "1h"); n < c.least || n > c.most {
					t.Errorf("%s: %d events, want %d to %d", what, n, c.least, c.most)
				}
			}
		})
	}
}
