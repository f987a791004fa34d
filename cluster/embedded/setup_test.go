package embedded

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"fanfare/cluster"
	"fanfare/cluster/nats"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

var errStop = errors.New("read enough")

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), eventually.Patience)
	t.Cleanup(cancel)
	return ctx
}

// open opens a log until the end of the test, or Close.
func open(t testing.TB, o Options) (*Log, *proctest.Log) {
	t.Helper()
	var text proctest.Log
	o.Log.Logger = slog.New(slog.NewTextHandler(&text, nil))
	l, err := Open(patient(t), o)
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

func event(text string) cluster.Message {
	return cluster.Message{Op: cluster.OpEvent, Key: "news", Frame: engine.Frame{Bytes: []byte("data: " + text + "\n\n"), IDAt: -1}}
}

// appendTo appends a message that must be stored, and returns its sequence.
func appendTo(t testing.TB, l cluster.Log, m cluster.Message) uint64 {
	t.Helper()
	results := make([]cluster.Result, 1)
	if l.Append(patient(t), []cluster.Message{m}, results); results[0].Err != nil {
		t.Fatal(results[0].Err)
	}
	return results[0].Seq
}

func stateOf(t testing.TB, l cluster.Log, p int) cluster.State {
	t.Helper()
	s, err := l.State(patient(t), p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// readAll returns the frames of all entries, by sequence.
func readAll(t testing.TB, l cluster.Log, p int) map[uint64]string {
	t.Helper()
	frames, last := map[uint64]string{}, stateOf(t, l, p).Last
	if last == 0 {
		return frames
	}
	err := l.Read(patient(t), p, 0, func(e *cluster.Entry) error {
		if e.Op == cluster.OpEvent {
			frames[e.Seq] = string(e.Frame.Bytes)
		}
		if e.Seq >= last {
			return errStop
		}
		return nil
	}, func(uint64) {})
	if !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	return frames
}

// small makes blocks of 4 MiB instead of 8: the server chooses their size by the limit of the stream.
func small(dir string, f Fsync) Options {
	return Options{Dir: dir, Fsync: f, Log: nats.Options{MaxBytes: 30 << 20}}
}
