package bench_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/cluster"
	"fanfare/cluster/nats"
	"fanfare/engine"
	"fanfare/internal/test/natstest"
)

// BenchmarkBackplane stores events of 200 bytes in NATS JetStream and reads them back, with the processor time of the servers and
// of this process for each event. bench/capacity computes with these figures.
//
// The events have ids, as those of a node, which sends again what was not confirmed.
//
// store appends from one process, several calls at a time, each of a hundred events, as publishers that send batches do; single is
// one event a call, 64 calls at a time. read is a node that follows the log, into an engine.
func BenchmarkBackplane(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		if replicas > size(3, 1) {
			break
		}
		b.Run(fmt.Sprintf("replicas=%d", replicas), func(b *testing.B) { backplane(b, replicas) })
	}
}

func backplane(b *testing.B, replicas int) {
	var url string
	var pids []int
	if replicas == 1 {
		s := (&natstest.Server{T: b}).Start()
		url, pids = s.URL(), []int{s.Cmd.Process.Pid}
	} else {
		servers := natstest.StartCluster(b, replicas, "")
		url = servers.URL()
		for _, s := range servers.Servers {
			pids = append(pids, s.Cmd.Process.Pid)
		}
	}
	log, err := nats.Open(b.Context(), nats.Options{URL: url, Replicas: replicas})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(log.Close)
	for _, c := range []struct {
		name         string
		calls, batch int
	}{{"store", 4, 100}, {"single", 64, 1}} {
		b.Run(c.name, func(b *testing.B) {
			n := size(100_000, 400) / c.batch // calls
			for b.Loop() {
				measureBroker(b, pids, n*c.batch, func() { appendEvents(b, log, n, c.calls, c.batch) })
			}
		})
	}
	b.Run("read", func(b *testing.B) {
		state, err := log.State(b.Context(), 0)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			e := start(b, engine.Options{Log: &engine.LogOptions{}})
			e.SetEpoch(0, 1, 0, engine.Frame{})
			measureBroker(b, pids, int(state.Last), func() { follow(b, log, e, state.Last) })
		}
	})
}

// patience is how long one measurement may take. Only a failure waits for its end.
const patience = 10 * time.Minute

// calls counts those of appendEvents, for ids that differ.
var calls atomic.Uint64

// appendEvents makes n calls of Append, some at a time, each with so many events.
func appendEvents(b *testing.B, log *nats.Log, n, atOnce, batch int) {
	ctx, stop := context.WithTimeout(b.Context(), patience) // without one, Append waits for a broker that has ended
	defer stop()
	call := calls.Add(1)
	todo, failed := make(chan int), make(chan error, atOnce)
	for range atOnce {
		go func() {
			messages, results := make([]cluster.Message, batch), make([]cluster.Result, batch)
			var err error
			for i := range todo {
				for j := range messages {
					messages[j] = cluster.Message{
						Key: "key-" + strconv.Itoa((i*batch+j)%10_000), Frame: frame,
						ID: fmt.Sprintf("%d-%d-%d", call, i, j),
					}
				}
				log.Append(ctx, messages, results)
				for _, r := range results {
					err = errors.Join(err, r.Err)
				}
			}
			failed <- err
		}()
	}
	for i := range n {
		todo <- i
	}
	close(todo)
	for range atOnce {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
}

// follow reads the log up to last into an engine.
func follow(b *testing.B, log *nats.Log, e *engine.Engine, last uint64) {
	ctx, stop := context.WithTimeout(b.Context(), patience)
	defer stop()
	err := log.Read(ctx, 0, 0, func(entry *cluster.Entry) error {
		if entry.Op == cluster.OpEvent {
			if err := e.Apply(engine.LogEntry{Seq: entry.Seq, At: entry.At, Key: entry.Key, Frame: entry.Frame}); err != nil {
				return err
			}
		}
		if entry.Seq == last {
			stop()
		}
		return nil
	}, func(uint64) {})
	if !errors.Is(err, context.Canceled) {
		b.Fatal(err)
	}
}

// measureBroker reports the processor time of the servers, and of this process, for each of n events.
func measureBroker(b *testing.B, pids []int, n int, work func()) {
	broker := processorTime(b, pids)
	own, _ := usage(b)
	begin := time.Now()
	work()
	elapsed := time.Since(begin)
	ownAfter, _ := usage(b)
	b.ReportMetric(float64((processorTime(b, pids)-broker).Nanoseconds())/float64(n)/1e3, "broker-cpu-us/event")
	b.ReportMetric(float64((ownAfter-own).Nanoseconds())/float64(n)/1e3, "node-cpu-us/event")
	b.ReportMetric(float64(n)/elapsed.Seconds(), "events/s")
	b.ReportMetric(0, "ns/op")
}

// processorTime is what the processes have used so far, to a hundredth of a second.
func processorTime(b *testing.B, pids []int) (sum time.Duration) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Fatal(err)
		}
		_, after, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(after)
		for _, field := range fields[11:13] { // utime and stime, in 1/100 s
			ticks, err := strconv.Atoi(field)
			if err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum
}
