// Package team makes one swarm of several processes. The parent starts itself again as workers, and exchanges commands and
// messages with them over pipes, as JSON, one per line. With one process, the worker is a goroutine that uses the same pipes.
//
//	parent -> worker   {"op":"plan",…} {"op":"connect"} {"op":"await","key":0,"seq":7} … {"op":"finish",…}
//	worker -> parent   {"re":"ok"} or {"re":"error",…}, one for each command, in order
//	                   {"re":"reached","seq":7} when the event of an await has reached all subscribers
//	                   {"re":"status",…} every plan.Status, with the counts and a profile of the latencies since the last one
package team

import (
	"time"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/sequence"
	"fanfare/cmd/fanload/swarm"
)

type command struct {
	Op       string        `json:"op"`
	Plan     *plan.Plan    `json:"plan,omitempty"`
	Ledger   bool          `json:"ledger,omitempty"` // the worker has it as file 3
	Shard    int           `json:"shard,omitempty"`
	Shards   int           `json:"shards,omitempty"`
	From     int64         `json:"from,omitempty"`
	Key      int           `json:"key,omitempty"`
	Seq      int64         `json:"seq,omitempty"`
	Fraction float64       `json:"fraction,omitempty"`
	Jitter   time.Duration `json:"jitter,omitempty"`
	Rate     float64       `json:"rate,omitempty"`
	Last     []int64       `json:"last,omitempty"`

	Published *sequence.Published `json:"published,omitempty"`
}

type message struct {
	Re     string          `json:"re"`
	Error  string          `json:"error,omitempty"`
	Key    int             `json:"key,omitempty"`
	Seq    int64           `json:"seq,omitempty"`
	Number int64           `json:"number,omitempty"`
	Counts *swarm.Counts   `json:"counts,omitempty"`
	Window measure.Profile `json:"window,omitempty"`
	Result *swarm.Result   `json:"result,omitempty"`
}
