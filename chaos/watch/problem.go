package watch

import (
	"encoding/json"
	"fmt"
	"sync"
)

// Problem is something that must not happen. Kinds are below.
type Problem struct {
	Kind string
	Text string
}

// Kinds of problems.
const (
	Lost      = "lost"      // an event that was confirmed has not arrived, and no gap accounts for it
	Duplicate = "duplicate" // an event has arrived twice
	Order     = "order"     // an event or an id has arrived before an earlier one
	SameID    = "same id"   // an id has stood for two events, or an event has had two ids
	Epoch     = "epoch"     // ids of another epoch have come without a gap
	Invented  = "invented"  // an event has arrived that nobody has published, or that was refused
	Miscount  = "miscount"  // a gap has reported less than was missing
	Behind    = "behind"    // the last event has not arrived
	Broken    = "broken"    // a stream that cannot be parsed
)

// kept is how many problems of each kind are kept with their text.
const kept = 5

type problems struct {
	mu     sync.Mutex
	list   []Problem
	counts map[string]int
}

func (p *problems) add(kind, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts == nil {
		p.counts = map[string]int{}
	}
	if p.counts[kind]++; p.counts[kind] <= kept {
		p.list = append(p.list, Problem{kind, fmt.Sprintf(format, args...)})
	}
}

// Gap is the data of a gap event.
type Gap struct {
	Key    *string `json:"key"`
	Reason string  `json:"reason"`
	Missed *int64  `json:"missed"`
	After  string  `json:"after"`
	Next   string  `json:"next"`
}

func parseGap(data []byte) (g Gap, err error) {
	err = json.Unmarshal(data, &g)
	return g, err
}
