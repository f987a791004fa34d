package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// The client of a Redis Cluster looks at the nodes again up to a second after its end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// server is a redis-server with a client of the test's own.
type server struct {
	*proctest.Redis
	client rueidis.Client
}

// startServer runs redis-server until the end of the test. It saves nothing, unless args say so.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	args = append([]string{"--repl-diskless-sync-delay", "0"}, args...)
	s := &server{Redis: (&proctest.Redis{T: t, Args: args}).Start()}
	s.connect()
	return s
}

// durable are the flags of a server that confirms only what is on disk.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

func (s *server) connect() {
	s.T.Helper()
	var err error
	s.client, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr}, ForceSingleClient: true, DisableCache: true, Password: s.password()})
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(s.client.Close)
}

func (s *server) password() string {
	if i := slices.Index(s.Args, "--requirepass"); i >= 0 {
		return s.Args[i+1]
	}
	return ""
}

// restart kills the server and starts it again.
func (s *server) restart() {
	s.T.Helper()
	s.Kill()
	s.Start()
	eventually.NoError(s.T, "the test's own client is back", func() error {
		_, err := s.try("PING")
		return err
	})
}

func (s *server) try(args ...string) (rueidis.RedisMessage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), eventually.Patience)
	defer cancel()
	return s.client.Do(ctx, s.client.B().Arbitrary(args...).Build()).ToMessage()
}

// do runs a command that must succeed.
func (s *server) do(args ...string) *rueidis.RedisMessage {
	s.T.Helper()
	m, err := s.try(args...)
	if err != nil && !rueidis.IsRedisNil(err) {
		s.T.Fatalf("%s: %v", strings.Join(args[:min(len(args), 3)], " "), err)
	}
	return &m
}

// replicate makes the server a replica of another one, and waits until it has everything.
func (s *server) replicate(of *server) {
	s.T.Helper()
	s.do("REPLICAOF", "127.0.0.1", proctest.Port(of.Addr))
	s.awaitInfo("master_link_status:up")
}

func (s *server) awaitInfo(field string) {
	s.T.Helper()
	eventually.Holds(s.T, field, func() (bool, string) {
		m, _ := s.try("INFO", "replication") // Sentinels cut clients off
		text, err := m.ToString()
		return strings.Contains(text, field+"\r"), fmt.Sprint(text, err)
	})
}

// startLog makes a log of the URL or server, which ends with the test.
func startLog(t testing.TB, o Options) *Log {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second // a busy machine is not a fault
	}
	records := &proctest.Log{}
	o.Logger = slog.New(slog.NewTextHandler(records, nil))
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		if t.Failed() {
			t.Logf("log:\n%s", records)
		}
	})
	return l
}

// startEpoch makes a log, and begins an epoch in each partition that has none.
func startEpoch(t testing.TB, o Options) *Log {
	t.Helper()
	l := startLog(t, o)
	for p := range l.Partitions() {
		if stateOf(t, l, p).Epoch == 0 {
			beginEpoch(t, l, p)
		}
	}
	return l
}

// stateOf returns the state as soon as it can be had.
func stateOf(t testing.TB, l *Log, partition int) (s cluster.State) {
	t.Helper()
	eventually.NoError(t, "the state", func() (err error) {
		s, err = l.State(within(t), partition)
		return err
	})
	return s
}

var epochs struct {
	sync.Mutex
	last uint64
}

func nextEpoch() uint64 {
	epochs.Lock()
	defer epochs.Unlock()
	epochs.last++
	return 1<<60 + epochs.last
}

// beginEpoch begins a new epoch, as a node does.
func beginEpoch(t testing.TB, l *Log, partition int) cluster.State {
	t.Helper()
	m := cluster.Message{Op: cluster.OpEpoch, Partition: partition, Epoch: nextEpoch()}
	eventually.NoError(t, "an epoch begins", func() error {
		m.After = stateOf(t, l, partition).Last + 1
		return put(t, l, m)[0].Err
	})
	s := stateOf(t, l, partition)
	if s.Epoch != m.Epoch || s.Unsynced || s.EpochSeq == 0 {
		t.Fatalf("after the beginning of the epoch %d: %+v", m.Epoch, s)
	}
	return s
}

// put appends messages once.
func put(t testing.TB, l *Log, messages ...cluster.Message) []cluster.Result {
	t.Helper()
	results := make([]cluster.Result, len(messages))
	l.Append(within(t), messages, results)
	return results
}

var storeIDs atomic.Uint64

// store appends events that must be stored, and returns the sequence of the last one. It repeats what has no answer, as a node does.
func store(t testing.TB, l *Log, messages ...cluster.Message) (seq uint64) {
	t.Helper()
	for _, m := range messages {
		if m.ID == "" {
			m.ID = "store" + strconv.FormatUint(storeIDs.Add(1), 10)
		}
		eventually.NoError(t, "an event is stored", func() error {
			r := put(t, l, m)[0]
			if r.Err != nil && !errors.Is(r.Err, cluster.ErrAway) && !errors.Is(r.Err, cluster.ErrUnknown) {
				t.Fatalf("%s: %v", m.Key, r.Err)
			}
			seq = r.Seq
			return r.Err
		})
	}
	return seq
}

// event is an event of a key, whose id the engine inserts.
func event(key, data string) cluster.Message {
	return cluster.Message{Op: cluster.OpEvent, Key: key, Frame: frame(data)}
}

func frame(data string) engine.Frame {
	const id = "id: \n"
	return engine.Frame{Bytes: []byte(id + "data: " + data + "\n\n"), IDAt: len("id: ")}
}

// dataOf is the first line of a frame's data.
func dataOf(f engine.Frame) string {
	_, data, _ := strings.Cut(string(f.Bytes), "data: ")
	data, _, _ = strings.Cut(data, "\n")
	return data
}

// within is a context for one call.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), eventually.Patience)
	t.Cleanup(cancel)
	return ctx
}

// reading is a Read that goes on in the background.
type reading struct {
	t    testing.TB
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	entries []cluster.Entry
	idle    uint64
	err     error
}

// read begins to read, until stop or an error.
func read(t testing.TB, l *Log, partition int, after uint64) *reading {
	t.Helper()
	r := &reading{t: t, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(r.done)
		err := l.Read(ctx, partition, after, func(e *cluster.Entry) error {
			kept := *e
			kept.Frame.Bytes = []byte(string(e.Frame.Bytes))
			r.mu.Lock()
			defer r.mu.Unlock()
			r.entries = append(r.entries, kept)
			return nil
		}, func(last uint64) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.idle = last
		})
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err = err
	}()
	r.stop = func() {
		cancel()
		<-r.done
	}
	t.Cleanup(r.stop)
	return r
}

func (r *reading) seen() []cluster.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]cluster.Entry(nil), r.entries...)
}

// await waits until n entries have come.
func (r *reading) await(n int) []cluster.Entry {
	r.t.Helper()
	eventually.Holds(r.t, fmt.Sprint(n, " entries"), func() (bool, string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.entries) >= n, fmt.Sprint(len(r.entries), " ", r.err)
	})
	return r.seen()
}

// awaitError waits for the end of Read.
func (r *reading) awaitError() error {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(eventually.Patience):
		r.t.Fatal("Read goes on")
	}
	return r.err
}

// text writes entries in a form for comparisons.
func text(entries []cluster.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		switch e.Op {
		case cluster.OpEvent:
			fmt.Fprintf(&b, "%d %s=%s ", e.Seq, e.Key, dataOf(e.Frame))
		case cluster.OpBroadcast:
			fmt.Fprintf(&b, "%d *=%s ", e.Seq, dataOf(e.Frame))
		case cluster.OpEpoch:
			fmt.Fprintf(&b, "%d epoch ", e.Seq)
		case cluster.OpHole:
			fmt.Fprintf(&b, "..%d hole ", e.Seq)
		case cluster.OpInvalid:
			fmt.Fprintf(&b, "%d invalid ", e.Seq)
		}
	}
	return strings.TrimSpace(b.String())
}
