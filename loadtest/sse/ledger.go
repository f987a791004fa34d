package sse

import (
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"
)

// ledger records what was published in a run. Publishers write it, and streams compare what they got with it. The server under
// test cannot be asked for its own losses: a stream that gets nothing does not know that it should have got something. All VUs of
// the process share the ledger.
type ledger struct {
	mu    sync.Mutex
	plans map[string]*plan // by key
}

// plan is the schedule of one publisher, and what became of it. Its event n has number n/len(keys)+1 of keys[n%len(keys)].
type plan struct {
	keys     []string
	index    map[string]int
	count    int
	begin    time.Time // when event 0 is due
	interval time.Duration

	mu       sync.Mutex
	requests []request // in the order of their events, without holes
}

// request is one publish request: events from to to-1 of the plan.
type request struct {
	from, to       int
	sent, answered time.Time // answered is zero before the answer
	taken          bool
}

// ledgerOf returns the ledger of a run.
func (m *Module) ledgerOf(name string) *ledger {
	l, _ := m.ledgers.LoadOrStore(name, &ledger{plans: make(map[string]*plan)})
	return l.(*ledger) //nolint:forcetypeassert // nothing else is stored
}

func (l *ledger) plan(key string) *plan {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.plans[key]
}

// sentUpTo is how many events have been sent, including unanswered ones.
func (p *plan) sentUpTo() int {
	if len(p.requests) == 0 {
		return 0
	}
	return p.requests[len(p.requests)-1].to
}

// of is how many of the first n events of the plan belong to key number i.
func (p *plan) of(i, n int) int64 { return int64((n - i + len(p.keys) - 1) / len(p.keys)) }

// expected returns the range of a key's numbers that a stream must have got: those that were sent after it was opened and
// accepted before the time up to which it is read. There are none if to is less than from.
func (p *plan) expected(key string, opened, until time.Time) (from, to int64) {
	i := p.index[key]
	p.mu.Lock()
	defer p.mu.Unlock()
	first := sort.Search(len(p.requests), func(r int) bool { return p.requests[r].sent.After(opened) })
	if first == len(p.requests) {
		return 1, 0
	}
	for last := len(p.requests) - 1; last >= first; last-- {
		if r := p.requests[last]; r.taken && !r.answered.After(until) {
			return p.of(i, p.requests[first].from) + 1, p.of(i, r.to)
		}
	}
	return 1, 0
}

// takenIn is how many of a key's numbers in [from, to] the server has accepted.
func (p *plan) takenIn(key string, from, to int64) (n int64) {
	i := p.index[key]
	p.mu.Lock()
	defer p.mu.Unlock()
	first := sort.Search(len(p.requests), func(r int) bool { return p.of(i, p.requests[r].to) >= from })
	for _, r := range p.requests[first:] {
		low, high := max(from, p.of(i, r.from)+1), min(to, p.of(i, r.to))
		if low > to {
			break
		}
		if r.taken && low <= high {
			n += high - low + 1
		}
	}
	return n
}

// waited calls wait for each event of a key that was due while a stream was open and that the server has not accepted, with the
// time for which the stream has waited. seen is the newest number that has arrived.
func (p *plan) waited(key string, opened, until time.Time, seen int64, wait func(time.Duration)) {
	i := p.index[key]
	p.mu.Lock()
	defer p.mu.Unlock()
	at := 0
	for n := i + int(max(seen, 0))*len(p.keys); n < p.count; n += len(p.keys) {
		due := p.begin.Add(time.Duration(n) * p.interval)
		if due.After(until) {
			return
		}
		for at < len(p.requests) && p.requests[at].to <= n {
			at++
		}
		if taken := at < len(p.requests) && p.requests[at].taken; !taken && due.After(opened) {
			wait(until.Sub(due))
		}
	}
}

// newPlan is sse.plan(ledger, keys, count, begin, interval). A publisher calls it before its first event. begin and interval are
// in microseconds, begin since 1970.
func (i *instance) newPlan(name string, keys []string, count int, begin, interval float64) (*sobek.Object, error) {
	rt := i.vu.Runtime()
	switch {
	case i.vu.State() == nil:
		return nil, errors.New("sse.plan: it cannot be called in the init context: call it in the default function")
	case len(keys) == 0:
		return nil, errors.New("sse.plan: the list of keys is empty: give the keys of the events, in the order of the schedule")
	case count < 0 || !(interval >= 0):
		return nil, fmt.Errorf("sse.plan: count %d and interval %v must be 0 or more", count, interval)
	}
	p := &plan{
		keys: keys, index: make(map[string]int, len(keys)), count: count,
		begin: time.UnixMicro(int64(begin)), interval: time.Duration(interval * float64(time.Microsecond)),
	}
	for n, key := range keys {
		if _, twice := p.index[key]; twice {
			return nil, fmt.Errorf("sse.plan: the key %q is given twice", key)
		}
		p.index[key] = n
	}
	l := i.module.ledgerOf(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		if l.plans[key] != nil {
			return nil, fmt.Errorf("sse.plan: the key %q of ledger %q has a publisher already: give each publisher its own keys", key, name)
		}
	}
	for _, key := range keys {
		l.plans[key] = p
	}
	o := rt.NewObject()
	must(rt, o.Set("sending", func(to int) { p.sending(rt, to) }))
	must(rt, o.Set("answered", func(taken bool) { p.answered(rt, taken) }))
	return o, nil
}

// sending records that the next events, up to and not including event to, are about to be sent.
func (p *plan) sending(rt *sobek.Runtime, to int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.sentUpTo()
	if to <= from || to > p.count {
		common.Throw(rt, fmt.Errorf("plan.sending(%d): the number must be more than %d, which were sent, and at most %d, which are planned", to, from, p.count))
	}
	p.requests = append(p.requests, request{from: from, to: to, sent: time.Now()})
}

// answered records the end of the last request.
func (p *plan) answered(rt *sobek.Runtime, taken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.requests) == 0 {
		common.Throw(rt, errors.New("plan.answered: call plan.sending before the request"))
	}
	r := &p.requests[len(p.requests)-1]
	r.answered, r.taken = time.Now(), taken
}
