//go:build linux

package run_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/report"
	"fanfare/cmd/fanload/run"
	"fanfare/engine"
	"fanfare/transport"
)

// files is what Prepare may assume of a process.
const files = 20_000

func carryOut(t *testing.T, s *run.Settings) *report.Result {
	t.Helper()
	if err := s.Prepare(files); err != nil {
		t.Fatal(err)
	}
	r, err := run.Run(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantClean checks that everything came once, in order.
func wantClean(t *testing.T, r *report.Result, deliveries int64) {
	t.Helper()
	if r.Deliveries.Total != deliveries {
		t.Errorf("%d deliveries, want %d", r.Deliveries.Total, deliveries)
	}
	if q := r.Sequence; q != (report.Sequence{}) {
		t.Errorf("sequence: %+v", q)
	}
	if r.Publish.Failed != 0 {
		t.Errorf("publishing failed: %v", r.Publish.Errors)
	}
}

// TestFaultsAreCounted has a server that errs in known places; each fault must be found, and nothing else.
func TestFaultsAreCounted(t *testing.T) {
	held := ""
	b := newBroker(t, func(subscriber int, seq int64, frame string) []string {
		switch {
		case subscriber == 0 && (seq == 7 || seq == 40): // in the middle, and the last one
			return nil
		case subscriber == 1 && seq >= 38: // the end of the stream
			return nil
		case subscriber == 2 && (seq == 5 || seq == 6):
			return []string{frame, frame}
		case subscriber == 3 && seq == 10:
			held = frame
			return nil
		case subscriber == 3 && seq == 12:
			return []string{frame, held}
		case subscriber == 4 && seq == 3:
			return []string{"data: something else\n\n", "event: gap\ndata: {}\n\n", frame}
		}
		return []string{frame}
	})
	s := settings(t, b.URL, run.Open)
	r := carryOut(t, s)
	want := report.Sequence{Lost: 5, Undelivered: 4, LostSubscribers: 2, Duplicated: 2, OutOfOrder: 1, Foreign: 1, Gaps: 1}
	if r.Sequence != want {
		t.Errorf("sequence %+v, want %+v", r.Sequence, want)
	}
	if r.Deliveries.Total != 20*40-5 || r.Latency.Count != 20*40-5 {
		t.Errorf("%d deliveries, %d latencies, want 795", r.Deliveries.Total, r.Latency.Count)
	}
	if r.Connect.Connected != 20 || r.Streams.BehindAfterDrain != 2 {
		t.Errorf("%d connected, %d behind", r.Connect.Connected, r.Streams.BehindAfterDrain)
	}
}

func TestModesWithoutFaults(t *testing.T) {
	for _, mode := range []string{run.Closed, run.Open, run.Burst} {
		t.Run(mode, func(t *testing.T) {
			s := settings(t, newBroker(t, nil).URL, mode)
			s.Plan.Keys = 4
			s.PIDs = []int{os.Getpid()}
			r := carryOut(t, s)
			wantClean(t, r, 20/4*40)
			if mode == run.Closed && (r.Round.Count != 40 || r.Publish.Timeouts != 0) {
				t.Errorf("%d rounds, %d timed out", r.Round.Count, r.Publish.Timeouts)
			}
			if mode == run.Burst && r.Round.Count != 4 {
				t.Errorf("%d rounds, want 4 bursts of 10", r.Round.Count)
			}
			if r.Server == nil || r.Server.RSSMax == 0 || r.Client.CPU < 0 || len(r.Timeline) == 0 {
				t.Errorf("server %+v, client %+v, %d points", r.Server, r.Client, len(r.Timeline))
			}
		})
	}
}

func TestProcessesAreJoined(t *testing.T) {
	t.Setenv(workerVariable, "1")
	s := settings(t, newBroker(t, nil).URL, run.Closed)
	s.Plan.Processes, s.Plan.Loops = 3, 2
	r := carryOut(t, s)
	wantClean(t, r, 20*40)
	if r.Latency.Count != 800 || r.Connect.Head.Count != 20 || r.Round.Count != 40 {
		t.Errorf("%d latencies, %d heads, %d rounds", r.Latency.Count, r.Connect.Head.Count, r.Round.Count)
	}
	if r.Client.CPU <= 0 {
		t.Error("the workers' processor time is missing")
	}
}

// TestDeadWorkerEndsTheRun at once, however long it was to last, with what the others have.
func TestDeadWorkerEndsTheRun(t *testing.T) {
	t.Setenv(workerVariable, "1")
	s := settings(t, newBroker(t, nil).URL, run.Open)
	s.Plan.Processes, s.Events, s.Duration, s.Rate = 3, 0, time.Hour, 50
	var once sync.Once
	s.Progress = func(p run.Progress) {
		if p.Point.Delivered > 100 {
			once.Do(func() { _ = syscall.Kill(children(t)[0], syscall.SIGKILL) })
		}
	}
	if err := s.Prepare(files); err != nil {
		t.Fatal(err)
	}
	r, err := run.Run(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "worker ") || !strings.Contains(err.Error(), "the process ended") {
		t.Errorf("error %v", err)
	}
	if r == nil || r.Deliveries.Total < 50 || r.Connect.Connected == 0 || r.Connect.Connected >= 20 || r.Interrupted {
		t.Errorf("result %+v", r)
	}
}

// TestDeadServerIsTold: figures of a process that has ended in the middle are not those of the run.
func TestDeadServerIsTold(t *testing.T) {
	server := exec.Command("sleep", "600")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Wait() }()
	defer func() { _ = server.Process.Kill() }()
	s := settings(t, newBroker(t, nil).URL, run.Open)
	s.PIDs, s.Events, s.Duration, s.Rate = []int{server.Process.Pid}, 0, time.Second, 100
	s.Progress = func(p run.Progress) {
		if p.Point.Delivered > 0 {
			_ = server.Process.Kill()
		}
	}
	if err := s.Prepare(files); err != nil {
		t.Fatal(err)
	}
	r, err := run.Run(t.Context(), s)
	if want := fmt.Sprintf("the server's process %d", server.Process.Pid); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), " ended") {
		t.Errorf("error %v", err)
	}
	if r == nil || r.Server == nil || !r.Server.Ended || r.Deliveries.Total == 0 {
		t.Errorf("result %+v", r)
	}
}

// children of this process.
func children(t *testing.T) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Error(err)
	}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has just ended
		}
		var parent int
		_, rest, _ := strings.Cut(string(b), ") ")
		if _, err := fmt.Sscanf(rest, "%1s %d", new(string), &parent); err == nil && parent == os.Getpid() {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestOpenFilesAskForProcesses(t *testing.T) {
	s := settings(t, "http://127.0.0.1:9", run.Open)
	s.Plan.Subscribers = 2500
	if err := s.Prepare(1064); err != nil {
		t.Fatal(err)
	}
	if s.Plan.Processes != 3 {
		t.Errorf("%d processes", s.Plan.Processes)
	}
}

// fanfareServer is the real transport, on free ports.
func fanfareServer(t *testing.T) (streams, admin string, eng *engine.Engine) {
	t.Helper()
	eng = engine.New(engine.Options{})
	srv, err := transport.NewServer(eng, transport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	listen := func(serve func(net.Listener) error) string {
		l, err := transport.Listen(context.Background(), "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = serve(l) }()
		return "http://" + l.Addr().String()
	}
	streams, admin = listen(srv.Serve), listen(srv.ServeAdmin)
	t.Cleanup(func() {
		srv.Close()
		eng.Close()
	})
	return streams, admin, eng
}

// TestFanfareDisturbed holds the modes that disturb against the real server: nothing may get lost by them.
func TestFanfareDisturbed(t *testing.T) {
	streams, admin, _ := fanfareServer(t)
	for _, mode := range []string{run.Storm, run.Churn, run.Stall, run.Ramp} {
		t.Run(mode, func(t *testing.T) {
			s := settings(t, streams, mode)
			preset, err := plan.FindPreset("fanfare")
			if err != nil {
				t.Fatal(err)
			}
			p := &s.Plan
			p.PublishBase, p.Subscribe, p.Publish, p.Key = admin, preset.Subscribe, preset.Publish, "{{.Run}}-{{.KeyIndex}}"
			p.Subscribers, p.Keys, p.Reconnect, s.Events = 100, 5, mode != run.Stall, 0
			s.Duration, s.Every, s.Churn = time.Second, 300*time.Millisecond, 200
			p.StallBuffer = 4096
			if mode == run.Stall {
				p.StallPercent, p.Size = 10, 4000
			}
			if mode == run.Ramp {
				s.Rate, p.ConnectRate = 0, 500
			}
			r := carryOut(t, s)
			q := r.Sequence
			if q.Lost+q.Duplicated+q.OutOfOrder+q.Foreign+q.Gaps+q.Misrouted != 0 {
				t.Errorf("sequence %+v", q)
			}
			if r.Connect.Connected != 100 || r.Connect.Failed != 0 {
				t.Errorf("connect %+v", r.Connect)
			}
			switch x := r.Streams; mode {
			case run.Storm:
				if x.Reconnects < 100 || r.Reconnect.Count != x.Reconnects || r.Deliveries.Total != r.Publish.Events*20 {
					t.Errorf("streams %+v, %d deliveries of %d events", x, r.Deliveries.Total, r.Publish.Events)
				}
			case run.Churn:
				if x.Churned < 50 {
					t.Errorf("streams %+v", x)
				}
			case run.Stall:
				if x.Stalled != 10 || x.Backpressure() != 10 || r.Deliveries.Total != r.Publish.Events*18 {
					t.Errorf("streams %+v, %d deliveries of %d events", x, r.Deliveries.Total, r.Publish.Events)
				}
			case run.Ramp:
				if r.Connect.PerSecond > 700 || r.Connect.Seconds < 0.15 {
					t.Errorf("500 connects a second: %+v", r.Connect)
				}
			}
		})
	}
}

// TestServerEndsStreams: with reconnects nothing gets lost, without them all that follows does.
func TestServerEndsStreams(t *testing.T) {
	fault := func(subscriber int, seq int64, frame string) []string {
		if subscriber == 3 && seq == 20 {
			return []string{frame, "end"}
		}
		return []string{frame}
	}
	for _, again := range []bool{true, false} {
		s := settings(t, newBroker(t, fault).URL, run.Open)
		s.Plan.Reconnect = again
		r := carryOut(t, s)
		lost := int64(20)
		if again {
			lost = 0
		}
		if r.Sequence.Lost != lost || r.Streams.Ended != 1 || r.Deliveries.Total != 800-lost {
			t.Errorf("reconnect %v: %+v %+v", again, r.Sequence, r.Streams)
		}
		if (r.Streams.Reconnects == 1) != again {
			t.Errorf("reconnect %v: %d reconnects", again, r.Streams.Reconnects)
		}
	}
}

// TestBadServers are told as they are, and end the run quickly.
func TestBadServers(t *testing.T) {
	for _, c := range []struct {
		name, base, want string
	}{
		{"404", raw(t, "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nno \x1b[31mway", false), "404: no"},
		{"redirect", raw(t, "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", false), "302 to /login"},
		{"not a stream", raw(t, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>", false), `200 with content type "text/html": <p>`},
		{"too many", raw(t, "HTTP/1.1 503 No\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n", false), "503 Retry-After 3"},
		{"reset", raw(t, "", true), "connect: "},
		{"silent end", raw(t, "", false), "connect: end of stream"},
		{"not HTTP", raw(t, "hello\r\n\r\n", false), "hello"},
		{"nobody", "http://127.0.0.1:1", "127.0.0.1:1: connect: connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := settings(t, c.base, run.Open)
			r := refused(t, s, c.want)
			var b strings.Builder
			if err := r.Table(&b); err != nil || strings.Contains(b.String(), "\x1b") {
				t.Errorf("table, %v:\n%q", err, b.String())
			}
		})
	}
}

// refused runs s, with which none of the 20 subscribers may connect, because of want.
func refused(t *testing.T, s *run.Settings, want string) *report.Result {
	t.Helper()
	if err := s.Prepare(files); err != nil {
		t.Fatal(err)
	}
	r, err := run.Run(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "no subscriber could connect") || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	if r == nil || r.Connect.Failed != 20 || r.Connect.Connected != 0 {
		t.Fatalf("result %+v", r)
	}
	return r
}

// TestBrokenStreams ends subscribers that were subscribed: by a reset, and by a broken transfer coding.
func TestBrokenStreams(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	for _, base := range []string{raw(t, head+"Transfer-Encoding: chunked\r\n\r\nzz\r\n", false), raw(t, head+"\r\n: x\n\n", true)} {
		s := settings(t, base, run.Ramp)
		s.Rate, s.Duration = 0, 100*time.Millisecond
		r := carryOut(t, s)
		if r.Streams.Ended+r.Connect.Failed != 20 || len(r.Errors) == 0 {
			t.Errorf("streams %+v, connect %+v, errors %v", r.Streams, r.Connect, r.Errors)
		}
	}
}

func TestInterruptedRunReports(t *testing.T) {
	s := settings(t, newBroker(t, nil).URL, run.Open)
	s.Events, s.Duration, s.Rate = 0, time.Hour, 50
	if err := s.Prepare(files); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.Progress = func(p run.Progress) {
		if p.Point.Delivered > 100 {
			cancel()
		}
	}
	r, err := run.Run(ctx, s)
	if err == nil || !r.Interrupted || r.Deliveries.Total < 100 {
		t.Errorf("error %v, result %+v", err, r)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for want, change := range map[string]func(*run.Settings){
		"not a loopback address": func(s *run.Settings) { s.Plan.Base = "http://192.0.2.1:80" },
		"no URL is":              func(s *run.Settings) { s.Plan.Trust.Insecure = true },
		"--ca: open /nowhere":    func(s *run.Settings) { s.Plan.Base = "https://127.0.0.1"; s.Plan.Trust.CA = "/nowhere" },
		"has no certificate":     func(s *run.Settings) { s.Plan.Base = "https://127.0.0.1"; s.Plan.Trust.CA = os.DevNull },
		"contradict": func(s *run.Settings) {
			s.Plan.Base, s.Plan.Trust = "https://127.0.0.1", plan.Trust{CA: "/a", Insecure: true}
		},
		"--rate 0":             func(s *run.Settings) { s.Rate = 0 },
		"--subscribers 0":      func(s *run.Settings) { s.Plan.Subscribers = 0 },
		"--publish is missing": func(s *run.Settings) { s.Plan.Publish.URL = "" },
		"--ready":              func(s *run.Settings) { s.Plan.Ready = "soon" },
		"--duration":           func(s *run.Settings) { s.Duration = 0 },
		"--key":                func(s *run.Settings) { s.Plan.Key = "{{.Nothing}}" },
		"raise it":             func(s *run.Settings) { s.Plan.Publishers = 1000; s.Plan.Subscribers = 1; s.Plan.Keys = 1 },
	} {
		s := settings(t, "http://127.0.0.1:9", run.Open)
		change(s)
		if err := s.Prepare(1000); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
