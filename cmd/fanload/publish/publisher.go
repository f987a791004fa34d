//go:build linux

package publish

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"fanfare/cmd/fanload/ledger"
	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/sequence"
)

// Publisher renders and sends events. Publish may run for several keys at the same time, but only once for each key. Call Flush
// after the last Publish.
type Publisher struct {
	plan    *plan.Plan
	ledger  *ledger.Ledger // nil: no subscriber joins or leaves during the run
	senders []*sender
	last    []int64 // the newest sequence of each key; an element belongs to the sender of its key

	mu       sync.Mutex // guards what follows
	keys     *plan.Keys
	names    map[int]string // of the keys used so far
	measured int64          // latencies of requests written from this time on are recorded
	stats    Stats
	taken    []int64 // the newest sequence of each key that the server has accepted
	failed   []sequence.Failed
	late     int64 // since Recent
}

// sender is a connection and the renderer of its requests. Each key always uses the same sender, so its events stay in order.
type sender struct {
	mu      sync.Mutex // held while a request is rendered and written
	conn    *conn
	request *plan.Renderer
	buf     []byte
	payload []byte
}

// Stats of the publish requests.
type Stats struct {
	Events     int64             `json:"events"`     // sent, including refused ones
	Refused    int64             `json:"refused"`    // events of requests that were answered with an error
	Unanswered int64             `json:"unanswered"` // events of requests that were not answered or could not be sent
	Requests   int64             `json:"requests"`
	Latency    measure.Histogram `json:"latency"` // of the requests, from written to answered
	Errors     map[string]int64  `json:"errors"`
	LateMax    int64             `json:"late_max_us"` // largest delay of a request behind the schedule
}

// Recent has the figures for a sample of the timeline.
type Recent struct {
	Events int64 // sent so far
	Late   int64 // largest delay of a request behind the schedule since the last call; microseconds
}

// New parses the templates. Connections are dialed when they are needed. The Publisher records what it publishes in the ledger.
func New(p *plan.Plan, l *ledger.Ledger) (*Publisher, error) {
	keys, err := p.KeyNames()
	if err != nil {
		return nil, err
	}
	b := &Publisher{plan: p, ledger: l, keys: keys, names: map[int]string{}, last: make([]int64, p.Keys), taken: make([]int64, p.Keys)}
	b.stats.Errors = map[string]int64{}
	var trust *tls.Config
	if p.PublishCertified != "" {
		if trust, err = p.Trust.Config(p.PublishCertified, plan.HTTP1); err != nil {
			return nil, err
		}
	}
	for range p.Publishers {
		request, err := p.Publish.Compile("publish")
		if err != nil {
			return nil, err
		}
		b.senders = append(b.senders, &sender{
			request: request,
			conn:    &conn{addr: p.PublishAddr, trust: trust, depth: p.Pipeline, timeout: p.PublishTimeout, answers: b.answered},
		})
	}
	return b, nil
}

// Last is the newest sequence of each key. It is not a copy: while Publish may run, read only the elements of keys that are not
// being published to.
func (b *Publisher) Last() []int64 { return b.last }

// Measure records the latencies of requests written from a time on. Until it is called, all are recorded.
func (b *Publisher) Measure(from int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.measured = from
}

// Publish sends n events to a key. at is their scheduled time. Failures are counted and not returned, because a load generator
// continues.
func (b *Publisher) Publish(key, n int, at int64) {
	s := b.senders[key%len(b.senders)]
	s.mu.Lock()
	defer s.mu.Unlock()
	err := b.render(s, key, n, at)
	q := request{due: at, key: key, from: b.last[key] - int64(n) + 1, to: b.last[key]}
	late := measure.Now() - at
	b.mu.Lock()
	b.stats.Events += int64(n)
	b.stats.Requests++
	b.stats.LateMax, b.late = max(b.stats.LateMax, late), max(b.late, late)
	b.mu.Unlock()
	b.ledger.Sending(key, q.to)
	if err == nil {
		err = s.conn.write(s.buf, q)
	}
	if err != nil {
		b.answered(answer{request: q, err: err})
	}
}

// name returns the name of a key.
func (b *Publisher) name(key int) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name, ok := b.names[key]
	if !ok {
		var err error
		if name, err = b.keys.Name(key); err != nil {
			return "", err
		}
		b.names[key] = name
	}
	return name, nil
}

func (b *Publisher) render(s *sender, key, n int, at int64) error {
	name, err := b.name(key)
	if err != nil {
		b.last[key] += int64(n) // they were due, and count as events that the server did not accept
		return err
	}
	batch := make([]*plan.Vars, n)
	for i := range batch {
		b.last[key]++
		s.payload = plan.AppendPayload(s.payload[:0], b.plan.Run, key, b.last[key], at, b.plan.Size)
		batch[i] = &plan.Vars{
			Base: b.plan.Base, PublishBase: b.plan.PublishBase, Run: b.plan.Run,
			Key: name, KeyIndex: key, Seq: b.last[key], TS: at, Payload: string(s.payload),
		}
	}
	s.buf, err = s.request.Append(s.buf[:0], batch[0], batch[1:]...)
	return err
}

// answered counts an answer. The readers' goroutines call it.
func (b *Publisher) answered(a answer) {
	// Answers arrive in the order of the requests, and all answers for a key on one connection.
	defer b.ledger.Settle(a.key, a.to)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case a.err != nil:
		b.stats.Unanswered += a.events()
		measure.Tally(b.stats.Errors, a.err.Error())
	case a.status < 200 || a.status > 299:
		b.stats.Refused += a.events()
		measure.Tally(b.stats.Errors, strings.TrimSpace(fmt.Sprintf("%d %s", a.status, a.text)))
	default:
		b.taken[a.key] = max(b.taken[a.key], a.to)
		if a.at >= b.measured {
			b.stats.Latency.Record(a.took)
		}
		return
	}
	if len(b.failed) < maxFailed {
		b.failed = append(b.failed, sequence.Failed{Key: a.key, From: a.from, To: a.to, Due: a.due})
	}
}

// maxFailed bounds how many failed requests are remembered. Events of further ones count as lost if they do not arrive; a run
// with so many failures has failed in any case.
const maxFailed = 100_000

// Taken returns the newest sequence of each key that the server has accepted.
func (b *Publisher) Taken() []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.taken)
}

// Failed returns what the server has not accepted. Call it when all requests are answered.
func (b *Publisher) Failed() []sequence.Failed {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

// Flush waits until all requests are answered, and closes the connections.
func (b *Publisher) Flush() {
	for _, s := range b.senders {
		s.conn.flush()
	}
}

// Recent returns the figures since the last call. One goroutine may call it while Publish runs.
func (b *Publisher) Recent() Recent {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := Recent{Events: b.stats.Events, Late: b.late}
	b.late = 0
	return r
}

// Stats returns the current figures.
func (b *Publisher) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Latency = measure.Histogram{}
	s.Latency.Merge(&b.stats.Latency)
	s.Errors = maps.Clone(b.stats.Errors)
	return s
}
