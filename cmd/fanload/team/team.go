//go:build linux

package team

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/cmd/fanload/ledger"
	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/sequence"
	"fanfare/cmd/fanload/swarm"
)

// answerTime bounds the wait for a worker's answer. No command takes long.
const answerTime = 60 * time.Second

// Team is the parent's side. Its methods may be called concurrently, except for Finish and Close.
type Team struct {
	workers []*worker
	failed  chan struct{} // closed when a worker has ended before it was asked to finish
	fail    sync.Once

	calls sync.Mutex // held from a command to its answers, which arrive in the order of the commands

	mu     sync.Mutex
	awaits map[int]*await  // by key
	window measure.Profile // latencies since Window was called
}

type await struct {
	seq     int64
	left    int // workers with subscribers that do not have it yet
	reached chan struct{}
}

type worker struct {
	in      io.WriteCloser
	enc     *json.Encoder
	replies chan message
	ended   chan struct{} // closed when no more messages arrive; then why may be read
	why     error
	closing atomic.Bool // it was asked to finish, or its input was closed
	process *exec.Cmd   // nil: a goroutine
	done    chan struct{}

	mu     sync.Mutex
	counts swarm.Counts
}

// Start starts the workers, p.Processes of them. argv is the command that runs [Worker] on its standard input and output; a team
// of one does not need it. All share the ledger, which may be nil. Call Close when the team is no longer used.
func Start(p *plan.Plan, argv []string, l *ledger.Ledger) (*Team, error) {
	t := &Team{failed: make(chan struct{}), awaits: map[int]*await{}}
	for i := range p.Processes {
		w, err := t.startWorker(p.Processes == 1, argv, l)
		if err != nil {
			t.Close()
			return nil, fmt.Errorf("worker %d: %w", i, err)
		}
		t.workers = append(t.workers, w)
	}
	_, err := t.each(func(i int) command {
		return command{Op: "plan", Plan: p, Shard: i, Shards: len(t.workers), Ledger: l != nil}
	})
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Team) startWorker(inside bool, argv []string, l *ledger.Ledger) (*worker, error) {
	w := &worker{replies: make(chan message, 4), ended: make(chan struct{}), done: make(chan struct{})}
	var out io.Reader
	if inside {
		commands, in := io.Pipe()
		messages, answers := io.Pipe()
		w.in, out = in, messages
		go func() {
			defer close(w.done)
			_ = answers.CloseWithError(serve(commands, answers, false, l)) // nil: end of file
		}()
	} else {
		w.process = exec.Command(argv[0], argv[1:]...)
		w.process.Stderr = os.Stderr
		if l != nil {
			w.process.ExtraFiles = []*os.File{l.File()}
		}
		var err error
		if w.in, err = w.process.StdinPipe(); err != nil {
			return nil, err
		}
		if out, err = w.process.StdoutPipe(); err != nil {
			return nil, err
		}
		if err := w.process.Start(); err != nil {
			return nil, err
		}
	}
	w.enc = json.NewEncoder(w.in)
	go func() {
		t.listen(w, out)
		if w.process != nil {
			_ = w.process.Wait() // the error is not needed: why says more
			close(w.done)
		}
	}()
	return w, nil
}

// listen reads the messages of a worker.
func (t *Team) listen(w *worker, out io.Reader) {
	defer close(w.ended)
	in := json.NewDecoder(out)
	for {
		var m message
		if err := in.Decode(&m); err != nil {
			w.why = fmt.Errorf("the process ended: %w", err)
			if !w.closing.Load() {
				t.fail.Do(func() { close(t.failed) })
			}
			return
		}
		switch m.Re {
		case "status":
			w.mu.Lock()
			w.counts = *m.Counts
			w.mu.Unlock()
			t.add(m.Window)
		case "reached":
			t.mu.Lock()
			if a := t.awaits[m.Key]; a != nil && a.seq == m.Seq {
				if a.left--; a.left == 0 {
					close(a.reached)
					delete(t.awaits, m.Key)
				}
			}
			t.mu.Unlock()
		default:
			w.replies <- m
		}
	}
}

// each sends every worker its command and waits for all answers. If one worker fails, the answers of the others are valid.
func (t *Team) each(make func(i int) command) ([]message, error) {
	t.calls.Lock()
	defer t.calls.Unlock()
	var errs []error
	sent := map[*worker]bool{}
	for i, w := range t.workers {
		if err := w.enc.Encode(make(i)); err != nil {
			select {
			case <-w.ended:
				err = w.why // says more than that the pipe is closed
			default:
			}
			errs = append(errs, fmt.Errorf("worker %d: %w", i, err))
			continue
		}
		sent[w] = true
	}
	answers := []message{}
	late := time.NewTimer(answerTime)
	defer late.Stop()
	for i, w := range t.workers {
		if !sent[w] {
			continue
		}
		select {
		case m := <-w.replies:
			if m.Error != "" {
				errs = append(errs, fmt.Errorf("worker %d: %s", i, m.Error))
			}
			answers = append(answers, m)
		case <-w.ended:
			errs = append(errs, fmt.Errorf("worker %d: %w", i, w.why))
		case <-late.C:
			return answers, errors.Join(append(errs, fmt.Errorf("worker %d did not answer within %s", i, answerTime))...)
		}
	}
	return answers, errors.Join(errs...)
}

func (t *Team) all(c command) error {
	_, err := t.each(func(int) command { return c })
	return err
}

// Connect begins to open all subscribers.
func (t *Team) Connect() error { return t.all(command{Op: "connect"}) }

// Begin expects every event from now on, at all open subscribers.
func (t *Team) Begin() error { return t.all(command{Op: "begin"}) }

// Measure records the latencies of events published from a time on, and the workers' processor time.
func (t *Team) Measure(from int64) error { return t.all(command{Op: "measure", From: from}) }

// Storm drops a fraction of the subscribers; see [swarm.Swarm.Storm].
func (t *Team) Storm(fraction float64, jitter time.Duration) error {
	return t.all(command{Op: "storm", Fraction: fraction, Jitter: jitter})
}

// Churn replaces a number of subscribers per second.
func (t *Team) Churn(rate float64) error { return t.all(command{Op: "churn", Rate: rate}) }

// Stall makes the chosen subscribers stop reading, see [plan.Plan.Stalls].
func (t *Team) Stall() error { return t.all(command{Op: "stall"}) }

// Behind is how many subscribers still miss events.
func (t *Team) Behind(last []int64) (int64, error) {
	answers, err := t.each(func(int) command { return command{Op: "behind", Last: last} })
	var n int64
	for _, m := range answers {
		n += m.Number
	}
	return n, err
}

// Await returns a channel that is closed when every subscriber of the key has an event that will be published. Each key can have
// its own await.
func (t *Team) Await(key int, seq int64) (<-chan struct{}, error) {
	reached := make(chan struct{})
	t.mu.Lock()
	t.awaits[key] = &await{seq: seq, left: len(t.workers), reached: reached}
	t.mu.Unlock()
	return reached, t.all(command{Op: "await", Key: key, Seq: seq})
}

// Failed is closed when a worker has ended during the run. Its subscribers are then gone, and the figures of the others are not
// those of the run.
func (t *Team) Failed() <-chan struct{} { return t.failed }

// Counts returns the counts as of up to a tenth of a second ago.
func (t *Team) Counts() swarm.Counts {
	var sum swarm.Counts
	for _, w := range t.workers {
		w.mu.Lock()
		sum.Add(&w.counts)
		w.mu.Unlock()
	}
	return sum
}

func (t *Team) add(window measure.Profile) {
	if len(window) > 0 {
		t.mu.Lock()
		t.window = t.window.Merge(window)
		t.mu.Unlock()
	}
}

// Window returns the latencies since the last call, as of up to a tenth of a second ago.
func (t *Team) Window() measure.Profile {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.window
	t.window = nil
	return w
}

// Finish closes all subscribers, compares what each got with what was published, and returns the merged result.
func (t *Team) Finish(published *sequence.Published) (*swarm.Result, error) {
	for _, w := range t.workers {
		w.closing.Store(true)
	}
	answers, err := t.each(func(int) command { return command{Op: "finish", Published: published} })
	sum := &swarm.Result{}
	for _, m := range answers {
		if m.Result != nil {
			sum.Merge(m.Result)
			t.add(m.Result.Window)
		}
	}
	return sum, err
}

// Close ends the workers by closing their input. After 10 s it kills them.
func (t *Team) Close() {
	for _, w := range t.workers {
		w.closing.Store(true)
		_ = w.in.Close()
	}
	for _, w := range t.workers {
		select {
		case <-w.done:
		case <-time.After(10 * time.Second):
			if w.process != nil {
				_ = w.process.Process.Kill()
				<-w.done
			}
		}
		<-w.ended
	}
}
