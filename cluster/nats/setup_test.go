package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
	"fanfare/internal/test/proctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// long reports whether the long forms of the tests are asked for.
func long() bool { return os.Getenv("FANFARE_LONG") == "1" }

// open opens a log until the end of the test.
func open(t testing.TB, o Options) (*Log, *proctest.Log) {
	t.Helper()
	var text proctest.Log
	o.Logger = slog.New(slog.NewTextHandler(&text, nil))
	ctx, cancel := context.WithTimeout(context.Background(), eventually.Patience)
	defer cancel()
	l, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		if t.Failed() {
			t.Logf("log:\n%s", &text)
		}
	})
	return l, &text
}

// openNew opens a log on a server of its own.
func openNew(t testing.TB, o Options) (*Log, *natstest.Server) {
	t.Helper()
	s := (&natstest.Server{T: t}).Start()
	o.URL = s.URL()
	l, _ := open(t, o)
	return l, s
}

// client returns a connection of another program.
func client(t testing.TB, url string) *natsgo.Conn {
	t.Helper()
	nc, err := natsgo.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), eventually.Patience)
	t.Cleanup(cancel)
	return ctx
}

func frame(text string) engine.Frame {
	return engine.Frame{Bytes: []byte("data: " + text + "\n\n"), IDAt: -1}
}

func event(key, text string) cluster.Message {
	return cluster.Message{Op: cluster.OpEvent, Key: key, Frame: frame(text)}
}

// appendAll appends messages that must all be stored.
func appendAll(t testing.TB, l cluster.Log, messages ...cluster.Message) []cluster.Result {
	t.Helper()
	results := make([]cluster.Result, len(messages))
	l.Append(patient(t), messages, results)
	for i, r := range results {
		if r.Err != nil {
			t.Fatalf("message %d: %v", i, r.Err)
		}
	}
	return results
}

// appendOne appends a message and returns its result.
func appendOne(ctx context.Context, l cluster.Log, m cluster.Message) cluster.Result {
	results := make([]cluster.Result, 1)
	l.Append(ctx, []cluster.Message{m}, results)
	return results[0]
}

// describe is an entry as text, for comparisons.
func describe(e *cluster.Entry) string {
	switch e.Op {
	case cluster.OpEvent:
		return fmt.Sprintf("%d %q %q", e.Seq, e.Key, e.Frame.Bytes)
	case cluster.OpBroadcast:
		return fmt.Sprintf("%d all %q", e.Seq, e.Frame.Bytes)
	case cluster.OpEpoch:
		return fmt.Sprintf("%d epoch %d", e.Seq, e.Epoch)
	case cluster.OpHole:
		return fmt.Sprintf("%d hole", e.Seq)
	}
	return fmt.Sprintf("%d invalid: %v", e.Seq, e.Err)
}

var errStop = errors.New("read enough")

// readTo reads on from after until the entry with sequence last, over errors of the connection.
func readTo(t testing.TB, l cluster.Log, partition int, after, last uint64) (entries []string) {
	t.Helper()
	ctx := patient(t)
	for after < last {
		err := l.Read(ctx, partition, after, func(e *cluster.Entry) error {
			entries = append(entries, describe(e))
			if after = e.Seq; after >= last {
				return errStop
			}
			return nil
		}, func(uint64) {})
		if ctx.Err() != nil {
			t.Fatalf("read up to %d of %d: %v", after, last, err)
		}
		if !errors.Is(err, errStop) {
			time.Sleep(20 * time.Millisecond) // the pause of a caller between two attempts
		}
	}
	return entries
}

func fetchAll(t testing.TB, l cluster.Log, q cluster.Query) (entries []string, err error) {
	t.Helper()
	err = l.Fetch(patient(t), q, func(e *cluster.Entry) error {
		entries = append(entries, describe(e))
		return nil
	})
	return entries, err
}
