package chaos_test

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// metric is the sum of a metric over the nodes that run, of all labels that contain with.
func (f *fleet) metric(name, with string) (sum float64) {
	f.t.Helper()
	for _, n := range f.nodes {
		if n.Ended() {
			continue
		}
		_, text := n.Get("/metrics")
		found := false
		for line := range strings.Lines(text) {
			if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
				found = true
				if v, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(strings.TrimSpace(line), ' ')+1:]), 64); err == nil && strings.Contains(rest, with) {
					sum += v
				}
			}
		}
		if !found {
			f.t.Errorf("no metric %s", name)
		}
	}
	return sum
}

// cpu is the processor time that a process has used.
func cpu(t *testing.T, p *proctest.Process) time.Duration {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/stat", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	line, _ := bufio.NewReader(file).ReadString('\n')
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	user, _ := strconv.Atoi(fields[11]) // the kernel counts in 10 ms
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// TestStorm kills a node whose clients go to the others within 10 s, under load. As long as the rings have what they missed, the
// broker is not asked for it. If the rings have too little, a few fetches serve all.
func TestStorm(t *testing.T) {
	subscribers, workers, spread := 300, 0, 2*time.Second
	if long {
		subscribers, workers, spread = 18000, 2, 10*time.Second
	}
	pause := 100 * time.Millisecond
	if long {
		pause = 500 * time.Millisecond
	}
	for name, history := range map[string]int{"within history": 1024, "history too short": 2} {
		t.Run(name, func(t *testing.T) {
			f := newNATSFleet(t, 1, 3, "--history", fmt.Sprint(history))
			f.start(load{subscribers: subscribers, workers: workers, perStream: 1, keys: 20, pause: pause, pin: 1})
			f.flows(3)
			for _, w := range f.watchers {
				w.Spread(spread)
			}
			moved, fetched, used := f.status().Streams, f.metric("fanfare_log_older_total", "fetched"), cpu(t, f.broker.Process)
			begin := time.Now()
			f.nodes[0].Kill()
			eventually.Holds(t, "all have a stream again", func() (bool, string) {
				st := f.status()
				return st.Open == subscribers && st.Streams-moved >= int64(subscribers), fmt.Sprintf("%+v", st)
			})
			took := time.Since(begin)
			f.flows(3)
			fetched, used = f.metric("fanfare_log_older_total", "fetched")-fetched, cpu(t, f.broker.Process)-used
			t.Logf("%d clients moved within %s: %.0f fetches from the log, %s of the broker's processor time", subscribers, took.Round(time.Millisecond), fetched, used)
			if history > 1000 && fetched > 0 {
				t.Errorf("%.0f fetches from the log: the rings have everything", fetched)
			}
			if history < 1000 && fetched == 0 {
				t.Errorf("no fetch from the log: nothing was tested")
			}
			if history > 1000 {
				f.finish()
			} else {
				f.finish("lag") // a ring that is so short may overtake a client that reads
			}
		})
	}
}

// TestLarge is a load of 54,000 subscribers on three nodes. The broker is killed, and some of the clients move: as many as the nodes
// have sockets for.
func TestLarge(t *testing.T) {
	if os.Getenv("FANFARE_CHAOS") == "" {
		t.Skip("needs some gigabytes: scripts/chaos.sh runs it")
	}
	f := newNATSFleet(t, 1, 3)
	f.start(load{subscribers: 54000, workers: 4, perStream: 1, keys: 100, pause: 4 * time.Second, spread: 10 * time.Second, silence: 2 * time.Minute})
	f.flows(3)
	f.broker.Kill()
	f.broker.Start()
	f.flows(3)
	for _, w := range f.watchers {
		w.Move(0.02)
	}
	eventually.Holds(t, "all have a stream again", func() (bool, string) {
		st := f.status()
		return st.Open == 54000, fmt.Sprintf("%+v", st)
	})
	f.flows(3)
	f.finish()
}
