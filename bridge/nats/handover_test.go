package nats

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/bridge/relay"
	"fanfare/internal/test/natstest"
)

// handOver is how two nodes pass on the lead.
type handOver struct {
	leader, next atomic.Int32 // next is -1 while nobody ends
	taken        chan struct{}
	given        chan []byte

	mu      sync.Mutex
	changed chan struct{}
}

func (h *handOver) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *handOver) succession(node int32) *relay.Succession {
	return &relay.Succession{
		Led:      func() bool { return true },
		Succeeds: func() bool { return h.next.Load() == node },
		Changed:  func() <-chan struct{} { h.mu.Lock(); defer h.mu.Unlock(); return h.changed },
		HandOver: func(_ context.Context, stop func() []byte) {
			if h.leader.Load() != node {
				stop()
				return
			}
			h.next.Store(1 - node)
			h.wake()
			<-h.taken
			h.given <- stop()
		},
		TakeOver: func(ctx context.Context) ([]byte, error) {
			if h.next.Load() != node {
				return nil, errors.New("nobody ends")
			}
			close(h.taken)
			data := <-h.given
			h.next.Store(-1)
			h.leader.Store(node)
			return data, nil
		},
	}
}

// A bridge that is closed hands over: of the messages that are published all the time, each is published by one of the two nodes,
// in order, and the keys get no gap.
func TestHandOver(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	h := &handOver{taken: make(chan struct{}), given: make(chan []byte, 1), changed: make(chan struct{})}
	h.next.Store(-1)
	var nodes [2]*fanfare
	for i := range nodes {
		nodes[i] = startFanfare(t, setup{url: broker.URL(), rules: []string{"news"}, leads: func() bool { return h.leader.Load() == int32(i) },
			succession: h.succession(int32(i))})
	}
	nodes[0].AwaitMetric(1, "fanfare_nats_leads")
	nodes[1].AwaitMetric(1, "fanfare_nats_connected")
	before, after := nodes[0].subscribe("news"), nodes[1].subscribe("news")
	before.AwaitPosition()
	after.AwaitPosition()
	p := connect(t, broker)
	closed, count := make(chan struct{}), 0
	p.publish("news", "0")
	before.WantData("0")
	go func() { nodes[0].bridge.Close(); close(closed) }()
	for more := 100; more > 0; {
		time.Sleep(time.Millisecond) // a successor knows the last 8,192 messages
		count++
		p.publish("news", strconv.Itoa(count))
		select {
		case <-closed:
			more--
		default:
		}
	}
	own := int(nodes[0].Metric("fanfare_nats_messages_total"))
	for i := 1; i < own; i++ {
		before.WantData(strconv.Itoa(i))
	}
	for i := own; i <= count; i++ {
		after.WantData(strconv.Itoa(i))
	}
	if nodes[1].Metric("fanfare_nats_gaps_total") != 0 {
		t.Error("a gap was reported")
	}
}
