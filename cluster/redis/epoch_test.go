package redis

import (
	"context"
	"fmt"
	"testing"

	"fanfare/cluster"
)

// Retention does not remove the epoch, which is in the facts: a node that starts after a burst goes on in it.
func TestEpochOutlivesRetention(t *testing.T) {
	s := startServer(t)
	o := fleetOptions{retention: 100}
	a := startNode(t, "a", s.URL(), o)
	epoch := a.eng.Applied(0).Epoch
	for round := range 3 {
		messages := make([]cluster.Message, 2000)
		for i := range messages {
			messages[i] = event("key", fmt.Sprint(i))
		}
		results := make([]cluster.Result, len(messages))
		a.Publish(context.Background(), messages, results)
		for _, r := range results {
			if r.Err != nil || r.Epoch != epoch {
				t.Fatalf("%+v, want the epoch %d", r, epoch)
			}
		}
		b := startNode(t, fmt.Sprint("b", round), s.URL(), o)
		if got := b.eng.Applied(0).Epoch; got != epoch {
			t.Errorf("the node that starts is in the epoch %d, want %d", got, epoch)
		}
		if st := stateOf(t, b.log, 0); st.First < 1000 {
			t.Errorf("the oldest entry is %d: retention has removed nothing", st.First)
		}
		b.stop()
	}
}
