package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/memlog"
)

// A position beyond the end of the log is no place: the log has gone back while no node was there, or it was made up. All others are
// left alone, also when nobody can know.
func TestMeetBeyondTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memlog.New(2)
		n := startNode(t, b, "a", nil)
		n.settle(t)
		keys := map[int]string{} // of each partition
		for i := 0; len(keys) < 2; i++ {
			key := fmt.Sprint("key", i)
			n.must(t, event(key, "x"))
			keys[cluster.PartitionOf(key, 2)] = key
		}
		synctest.Wait()
		at := func(p int, ahead uint64) string {
			n.rec.mu.Lock()
			defer n.rec.mu.Unlock()
			return engine.Position{Epoch: n.rec.epoch[p], Seq: b.Last(p) + ahead}.String()
		}
		check := func(what, key, id, want string) {
			t.Helper()
			if got := n.Meet(t.Context(), []string{key}, id); got != want {
				t.Errorf("%s: %s becomes %s, want %s", what, id, got, want)
			}
		}
		same := func(what, key, id string) { t.Helper(); check(what, key, id, id) }

		same("the newest", keys[0], at(0, 0))
		check("one beyond", keys[0], at(0, 1), "0-0")
		check("in one partition", keys[1], at(0, 0)+","+at(1, 3), at(0, 0)+",0-0")
		check("in both", keys[1], at(0, 1)+","+at(1, 3), "0-0,0-0")
		same("other keys", keys[0], at(0, 0)+","+at(1, 3))
		same("a publisher's own", keys[0], "7-1000000")
		same("none", keys[0], "")

		// The log has it, and this node does not.
		n.log.Skip(1)
		for range 5 {
			b.PutForeign(keys[0], []byte("x"))
		}
		same("not read yet", keys[0], at(0, 0))

		// Nobody can say.
		n.log.Cut(true)
		synctest.Wait()
		same("away", keys[0], at(0, 1))

		// What the log said before does not count.
		n.log.Cut(false)
		n.settle(t)
		id := at(0, 1)
		check("beyond", keys[0], id, "0-0")
		b.PutForeign(keys[0], []byte("x"))
		same("stored since", keys[0], id)
		if strings.Contains(n.rec.data(), "EPOCH EPOCH") {
			t.Error("an id has begun an epoch: ", n.rec.data())
		}
	})
}
