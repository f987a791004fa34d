package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare/cluster"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

// With appendonly and appendfsync always, a killed server loses nothing: the epoch goes on.
func TestKillDurable(t *testing.T) {
	s := startServer(t, durable...)
	l := startEpoch(t, Options{URL: s.URL()})
	r := read(t, l, 0, 0)
	before := stateOf(t, l, 0)
	for round := range 3 {
		for i := range 20 {
			store(t, l, event("news", fmt.Sprint(round, ".", i)))
		}
		r.await(1 + (round+1)*20)
		s.restart()
		if err := r.awaitError(); err == nil {
			t.Error("Read did not end")
		}
		after := stateOf(t, l, 0)
		if after.Unsynced || after.Created != before.Created || after.Epoch != before.Epoch || after.Last != uint64(1+(round+1)*20) {
			t.Errorf("%+v, before %+v", after, before)
		}
		entries := r.seen()
		next := read(t, l, 0, uint64(len(entries)))
		next.entries = entries
		r = next
	}
	store(t, l, event("news", "end"))
	list := r.await(62)
	for i, e := range list {
		if e.Seq != uint64(i+1) || i > 0 && e.Op != cluster.OpEvent {
			t.Errorf("%d: %+v", i, e)
		}
	}
}

// What a server confirms before it is on disk may be lost when it restarts. The log takes nothing before the next epoch.
func TestKillNotDurable(t *testing.T) {
	for name, args := range map[string][]string{
		"appendfsync everysec": {"--appendonly", "yes"},
		"no persistence":       nil,
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, args...)
			l := startEpoch(t, Options{URL: s.URL()})
			store(t, l, event("news", "a"), event("news", "b"))
			r := read(t, l, 0, 0)
			r.await(3)
			before := stateOf(t, l, 0)
			s.restart()
			if err := r.awaitError(); err == nil {
				t.Error("Read did not end")
			}
			after := stateOf(t, l, 0)
			if args == nil {
				if after.Created == before.Created || after.Last != 0 || after.Epoch != 0 {
					t.Errorf("nothing is left, and the state is %+v, before %+v", after, before)
				}
			} else if !after.Unsynced || after.Created != before.Created || after.Last != 3 || after.Epoch != before.Epoch {
				t.Errorf("%+v, before %+v", after, before)
			}
			eventually.Holds(t, "an event is refused", func() (bool, string) {
				r := put(t, l, event("news", "c"))[0]
				return errors.Is(r.Err, errEpoch) && errors.Is(r.Err, cluster.ErrAway), fmt.Sprint(r)
			})
			if err := read(t, l, 0, 0).awaitError(); !errors.Is(err, errMoved) {
				t.Errorf("Read before the epoch: %v", err)
			}
			begun := beginEpoch(t, l, 0)
			if seq := store(t, l, event("news", "d")); seq != begun.EpochSeq+1 {
				t.Errorf("seq %d after the epoch %+v", seq, begun)
			}
			if got, want := text(read(t, l, 0, begun.EpochSeq-1).await(2)), fmt.Sprintf("%d epoch %d news=d", begun.EpochSeq, begun.EpochSeq+1); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

// A server that has had a replica may have been replaced by it: its next run is another one, however durable it is.
func TestReplicaEndsTrust(t *testing.T) {
	t.Parallel()
	s, replica := startServer(t, durable...), startServer(t)
	l := startEpoch(t, Options{URL: s.URL()})
	store(t, l, event("news", "a"))
	replica.replicate(s)
	eventually.Equal(t, "safe", "0", s.safe)
	replica.Kill()
	s.restart()
	if st := stateOf(t, l, 0); !st.Unsynced {
		t.Errorf("%+v", st)
	}
	beginEpoch(t, l, 0) // without a replica
	s.restart()
	if st := stateOf(t, l, 0); st.Unsynced {
		t.Errorf("without a replica: %+v", st)
	}
	// A setting that is changed while it runs counts as well.
	s.do("CONFIG", "SET", "appendfsync", "everysec")
	eventually.Equal(t, "safe", "0", s.safe)
	s.restart()
	if st := stateOf(t, l, 0); !st.Unsynced {
		t.Errorf("after a time without appendfsync always: %+v", st)
	}
}

// safe is whether the log trusts the next run of the server.
func (s *server) safe() string {
	text, _ := s.do("HGET", "{fanfare:0}:facts", "safe").ToString()
	return text
}

// A replica is promoted while the old primary still answers, and both are written to. No epoch and sequence name two events.
func TestPromotion(t *testing.T) {
	t.Parallel()
	old, replica := startServer(t, durable...), startServer(t, durable...)
	replica.replicate(old)
	a := startEpoch(t, Options{URL: old.URL()})
	for i := range 10 {
		store(t, a, event("news", strconv.Itoa(i)))
	}
	eventually.Equal(t, "entries of the replica", 11, func() int {
		n, _ := replica.do("XLEN", "{fanfare:0}").AsInt64()
		return int(n)
	})
	readA := read(t, a, 0, 0)
	replica.do("REPLICAOF", "NO", "ONE")

	// The old primary confirms more.
	for i := range 20 {
		store(t, a, event("news", "old"+strconv.Itoa(i)))
	}
	lost := readA.await(31)
	b := startLog(t, Options{URL: replica.URL()})
	if st := stateOf(t, b, 0); !st.Unsynced || st.Last > 31 {
		t.Errorf("the promoted server: %+v", st)
	}
	if r := put(t, b, event("news", "early"))[0]; !errors.Is(r.Err, errEpoch) {
		t.Errorf("an event before the epoch: %+v", r)
	}
	begun := beginEpoch(t, b, 0)
	var stored []uint64
	for i := range 40 {
		stored = append(stored, store(t, b, event("news", "new"+strconv.Itoa(i))))
	}
	if begun.EpochSeq >= 31 || stored[0] != begun.EpochSeq+1 {
		t.Fatalf("nothing was lost: epoch %+v, sequences from %d", begun, stored[0])
	}

	// The old primary becomes a replica of the new one. A node that stays connected to it must not read on.
	old.do("REPLICAOF", "127.0.0.1", proctest.Port(replica.Addr))
	if err := readA.awaitError(); err == nil {
		t.Error("Read of the old primary did not end")
	}
	old.awaitInfo("master_link_status:up")
	if _, err := a.State(within(t), 0); err == nil {
		t.Error("the state of a replica")
	}
	if r := put(t, a, event("news", "?"))[0]; !errors.Is(r.Err, cluster.ErrAway) {
		t.Errorf("an event for a replica: %+v", r)
	}

	// The old one is promoted again. A node that knows the entries that were lost must not go on where it was, although the log has
	// grown beyond that place.
	old.do("REPLICAOF", "NO", "ONE")
	if err := read(t, a, 0, lost[30].Seq).awaitError(); !errors.Is(err, errMoved) {
		t.Errorf("Read in the old epoch: %v", err)
	}
	if got, err := fetched(t, a, cluster.Query{Key: "news", After: 25, Through: 31}); !errors.Is(err, cluster.ErrTooOld) {
		t.Errorf("Fetch in the old epoch: %s, %v", got, err)
	}
	if st := stateOf(t, a, 0); !st.Unsynced || st.Epoch != begun.Epoch {
		t.Errorf("promoted again: %+v", st)
	}
	again := beginEpoch(t, a, 0)
	if again.EpochSeq != stored[39]+1 {
		t.Errorf("the third epoch begins at %d, after %d", again.EpochSeq, stored[39])
	}
}

// A node that was away during two epochs goes on at the beginning of the second one: what is between is not what followed.
func TestReadSkipsToTheNewestEpoch(t *testing.T) {
	s := startServer(t)
	l := startEpoch(t, Options{URL: s.URL()})
	store(t, l, event("news", "a"), event("news", "b"))
	read(t, l, 0, 0).await(3)
	first := *l.partitions[0].epoch.Load()
	other := startLog(t, Options{URL: s.URL()})
	// The log goes back by one entry, and on.
	s.do("XDEL", "{fanfare:0}", s.idOf(3))
	s.do("XSETID", "{fanfare:0}", s.idOf(2))
	s.do("HSET", "{fanfare:0}:facts", "last", "2")
	beginEpoch(t, other, 0)
	store(t, other, event("news", "c"), event("news", "d"))
	beginEpoch(t, other, 0)
	store(t, other, event("news", "e"))
	if *l.partitions[0].epoch.Load() != first {
		t.Fatal("the node knows the epoch")
	}
	if got, want := text(read(t, l, 0, 3).await(3)), "..5 hole 6 epoch 7 news=e"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestDeletedLog(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"FLUSHALL", "DEL {fanfare:0} {fanfare:0}:facts", "DEL {fanfare:0}:facts"} {
		t.Run(command, func(t *testing.T) {
			s := startServer(t)
			l := startEpoch(t, Options{URL: s.URL()})
			store(t, l, event("news", "a"))
			before := stateOf(t, l, 0)
			r := read(t, l, 0, 0)
			r.await(2)
			s.do(strings.Fields(command)...)
			if err := r.awaitError(); !errors.Is(err, errMoved) {
				t.Errorf("Read: %v", err)
			}
			if r := put(t, l, event("news", "b"))[0]; !errors.Is(r.Err, errEpoch) {
				t.Errorf("%+v", r)
			}
			after := stateOf(t, l, 0)
			if after.Created == before.Created || after.Epoch != 0 {
				t.Errorf("%+v, before %+v", after, before)
			}
			begun := beginEpoch(t, l, 0)
			if seq := store(t, l, event("news", "c")); seq != begun.EpochSeq+1 {
				t.Errorf("seq %d after %+v", seq, begun)
			}
		})
	}
}

// Entries that were trimmed or deleted before they were read are reported as a hole.
func TestHoles(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	l := startEpoch(t, Options{URL: s.URL()})
	for i := 2; i <= 20; i++ {
		store(t, l, event("k", strconv.Itoa(i)))
	}
	s.do("XDEL", "{fanfare:0}", s.idOf(12), s.idOf(13), s.idOf(15), s.idOf(20))
	s.do("XTRIM", "{fanfare:0}", "MINID", "=", "10")
	r := read(t, l, 0, 3)
	if got, want := text(r.await(11)), "..9 hole 10 k=10 11 k=11 ..13 hole 14 k=14 ..15 hole 16 k=16 17 k=17 18 k=18 19 k=19 ..20 hole"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	s.do("DEL", "{fanfare:0}")
	if seq := store(t, l, event("k", "21")); seq != 21 {
		t.Errorf("seq %d after the stream was deleted", seq)
	}
	if got := text(r.await(12)[11:]); got != "21 k=21" {
		t.Error(got)
	}
}

// A reader that is slower than the retention gets a hole for what it has missed, and the rest.
func TestSlowReader(t *testing.T) {
	s := startServer(t, "--stream-node-max-entries", "10")
	l := startEpoch(t, Options{URL: s.URL(), RetentionEntries: 200})
	blocked, goOn := make(chan struct{}), make(chan struct{})
	var entries []cluster.Entry
	ctx, cancel := context.WithCancel(within(t))
	done := make(chan error)
	const last = 3000
	go func() {
		done <- l.Read(ctx, 0, 0, func(e *cluster.Entry) error {
			if entries = append(entries, *e); len(entries) == 1 {
				close(blocked)
				<-goOn
			}
			if e.Seq == last {
				cancel()
			}
			return nil
		}, func(uint64) {})
	}()
	<-blocked
	var messages []cluster.Message
	for i := 2; i <= last; i++ {
		messages = append(messages, event("k", strconv.Itoa(i)))
	}
	for _, r := range put(t, l, messages...) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	close(goOn)
	if err := <-done; err == nil {
		t.Error("no error")
	}
	seq, holes := uint64(0), 0
	for _, e := range entries {
		if e.Op == cluster.OpHole {
			holes++
		} else if e.Seq != seq+1 {
			t.Fatalf("%d after %d", e.Seq, seq)
		}
		seq = e.Seq
	}
	if seq != last || holes == 0 || len(entries) < 150 {
		t.Errorf("%d entries up to %d, %d holes", len(entries), seq, holes)
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"age":     {RetentionAge: 300 * time.Millisecond},
		"bytes":   {RetentionBytes: 50_000},
		"entries": {RetentionEntries: 100},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, "--stream-node-max-entries", "10")
			o.URL = s.URL()
			l := startEpoch(t, o)
			var messages []cluster.Message
			for i := range 2000 {
				messages = append(messages, event("k", strconv.Itoa(i)))
			}
			for _, r := range put(t, l, messages...) {
				if r.Err != nil {
					t.Fatal(r.Err)
				}
			}
			eventually.Holds(t, "entries are removed", func() (bool, string) {
				n, _ := s.do("XLEN", "{fanfare:0}").AsInt64()
				bytes, _ := s.do("MEMORY", "USAGE", "{fanfare:0}").AsInt64()
				switch state := fmt.Sprint(n, " entries, ", bytes, " bytes"); name {
				case "age":
					return n == 0, state
				case "bytes":
					return n > 100 && bytes <= 53_000, state // whole blocks are removed
				default:
					return n >= 100 && n <= 110, state
				}
			})
			st := stateOf(t, l, 0)
			if st.Last != 2001 || name == "age" && st.First != 2002 || st.First < 2 {
				t.Errorf("%+v", st)
			}
			if seq := store(t, l, event("k", "next")); seq != 2002 {
				t.Errorf("seq %d", seq)
			}
		})
	}
}

func TestMemoryFull(t *testing.T) {
	s := startServer(t, "--maxmemory-policy", "noeviction")
	l := startEpoch(t, Options{URL: s.URL()})
	used, _ := s.do("INFO", "memory").ToString()
	n, _ := strconv.Atoi(infoField(used, "used_memory"))
	s.do("CONFIG", "SET", "maxmemory", strconv.Itoa(n+4<<20))
	stored := 0
	var full cluster.Result
	for i := 0; full.Err == nil && i < 200; i++ {
		m := event("k", strings.Repeat("x", 100_000))
		m.ID = strconv.Itoa(i)
		r := put(t, l, m)[0]
		if r.Err == nil {
			stored++
		} else {
			full = r
		}
	}
	if !errors.Is(full.Err, cluster.ErrFull) || stored == 0 {
		t.Fatalf("%d stored, then %+v", stored, full)
	}
	// What is stored can be read, and the state too.
	read(t, l, 0, 0).await(1 + stored)
	if st := stateOf(t, l, 0); st.Last != uint64(1+stored) {
		t.Errorf("%+v, stored %d", st, stored)
	}
	s.do("CONFIG", "SET", "maxmemory", "0")
	if seq := store(t, l, event("k", "again")); seq != uint64(2+stored) {
		t.Errorf("seq %d", seq)
	}
}

// An answer that does not come in time is unknown, and the repetition with the same ID is stored once.
func TestUnknown(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := wiretest.NewProxy(t, s.Addr)
	l := startEpoch(t, Options{URL: "redis://" + p.Addr()})
	store(t, l, event("news", "a"))
	p.Hush()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	m := event("news", "b")
	m.ID = "k:1"
	results := make([]cluster.Result, 1)
	l.Append(ctx, []cluster.Message{m}, results)
	if !errors.Is(results[0].Err, cluster.ErrUnknown) {
		t.Errorf("%+v", results[0])
	}
	eventually.Equal(t, "entries", 3, func() int {
		n, _ := s.do("XLEN", "{fanfare:0}").AsInt64()
		return int(n)
	})
	p.Speak()
	if r := put(t, l, m)[0]; !r.Duplicate || r.Seq != 3 {
		t.Errorf("%+v", r)
	}
	// A connection that breaks before the answer.
	p.Hush()
	m.ID = "k:2"
	answered := make(chan cluster.Result)
	go func() { answered <- put(t, l, m)[0] }()
	eventually.Equal(t, "entries", 4, func() int {
		n, _ := s.do("XLEN", "{fanfare:0}").AsInt64()
		return int(n)
	})
	p.Cut()
	if r := <-answered; !errors.Is(r.Err, cluster.ErrUnknown) {
		t.Errorf("%+v", r)
	}
	if r := put(t, l, m)[0]; !errors.Is(r.Err, cluster.ErrAway) {
		t.Errorf("without a connection: %+v", r)
	}
	eventually.True(t, "the log is away", func() bool { return !l.Connected() })
	p.Speak()
	p.Mend()
	eventually.Holds(t, "the repetition", func() (bool, string) {
		r := put(t, l, m)[0]
		return r.Duplicate && r.Seq == 4, fmt.Sprint(r)
	})
	eventually.True(t, "the log is back", l.Connected)
}

// What the network holds for longer than the duplicate window is not stored when it comes after all: the node has repeated it.
func TestLateMessages(t *testing.T) {
	s := startServer(t)
	l := startEpoch(t, Options{URL: s.URL(), DuplicateWindow: time.Hour})
	k, err := l.dial(within(t), linkDedicated)
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	p := l.partitions[0]
	m := event("news", "a")
	for _, age := range []time.Duration{0, 29 * time.Minute, 31 * time.Minute} {
		keys, args := p.appender.call([]*item{newItem(&m, p, nil)}, k.now()-age.Microseconds())
		_, err := appendScript.run(within(t), k.dedicated, keys, args)
		if late := age > time.Hour/2; late != (err != nil && strings.HasPrefix(err.Error(), "LATE ")) || !late && err != nil {
			t.Errorf("after %s: %v", age, err)
		}
	}
}

func TestOldVersion(t *testing.T) {
	s := startServer(t)
	p := wiretest.NewProxy(t, s.Addr)
	p.Rewrite(func(b []byte) []byte {
		return bytes.ReplaceAll(b, []byte("redis_version:7.0."), []byte("redis_version:6.0."))
	})
	l := startLog(t, Options{URL: "redis://" + p.Addr()})
	if err := l.Check(within(t)); err == nil || !strings.Contains(err.Error(), "too old for a log: update it to 6.2 or later") {
		t.Errorf("%v", err)
	}
	for version, want := range map[string]bool{"6.2.0": true, "6.1.9": false, "7.0": true, "10.0.1": true, "5": false, "": false, "255.255.255": true} {
		if got := atLeast(version, oldestVersion); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

func TestPasswordsAreSecret(t *testing.T) {
	s := startServer(t, "--requirepass", "right-secret")
	log := &proctest.Log{}
	for url, hint := range map[string]string{
		"redis://:wrong-secret@" + s.Addr:           "WRONGPASS",
		"redis://" + s.Addr:                         "NOAUTH",
		"redis://user:wrong-secret@" + s.Addr:       "WRONGPASS",
		"redis://:wrong-secret@" + s.Addr + "/nine": "database",
		"redis://:wrong-secret@h:x":                 "valid",
	} {
		l, err := New(Options{URL: url})
		if err == nil {
			err = l.Check(within(t))
			l.Close()
		}
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if strings.Contains(log.String(), "secret") {
		t.Error(log)
	}
	l := startEpoch(t, Options{URL: "redis://:right-secret@" + s.Addr})
	store(t, l, event("news", "a"))
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{},
		{URL: "http://h"},
		{URL: "redis://h", Name: "{x}"},
		{URL: "redis://h", Partitions: -1},
		{URL: "redis://h", RetentionAge: -1},
	} {
		if l, err := New(o); err == nil {
			l.Close()
			t.Errorf("%+v is accepted", o)
		}
	}
}

func TestPartitionsCannotChange(t *testing.T) {
	s := startServer(t)
	startEpoch(t, Options{URL: s.URL(), Partitions: 2})
	l := startLog(t, Options{URL: s.URL(), Partitions: 3})
	if err := l.Check(within(t)); !errors.Is(err, ErrPartitions) ||
		err.Error() != `redisPartitions: it is 3, and the log "fanfare" in Redis has 2: the number cannot change; set redisPartitions to 2, as on the other nodes, or choose another redisPrefix` {
		t.Errorf("%v", err)
	}
	startEpoch(t, Options{URL: s.URL(), Partitions: 3, Name: "other"})
}

// Scripts are sent again to a server that has forgotten them.
func TestScriptFlush(t *testing.T) {
	s := startServer(t)
	l := startEpoch(t, Options{URL: s.URL()})
	s.do("SCRIPT", "FLUSH")
	if r := put(t, l, event("news", "a"), event("news", "b")); r[1].Err != nil || r[1].Seq != 3 {
		t.Errorf("%+v", r)
	}
	if !slices.Equal([]uint64{stateOf(t, l, 0).Last}, []uint64{3}) {
		t.Error(stateOf(t, l, 0))
	}
}
