//go:build linux

package team

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"fanfare/cmd/fanload/ledger"
	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/swarm"
)

// Worker runs the commands that it reads from r until r ends. alone says that it has its own process; then it ends the process
// when the plan's limit is over, so that no worker outlives the run.
func Worker(r io.Reader, w io.Writer, alone bool) error { return serve(r, w, alone, nil) }

// serve is Worker with the ledger of a parent in the same process.
func serve(r io.Reader, w io.Writer, alone bool, l *ledger.Ledger) error {
	k := &served{out: json.NewEncoder(w), ledger: l}
	defer k.close()
	in := json.NewDecoder(r)
	for {
		var c command
		if err := in.Decode(&c); errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
			return nil
		} else if err != nil {
			return fmt.Errorf("command: %w", err)
		}
		m, err := k.do(&c)
		if m.Re = "ok"; err != nil {
			m = message{Re: "error", Error: err.Error()}
		}
		if err := k.tell(m); err != nil {
			return err
		}
		if c.Op == "plan" && err == nil {
			if alone {
				time.AfterFunc(c.Plan.Limit, func() {
					fmt.Fprintln(os.Stderr, "fanload worker: the run's time is over")
					os.Exit(1)
				})
			}
			k.startStatus(c.Plan.Status)
		}
	}
}

// served is the state of a worker.
type served struct {
	swarm  *swarm.Swarm
	ledger *ledger.Ledger
	mine   *ledger.Ledger // the same ledger, if this worker opened it
	stop   chan struct{}  // ends the status goroutine
	wait   sync.WaitGroup

	mu  sync.Mutex // guards out: different goroutines answer commands, statuses and awaits
	out *json.Encoder
}

func (k *served) tell(m message) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.out.Encode(m)
}

func (k *served) do(c *command) (m message, err error) {
	if c.Op == "plan" {
		if c.Ledger && k.ledger == nil {
			if k.mine, err = ledger.Open(os.NewFile(ledgerFile, "ledger"), c.Plan.Keys); err != nil {
				return m, err
			}
			k.ledger = k.mine
		}
		if k.swarm, err = swarm.New(c.Plan, c.Shard, c.Shards, k.ledger); err == nil {
			// The loops hold their processors for long. Other goroutines must not wait until the scheduler takes one away.
			runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), k.swarm.Threads()+3))
		}
		return m, err
	}
	if k.swarm == nil {
		return m, errors.New("there is no plan yet")
	}
	switch c.Op {
	case "connect":
		err = k.swarm.Connect()
	case "begin":
		err = k.swarm.Begin()
	case "measure":
		err = k.swarm.Measure(c.From)
	case "await":
		key, seq := c.Key, c.Seq
		err = k.swarm.Await(key, seq, func() {
			go func() { _ = k.tell(message{Re: "reached", Key: key, Seq: seq}) }() // the loop must not wait for a pipe
		})
	case "storm":
		err = k.swarm.Storm(c.Fraction, c.Jitter)
	case "churn":
		err = k.swarm.Churn(c.Rate)
	case "stall":
		err = k.swarm.Stall()
	case "behind":
		m.Number, err = k.swarm.Behind(c.Last)
	case "finish":
		k.stopStatus()
		if c.Published == nil {
			return m, errors.New("finish: the command does not say what was published")
		}
		m.Result, err = k.swarm.Finish(c.Published)
	default:
		err = fmt.Errorf("unknown command %q", c.Op)
	}
	return m, err
}

func (k *served) startStatus(every time.Duration) {
	k.stop = make(chan struct{})
	stop := k.stop
	k.wait.Go(func() {
		every := max(every.Microseconds(), 1000)
		// Report at whole multiples of every: all workers at the same time, and equally often in each of the parent's samples.
		wait := func() time.Duration { return time.Duration(every-measure.Now()%every) * time.Microsecond }
		t := time.NewTimer(wait())
		defer t.Stop()
		for {
			select {
			case <-stop:
				return
			case <-t.C:
				t.Reset(wait())
				window, err := k.swarm.Window()
				c := k.swarm.Counts()
				if err != nil || k.tell(message{Re: "status", Counts: &c, Window: window}) != nil {
					return
				}
			}
		}
	})
}

func (k *served) stopStatus() {
	if k.stop != nil {
		close(k.stop)
		k.stop = nil
	}
	k.wait.Wait()
}

func (k *served) close() {
	k.stopStatus()
	if k.swarm != nil {
		k.swarm.Close()
	}
	_ = k.mine.Close() // an error does not matter at the end of the process
}

// ledgerFile is the descriptor of the ledger in a worker's process: the first one after standard error.
const ledgerFile = 3
