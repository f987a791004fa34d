package cluster_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/memlog"
)

// numbers returns the data of the events of the key k after a sequence, see filled.
func numbers(after, through int) string {
	var list []string
	for seq := after + 1; seq <= through; seq++ {
		if n := seq - 2; n >= 0 && n%3 == 0 {
			list = append(list, fmt.Sprint(n))
		}
	}
	return strings.Join(list, " ")
}

// A range of which the log has lost the beginning, or that is over the bounds, gets the newest part, and where that begins.
func TestOlderPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := int64(len(frame("300").Bytes))
		for _, c := range []struct {
			name  string
			fault func(*memlog.Broker)
			bytes int64
			max   int
			m     engine.Missing
			after int // where the part begins
			lost  uint64
		}{
			{name: "nothing is lost", m: engine.Missing{After: 100}, after: 100},
			{name: "removed", fault: func(b *memlog.Broker) { b.Purge(0, 302) }, m: engine.Missing{After: 100}, after: 301, lost: 301},
			{name: "removed, just up to there", fault: func(b *memlog.Broker) { b.Purge(0, 302) }, m: engine.Missing{After: 301}, after: 301},
			{name: "everything is removed", fault: func(b *memlog.Broker) { b.Purge(0, 602) }, m: engine.Missing{After: 100}, after: 601, lost: 601},
			{name: "a hole", fault: func(b *memlog.Broker) { b.Hole(0, 400, 402) }, m: engine.Missing{After: 100}, after: 402, lost: 402},
			{name: "removed, and a hole", fault: func(b *memlog.Broker) { b.Purge(0, 302); b.Hole(0, 400, 402) }, m: engine.Missing{After: 100}, after: 402, lost: 402},
			{name: "over the entries", max: 60, m: engine.Missing{After: 100}, after: 539, lost: 539},
			{name: "over the bytes", bytes: 10 * size, m: engine.Missing{After: 100}, after: 570, lost: 571},
			{name: "removed, and over the bytes", bytes: 10 * size, fault: func(b *memlog.Broker) { b.Purge(0, 302) }, m: engine.Missing{After: 100}, after: 570, lost: 571},
			{name: "earliest", fault: func(b *memlog.Broker) { b.Purge(0, 302) }, m: engine.Missing{Newest: math.MaxInt}, after: 301},
			{name: "earliest, over the entries", max: 60, m: engine.Missing{Newest: math.MaxInt}, after: 539, lost: 539},
			{name: "since, and nothing of it is removed", fault: func(b *memlog.Broker) { b.Purge(0, 302) }, m: engine.Missing{Since: time.Now().Add(time.Hour)}, after: 601},
			{name: "since, and some of it is removed", fault: func(b *memlog.Broker) { b.Purge(0, 302) }, m: engine.Missing{Since: time.Now().Add(-time.Hour)}, after: 301, lost: 301},
			{name: "since, and all is there", m: engine.Missing{Since: time.Now().Add(-time.Hour)}},
		} {
			b := memlog.New(1)
			a := filled(t, b, 600, func(o *cluster.Options) { o.OlderBytes, o.OlderMaxEvents = c.bytes, c.max })
			if c.fault != nil {
				time.Sleep(time.Minute) // the entry of the epoch is repeated
				c.fault(b)
			}
			c.m.Key, c.m.Through, c.m.Epoch = "k", 601, a.rec.currentEpoch()
			for range 2 { // fetched, and as it is kept
				got, err := a.older(t, c.m)
				var lost *engine.LostError
				switch {
				case got != numbers(c.after, 601) && c.m.Since.IsZero(): // the events of this engine have no times
					t.Errorf("%s: %q, want %q", c.name, got, numbers(c.after, 601))
				case c.lost == 0 && err != nil:
					t.Errorf("%s: %v", c.name, err)
				case c.lost > 0 && (!errors.As(err, &lost) || !errors.Is(err, cluster.ErrTooOld) || lost.Through != c.lost):
					t.Errorf("%s: %v, want that it is lost up to %d", c.name, err, c.lost)
				}
			}
			if n := b.Fetches(); n > 2 {
				t.Errorf("%s: %d fetches", c.name, n)
			}
			// What is lost is lost for those, too, who come after the next event.
			a.must(t, event("k", "new"))
			synctest.Wait()
			c.m.Through = b.Last(0)
			got, err := a.older(t, c.m)
			if (err != nil) != (c.lost > 0) || !strings.HasSuffix(got, "new") && c.m.Since.IsZero() {
				t.Errorf("%s: after an event: %q, %v", c.name, got, err)
			}
			// Others of the key are not affected.
			m := engine.Missing{Key: "k", Epoch: c.m.Epoch, After: 590, Through: 601}
			if got, err := a.older(t, m); c.lost < 590 && (got != numbers(590, 601) || err != nil) {
				t.Errorf("%s: after 590: %q, %v", c.name, got, err)
			}
			a.Close()
		}
	})
}
