package engine

import "testing"

// TestLogLaterEpoch: a client comes from an engine that has begun an epoch which this one has yet to begin. It gets a gap, because
// this engine cannot know, and then nothing that it has, of either epoch.
func TestLogLaterEpoch(t *testing.T) {
	begin := func(t *testing.T, of func(string) int) *Engine {
		n := 1
		if of != nil {
			n = 2
		}
		e := start(t, Options{Log: &LogOptions{Partitions: n, PartitionOf: of, MayBegin: func(epoch uint64) bool { return epoch < testEpoch+1000 }}})
		for p := range n {
			e.SetEpoch(p, testEpoch+uint64(p), 0, Frame{})
		}
		return e
	}
	notice := Frame{Bytes: []byte("epoch"), IDAt: -1, Notice: true}
	later := func(seq uint64) string { return Position{testEpoch + 10, seq}.String() }

	t.Run("met", func(t *testing.T) {
		e := begin(t, nil)
		for seq := uint64(1); seq <= 5; seq++ {
			apply(t, e, seq, "k")
		}
		s := subscribe(t, e, later(43), "k")
		want(t, "before the epoch", drain(s), []string{"gap k epoch -1"})
		want(t, "position", positions(s), later(43))
		e.SetEpoch(0, testEpoch+10, 40, notice)
		for seq := uint64(41); seq <= 43; seq++ {
			apply(t, e, seq, "k")
		}
		want(t, "what the client has", len(drain(s)), 0)
		want(t, "position", positions(s), later(43))
		apply(t, e, 44, "k")
		apply(t, e, 45, "*")
		want(t, "events", drain(s), []string{"k44", "*45"})
		want(t, "position", positions(s), later(45))
	})
	t.Run("rest of the epoch", func(t *testing.T) { // which the engine reads together with the next one
		e := begin(t, nil)
		apply(t, e, 5, "k")
		s := subscribe(t, e, later(43), "k", "l")
		apply(t, e, 6, "k")
		e.SetEpoch(0, testEpoch+10, 40, notice)
		apply(t, e, 44, "l")
		want(t, "events", drain(s), []string{"gap k epoch -1", "gap l epoch -1", "l44"})
	})
	t.Run("never met", func(t *testing.T) {
		e := begin(t, nil)
		apply(t, e, 5, "k")
		s := subscribe(t, e, later(43), "k")
		apply(t, e, 6, "k")
		want(t, "events of this epoch", drain(s), []string{"gap k epoch -1", "k6"})
		e.SetEpoch(0, testEpoch+11, 2, notice)
		apply(t, e, 3, "k")
		want(t, "position", positions(s), logID(0, 6))
		want(t, "another epoch", drain(s), []string{"epoch", "k3"})
		want(t, "position", positions(s), Position{testEpoch + 11, 3})
	})
	t.Run("another way", func(t *testing.T) { // the log is split: this engine follows an old copy that goes on
		e := begin(t, nil)
		apply(t, e, 5, "k")
		s := subscribe(t, e, later(43), "k")
		apply(t, e, 6, "k")
		want(t, "events of this epoch", drain(s), []string{"gap k epoch -1", "k6"})
		e.SetEpoch(0, testEpoch+10, 40, notice)
		apply(t, e, 43, "k")
		want(t, "a gap", drain(s), []string{"epoch", "k43"})
	})
	t.Run("impossible", func(t *testing.T) {
		e := begin(t, nil)
		apply(t, e, 5, "k")
		for _, id := range []string{Position{testEpoch + 1000, 43}.String(), later(1) + "," + later(2)} {
			_, got := resumed(t, e, id, "k")
			want(t, "all that is kept", got, []string{"gap k epoch -1", "k5"})
		}
	})
	t.Run("partitions", func(t *testing.T) {
		e := begin(t, byFirstByte)
		applyTo(t, e, 0, 5, "a")
		applyTo(t, e, 1, 7, "b")
		s := subscribe(t, e, logID(0, 4)+","+later(43), "a", "b")
		want(t, "before the epoch", drain(s), []string{"gap b epoch -1", "a5"})
		want(t, "position", positions(s), logID(0, 5)+","+later(43))
		e.SetEpoch(1, testEpoch+10, 40, notice)
		applyTo(t, e, 1, 43, "b")
		applyTo(t, e, 1, 44, "b")
		want(t, "events", drain(s), []string{"b44"})
	})
}

// TestLogEpochGapOfBroadcasts: after a gap, broadcasts can be lost beyond the place where the events of the key begin again.
func TestLogEpochGapOfBroadcasts(t *testing.T) {
	for _, c := range []struct {
		name       string
		broadcasts int // after the first event of the key
		want       []string
	}{
		{"kept", 8, []string{"gap k epoch -1", "k1", "*2", "*3"}},
		{"lost", 12, []string{"gap k epoch -1", "gap k epoch -1", "k1", "*6", "*7"}},
	} {
		e := startLog(t, Options{Key: KeyOptions{History: 8}}, 1, nil)
		apply(t, e, 1, "k")
		for i := range c.broadcasts {
			apply(t, e, uint64(i)+2, "*")
		}
		_, got := resumed(t, e, Position{testEpoch - 1, 1}.String(), "k")
		want(t, c.name, got[:len(c.want)], c.want)
	}
}
