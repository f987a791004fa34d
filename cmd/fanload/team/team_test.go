//go:build linux

package team

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/sequence"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// role makes the test binary a worker, or a parent of two.
const role = "FANLOAD_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "worker":
		if err := Worker(os.Stdin, os.Stdout, true); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "parent":
		os.Exit(parent())
	}
	goleak.VerifyTestMain(m)
}

// parent starts a team for the address in its environment, says who its workers are, and waits to be killed.
func parent() int {
	_ = os.Setenv(role, "worker")
	p := testPlan(os.Getenv("FANLOAD_TEST_ADDRESS"))
	p.Processes = 2
	t, err := Start(p, []string{os.Args[0]}, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer t.Close()
	if err := t.Connect(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for t.Counts().Open < int64(p.Subscribers) {
		time.Sleep(time.Millisecond)
	}
	for _, w := range t.workers {
		fmt.Println(w.process.Process.Pid)
	}
	time.Sleep(time.Minute)
	return 0
}

func testPlan(address string) *plan.Plan {
	return &plan.Plan{
		Run: "abcde", Key: "k{{.KeyIndex}}", Keys: 1, Subscribers: 6, Ready: plan.ReadyHead, Address: address, Processes: 1, Loops: 1,
		Subscribe: plan.Request{Method: "GET", URL: "http://" + address + "/{{.Subscriber}}", Headers: plan.DefaultHeaders},
		InFlight:  100, ConnectTimeout: 5 * time.Second, ReconnectDelay: time.Second, Status: 5 * time.Millisecond, Limit: time.Minute,
	}
}

// streams sends what is put into the channel to all its subscribers.
func streams(t *testing.T) (address string, send func(text string), open func() int) {
	t.Helper()
	type stream struct{ text chan string }
	joins, leaves, texts, ask := make(chan stream), make(chan stream), make(chan string), make(chan chan int)
	done := make(chan struct{})
	go func() {
		all := map[stream]bool{}
		for {
			select {
			case s := <-joins:
				all[s] = true
			case s := <-leaves:
				delete(all, s)
			case text := <-texts:
				for s := range all {
					s.text <- text
				}
			case c := <-ask:
				c <- len(all)
			case <-done:
				return
			}
		}
	}()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		me := stream{make(chan string, 100)}
		joins <- me
		defer func() { leaves <- me }()
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case text := <-me.text:
				_, _ = io.WriteString(w, text)
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		close(done)
	})
	open = func() int {
		c := make(chan int)
		ask <- c
		return <-c
	}
	return s.Listener.Addr().String(), func(text string) { texts <- text }, open
}

func event(seq int64) string {
	return fmt.Sprintf("data: %s\n\n", plan.AppendPayload(nil, "abcde", 0, seq, measure.Now(), 0))
}

// started is a team of processes whose subscribers are open.
func started(t *testing.T, address string, processes int) *Team {
	t.Helper()
	t.Setenv(role, "worker")
	p := testPlan(address)
	p.Processes = processes
	m, err := Start(p, []string{os.Args[0]}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	if err := m.Connect(); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "all are open", func() bool { return m.Counts().Open == int64(p.Subscribers) })
	if err := errors.Join(m.Begin(), m.Measure(0)); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestTeamIsOneSwarm, of however many processes.
func TestTeamIsOneSwarm(t *testing.T) {
	for _, processes := range []int{1, 3} {
		address, send, _ := streams(t)
		m := started(t, address, processes)
		reached, err := m.Await(0, 2)
		if err != nil {
			t.Fatal(err)
		}
		send(event(1))
		eventually.True(t, "the first is there", func() bool { return m.Counts().Delivered == 6 })
		select {
		case <-reached:
			t.Error("the second event was reached before it was sent")
		default:
		}
		send(event(2) + event(2))
		<-reached
		send(event(4))
		eventually.True(t, "the last is there", func() bool { n, err := m.Behind([]int64{4}); return n == 0 && err == nil })
		window := m.Window()
		r, err := m.Finish(&sequence.Published{Last: []int64{4}})
		if err != nil {
			t.Fatal(err)
		}
		if c := r.Counts; c.Delivered != 18 || c.Duplicate != 6 || c.Lost != 6 || c.LostOf != 6 || r.Latency.Count() != 18 {
			t.Errorf("%d processes: %+v", processes, c)
		}
		if n := window.Merge(m.Window()).Count(); n != 18 {
			t.Errorf("%d processes: %d latencies in the windows", processes, n)
		}
		select {
		case <-m.Failed():
			t.Error("a worker that was asked to finish has failed")
		default:
		}
	}
}

// TestMemberDies: the team says so at once and by name; what the others have is kept, and nothing hangs.
func TestMemberDies(t *testing.T) {
	address, send, open := streams(t)
	m := started(t, address, 3)
	send(event(1))
	eventually.True(t, "the event is there", func() bool { return m.Counts().Delivered == 6 })
	if err := m.workers[1].process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.Failed():
	case <-time.After(eventually.Patience):
		t.Fatal("nobody has noticed")
	}
	eventually.True(t, "its streams are closed", func() bool { return open() == 4 })
	_, behind := m.Behind([]int64{1})
	_, await := m.Await(0, 2)
	for _, err := range []error{behind, await, m.Storm(1, 0)} {
		if err == nil || !strings.Contains(err.Error(), "worker 1: ") {
			t.Errorf("error %v", err)
		}
	}
	r, err := m.Finish(&sequence.Published{Last: []int64{1}})
	if err == nil || !strings.Contains(err.Error(), "worker 1: ") || strings.Contains(err.Error(), "worker 0") {
		t.Errorf("error %v", err)
	}
	if r.Counts.Delivered != 4 {
		t.Errorf("the others have %d deliveries", r.Counts.Delivered)
	}
}

// TestWorkerThatCannotStart is told with what it was.
func TestWorkerThatCannotStart(t *testing.T) {
	p := testPlan("127.0.0.1:9")
	p.Processes = 2
	for _, argv := range [][]string{{"/nowhere/fanload"}, {"/bin/false"}} {
		if m, err := Start(p, argv, nil); err == nil || !strings.Contains(err.Error(), "worker 0: ") {
			t.Errorf("%v, error %v", m, err)
		}
	}
}

// TestParentIsKilled: its workers end with it, and their streams.
func TestParentIsKilled(t *testing.T) {
	address, _, open := streams(t)
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), role+"=parent", "FANLOAD_TEST_ADDRESS="+address)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	var workers []int
	for range 2 {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		workers = append(workers, pid)
	}
	if open() != 6 || !proctest.Running(workers[0]) || !proctest.Running(workers[1]) {
		t.Errorf("%d open, workers %v", open(), workers)
	}
	_ = c.Process.Kill()
	if err := c.Wait(); err == nil {
		t.Error("the parent was not killed")
	}
	eventually.True(t, "the workers have ended", func() bool { return !proctest.Running(workers[0]) && !proctest.Running(workers[1]) })
	eventually.True(t, "their streams are closed", func() bool { return open() == 0 })
}

// TestWorkerEndsItself when the run's time is over, though its parent still is there and says nothing.
func TestWorkerEndsItself(t *testing.T) {
	p := testPlan("127.0.0.1:9")
	p.Limit = 50 * time.Millisecond
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), role+"=worker")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := json.NewEncoder(in).Encode(command{Op: "plan", Plan: p, Shards: 1}); err != nil {
		t.Fatal(err)
	}
	err = c.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(said.String(), "time is over") {
		t.Errorf("%v: %s", err, &said)
	}
}

// TestWorkerAnswers mistakes, and ends with its input.
func TestWorkerAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	good, err := json.Marshal(command{Op: "plan", Plan: testPlan(l.Addr().String()), Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	bad := testPlan("nowhere")
	nowhere, err := json.Marshal(command{Op: "plan", Plan: bad, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ said, want, err string }{
		{`{"op":"connect"}`, "there is no plan yet", ""},
		{string(nowhere), "address of the stream", ""},
		{string(good) + `{"op":"sing"}`, `unknown command \"sing\"`, ""},
		{string(good) + `{"op":"connect"}`, `"re":"ok"`, ""}, // and is gone in the middle of it
		{`{"op":`, "", "command: unexpected EOF"},
		{`connect`, "", "command: invalid character"},
	} {
		var out bytes.Buffer
		err := Worker(strings.NewReader(c.said), &out, false)
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%.60s: error %v, want %q", c.said, err, c.err)
		}
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%.60s: %s lacks %q", c.said, &out, c.want)
		}
	}
}
