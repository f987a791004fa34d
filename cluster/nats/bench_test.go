package nats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanfare/cluster"
	"fanfare/internal/test/logbench"
	"fanfare/internal/test/natstest"
)

// cpuOf is the processor time of a process, of Linux alone. Its unit is 10 ms.
func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// brokerCPU reports what the broker and this process have used for each operation of a benchmark.
func brokerCPU(b *testing.B, s *natstest.Server, run func()) {
	pid := s.Cmd.Process.Pid
	broker, own := cpuOf(pid), cpuOf(os.Getpid())
	b.ResetTimer()
	run()
	b.StopTimer()
	b.ReportMetric(float64((cpuOf(pid)-broker).Microseconds())/float64(b.N), "broker-us/op")
	b.ReportMetric(float64((cpuOf(os.Getpid())-own).Microseconds())/float64(b.N), "node-us/op")
}

// benchAppend appends b.N events of 64 bytes from some goroutines, each of which waits for its event, and reports the latency.
func benchAppend(b *testing.B, l cluster.Log, goroutines int, ids bool) {
	plain := event("news", strings.Repeat("x", 56))
	logbench.Append(b, l, goroutines, func(g, i int) cluster.Message {
		m := plain
		if ids {
			m.ID = fmt.Sprintf("%d-%d-%d", b.N, g, i)
		}
		return m
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, ids := range []bool{false, true} {
		for _, goroutines := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("ids=%v/waiting=%d", ids, goroutines), func(b *testing.B) {
				l, s := openNew(b, Options{})
				brokerCPU(b, s, func() { benchAppend(b, l, goroutines, ids) })
			})
		}
	}
}

// BenchmarkAppendBatch appends 100 events by each call, as a batch of the publish API does.
func BenchmarkAppendBatch(b *testing.B) {
	l, s := openNew(b, Options{})
	messages, results := make([]cluster.Message, 100), make([]cluster.Result, 100)
	for i := range messages {
		messages[i] = event("news", strings.Repeat("x", 56))
	}
	brokerCPU(b, s, func() {
		for n := 0; n < b.N; n += len(messages) {
			if l.Append(context.Background(), messages, results); results[99].Err != nil {
				b.Fatal(results[99].Err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// fillLog appends n events of 64 bytes of 1,000 keys.
func fillLog(b *testing.B, l cluster.Log, n int) {
	const batch = 1000
	messages, results := make([]cluster.Message, batch), make([]cluster.Result, batch)
	for done := 0; done < n; done += batch {
		for i := range messages {
			messages[i] = event(fmt.Sprint("key", i), strings.Repeat("x", 56))
		}
		if l.Append(context.Background(), messages, results); results[batch-1].Err != nil {
			b.Fatal(results[batch-1].Err)
		}
	}
}

// BenchmarkCatchUp reads what is there.
func BenchmarkCatchUp(b *testing.B) {
	const n = 200_000
	l, s := openNew(b, Options{})
	fillLog(b, l, n)
	brokerCPU(b, s, func() {
		for left := b.N; left > 0; left -= n {
			last := uint64(min(left, n))
			err := l.Read(context.Background(), 0, 0, func(e *cluster.Entry) error {
				if e.Seq == last {
					return errStop
				}
				return nil
			}, func(uint64) {})
			if !errors.Is(err, errStop) {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkFetch fetches the ten newest events of a key. Entries of other keys are between them.
func BenchmarkFetch(b *testing.B) {
	for _, between := range []int{0, 10_000, 100_000} {
		b.Run(fmt.Sprintf("entries=%d", between), func(b *testing.B) {
			l, s := openNew(b, Options{})
			fillLog(b, l, 1000)
			for range 10 {
				fillLog(b, l, between/10)
				appendAll(b, l, event("rare", "x"))
			}
			st, err := l.State(patient(b), 0)
			if err != nil {
				b.Fatal(err)
			}
			q := cluster.Query{Key: "rare", After: 1000, Through: st.Last, Max: 1000, Scan: 1 << 20, Bytes: 1 << 20}
			run := func(fetch func(context.Context, cluster.Query, func(*cluster.Entry) error) error) func(b *testing.B) {
				return func(b *testing.B) {
					brokerCPU(b, s, func() {
						for range b.N {
							n := 0
							if err := fetch(context.Background(), q, func(*cluster.Entry) error { n++; return nil }); err != nil || n != 10 {
								b.Fatal(n, err)
							}
						}
					})
				}
			}
			b.Run("direct", run(l.Fetch))
			b.Run("consumer", run(l.fetchByConsumer))
		})
	}
	b.Run("nothing", func(b *testing.B) {
		l, s := openNew(b, Options{})
		fillLog(b, l, 100_000)
		appendAll(b, l, event("rare", "x"))
		fillLog(b, l, 1000)
		q := cluster.Query{Key: "rare", After: 100_001, Through: 101_001, Max: 1000, Scan: 1 << 20, Bytes: 1 << 20}
		brokerCPU(b, s, func() {
			for range b.N {
				if err := l.Fetch(context.Background(), q, func(*cluster.Entry) error { return errStop }); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

// fetchByConsumer is the rejected design of Fetch: an ephemeral consumer with a filter. It is measured beside the other.
func (l *Log) fetchByConsumer(ctx context.Context, q cluster.Query, handle func(*cluster.Entry) error) error {
	subject, _ := l.subjects.key(q.Partition, q.Key)
	name := randomName()
	create := map[string]any{"stream_name": "fanfare", "action": "create", "config": jetstream.ConsumerConfig{
		Name: name, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: q.After + 1, AckPolicy: jetstream.AckNonePolicy,
		InactiveThreshold: inactive, Replicas: 1, MemoryStorage: true, FilterSubject: subject,
	}}
	var created struct {
		Pending int `json:"num_pending"`
	}
	if err := l.request(ctx, "CONSUMER.CREATE.fanfare."+name+"."+subject, create, &created); err != nil {
		return err
	}
	messages := make(chan *natsgo.Msg, 1024)
	inbox := natsgo.NewInbox()
	sub, err := l.nc.ChanSubscribe(inbox, messages)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := l.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.fanfare."+name, inbox, []byte(`{"batch":1000,"no_wait":true}`)); err != nil {
		return err
	}
	for range created.Pending {
		msg := <-messages
		d, ok := parseReply(msg.Reply)
		if !ok {
			return fmt.Errorf("%v", msg.Header)
		}
		e := cluster.Entry{Seq: d.seq, At: d.at}
		l.decode(msg.Subject, msg.Header, msg.Data, &e)
		if err := handle(&e); err != nil {
			return err
		}
	}
	return l.nc.Publish("$JS.API.CONSUMER.DELETE.fanfare."+name, nil)
}
