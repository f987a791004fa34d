// Package record says what was published in a run and what became of each event, so that what subscribers received can be
// judged by it.
//
// The events of a key are numbered from 1 by their publisher, which publishes the next one only after the fate of the one
// before is known, or given up. An event's data is its key, its number and filler:
//
//	news 17 xxxxxxxx
package record

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
)

// Broadcast is the key in the data of events to all keys.
const Broadcast = "*"

// Outcome is what a publisher knows of an event.
type Outcome uint8

const (
	// Pending: the publisher is still at it.
	Pending Outcome = iota
	// Stored: a server has answered 200, so the event must arrive.
	Stored
	// Unknown: no answer says whether it was stored. It may arrive, once.
	Unknown
	// Refused: no server has taken it. It must not arrive.
	Refused
	// Queued: a server has answered 202. It may arrive, once.
	Queued
)

// Number is one event of a key.
type Number struct {
	Outcome Outcome
	// Again says that the event was sent more than once, because the fate of an attempt was not known.
	Again bool
	// Stale says that it was sent again after the time in which servers recognize a repetition.
	Stale bool
	ID    string // that the server answered
	Began int64  // when it was sent first, in Unix microseconds
	Took  int64  // from then to its outcome, in microseconds
}

// Published has the events of all keys: that with number n is at index n-1.
type Published map[string][]Number

// Last returns the newest number of each key.
func (p Published) Last() map[string]int64 {
	last := map[string]int64{}
	for key, numbers := range p {
		last[key] = int64(len(numbers))
	}
	return last
}

// Of returns what is known of an event. An event that nobody has published is Refused.
func (p Published) Of(key string, n int64) Number {
	if numbers := p[key]; n >= 1 && n <= int64(len(numbers)) {
		return numbers[n-1]
	}
	return Number{Outcome: Refused}
}

// Counts returns how many events have each outcome.
func (p Published) Counts() map[Outcome]int {
	counts := map[Outcome]int{}
	for _, numbers := range p {
		for _, n := range numbers {
			counts[n.Outcome]++
		}
	}
	return counts
}

// Book collects what publishers do. The zero value is ready, and its methods may be called concurrently.
type Book struct {
	mu   sync.Mutex
	keys Published
}

// Begin adds the next event of the key and returns its number.
func (b *Book) Begin(key string, now int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keys == nil {
		b.keys = Published{}
	}
	b.keys[key] = append(b.keys[key], Number{Began: now})
	return int64(len(b.keys[key]))
}

// End notes what became of an event. Began stays as it is.
func (b *Book) End(key string, n int64, what Number) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := &b.keys[key][n-1]
	what.Began = at.Began
	*at = what
}

// Published returns a copy of what is known now.
func (b *Book) Published() Published {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := Published{}
	for key, numbers := range b.keys {
		p[key] = append([]Number(nil), numbers...)
	}
	return p
}

// Data is the data of an event.
func Data(key string, n int64, size int) []byte {
	return append(fmt.Appendf(nil, "%s %d ", key, n), bytes.Repeat([]byte("x"), size)...)
}

// Parse reads the data of an event. key is valid as long as data is.
func Parse(data []byte) (key []byte, n int64, ok bool) {
	key, rest, ok := bytes.Cut(data, []byte(" "))
	number, _, _ := bytes.Cut(rest, []byte(" "))
	n, err := strconv.ParseInt(string(number), 10, 64)
	return key, n, ok && err == nil && n > 0
}
