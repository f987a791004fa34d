package chaos_test

import (
	"io"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"testing"
	"time"

	"fanfare/chaos/record"
	"fanfare/chaos/watch"
)

// workerVariable makes this program a worker: a process with subscribers that is told what to do on its standard input.
// One process cannot have the sockets of all.
const workerVariable = "FANFARE_CHAOS_WORKER"

// watcher is a swarm, here or in another process.
type watcher interface {
	Start()
	Status() watch.Status
	Spread(time.Duration)
	Move(fraction float64)
	Behind(last map[string]int64) int
	Judge(record.Published) *watch.Report
}

// newWatcher makes a swarm here, or in a process of its own. Start starts it.
func newWatcher(t testing.TB, c watch.Config, apart bool) watcher {
	if apart {
		return startWorker(t, c)
	}
	return watch.New(c)
}

// Worker is what a worker can do, for net/rpc.
type Worker struct{ swarm *watch.Swarm }

// None is the argument or the reply of a call that has none.
type None struct{}

// New makes the swarm and starts it.
func (w *Worker) New(c watch.Config, _ *None) error {
	w.swarm = watch.New(c)
	w.swarm.Start()
	return nil
}

// Status is Swarm.Status.
func (w *Worker) Status(_ None, reply *watch.Status) error { *reply = w.swarm.Status(); return nil }

// Spread is Swarm.Spread.
func (w *Worker) Spread(d time.Duration, _ *None) error { w.swarm.Spread(d); return nil }

// Move is Swarm.Move.
func (w *Worker) Move(fraction float64, _ *None) error { w.swarm.Move(fraction); return nil }

// Behind is Swarm.Behind.
func (w *Worker) Behind(last map[string]int64, reply *int) error {
	*reply = w.swarm.Behind(last)
	return nil
}

// Judge is Swarm.Judge.
func (w *Worker) Judge(p record.Published, reply *watch.Report) error {
	*reply = *w.swarm.Judge(p)
	return nil
}

type pipe struct {
	io.Reader
	io.WriteCloser
}

// work is the worker's main function. It ends with its standard input.
func work() {
	server := rpc.NewServer()
	if err := server.Register(&Worker{}); err != nil {
		panic(err)
	}
	server.ServeCodec(jsonrpc.NewServerCodec(pipe{os.Stdin, os.Stdout}))
}

// remote is a swarm in a worker.
type remote struct {
	t      testing.TB
	config watch.Config
	client *rpc.Client
}

func startWorker(t testing.TB, c watch.Config) *remote {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &remote{t: t, config: c, client: jsonrpc.NewClient(pipe{out, in})}
	t.Cleanup(func() {
		_ = r.client.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return r
}

func (r *remote) call(method string, args, reply any) {
	r.t.Helper()
	if err := r.client.Call("Worker."+method, args, reply); err != nil {
		r.t.Errorf("worker: %s: %v", method, err)
	}
}

func (r *remote) Start()                 { r.call("New", r.config, &None{}) }
func (r *remote) Spread(d time.Duration) { r.call("Spread", d, &None{}) }
func (r *remote) Move(fraction float64)  { r.call("Move", fraction, &None{}) }

func (r *remote) Status() (st watch.Status) {
	r.call("Status", None{}, &st)
	return st
}

func (r *remote) Behind(last map[string]int64) (n int) {
	r.call("Behind", last, &n)
	return n
}

func (r *remote) Judge(p record.Published) *watch.Report {
	report := &watch.Report{}
	r.call("Judge", p, report)
	return report
}
