//go:build linux

package run

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/publish"
	"fanfare/cmd/fanload/report"
	"fanfare/cmd/fanload/swarm"
	"fanfare/cmd/fanload/team"
)

// sampler records the timeline and shows progress.
type sampler struct {
	team   *team.Team
	tree   *measure.Tree      // nil: no server processes to measure
	pub    *publish.Publisher // nil: nothing is published
	every  time.Duration
	show   func(Progress)
	begun  int64
	behind int64 // delay after the workers' statuses, in microseconds
	quit   chan struct{}
	once   sync.Once
	wait   sync.WaitGroup

	mu      sync.Mutex
	points  []sample
	now     string // the phase
	opened  int64  // when the phase after connecting began
	last    measure.Usage
	ended   error  // the server's process has ended
	pending func() // to call at due
	due     int64
}

// serverEnded returns an error if the server's process has ended.
func (s *sampler) serverEnded() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// sample is a point with all latencies since the previous point. To merge two points, their percentiles are not enough.
type sample struct {
	report.Point
	window measure.Profile
}

func newSampler(t *team.Team, tree *measure.Tree, pub *publish.Publisher, s *Settings, begun int64) *sampler {
	return &sampler{team: t, tree: tree, pub: pub, every: s.Sample, show: s.Progress, begun: begun, behind: s.Plan.Status.Microseconds() / 2, quit: make(chan struct{})}
}

func (s *sampler) start() { s.wait.Go(s.run) }

func (s *sampler) stop() {
	s.once.Do(func() { close(s.quit) })
	s.wait.Wait()
}

func (s *sampler) phase(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == "connect" {
		s.opened = measure.Now()
	}
	s.now = name
}

// connectSeconds is the duration of the connect phase, to a tenth of a second.
func (s *sampler) connectSeconds() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened == 0 {
		return 0
	}
	return float64(s.opened-s.begun) / 1e6
}

// at calls f at a time of measure.Now, from the sampler's goroutine.
func (s *sampler) at(due int64, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending, s.due = f, due
}

// usage returns the server's usage now, or the last known one if the server has ended.
func (s *sampler) usage() measure.Usage {
	if s.tree == nil {
		return measure.Usage{}
	}
	u, err := s.tree.Usage()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if s.ended == nil {
			s.ended = err
		}
		return s.last
	}
	s.last = u
	return u
}

func (s *sampler) run() {
	every := s.every
	t := time.NewTimer(0)
	defer t.Stop()
	var delivered int64
	var before float64
	for {
		select {
		case <-s.quit:
			return
		case <-t.C:
		}
		p := s.sample()
		every = s.keep(p, every)
		s.tell(p.Point, delivered, before)
		delivered, before = p.Delivered, p.At
		t.Reset(s.next(every))
	}
}

// next is the time until the next sample or the pending call.
func (s *sampler) next(every time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Sample at whole multiples of every, half a status interval after the workers report.
	now := measure.Now()
	wait := time.Duration(every.Microseconds()-(now-s.behind)%every.Microseconds()) * time.Microsecond
	if s.pending != nil {
		return max(time.Millisecond, min(wait, time.Duration(s.due-now)*time.Microsecond))
	}
	return max(time.Millisecond, wait)
}

func (s *sampler) sample() sample {
	s.mu.Lock()
	f := s.pending
	if f != nil && measure.Now() >= s.due {
		s.pending = nil
	} else {
		f = nil
	}
	s.mu.Unlock()
	if f != nil {
		f()
	}
	c := s.team.Counts()
	return s.point(&c, s.usage())
}

// finish adds the point after the last sample. The sampler must be stopped.
func (s *sampler) finish(c swarm.Counts, open int64, u measure.Usage) {
	c.Open = open
	s.keep(s.point(&c, u), s.every)
}

func (s *sampler) point(c *swarm.Counts, u measure.Usage) sample {
	w := s.team.Window()
	p := report.Point{
		At: float64(measure.Now()-s.begun) / 1e6, Open: c.Open, Delivered: c.Delivered, Lost: c.Lost, RSS: u.Resident, CPU: u.CPU,
		Latency: w.Spread(),
	}
	if s.pub != nil {
		r := s.pub.Recent()
		p.Published, p.Late = r.Events, r.Late
	}
	return sample{p, w}
}

// keep adds a point. When the timeline is full, it merges each two points and halves the sampling rate.
func (s *sampler) keep(p sample, every time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.points) >= maxPoints {
		for i := range maxPoints / 2 {
			s.points[i] = s.points[2*i].then(s.points[2*i+1])
		}
		clear(s.points[maxPoints/2:])
		s.points = s.points[:maxPoints/2]
		every *= 2
	}
	s.points = append(s.points, p)
	return every
}

// then merges two points. Most figures count from the run's beginning; the others cover both points.
func (p sample) then(q sample) sample {
	q.window = p.window.Merge(q.window)
	q.Latency, q.Late = q.window.Spread(), max(p.Late, q.Late)
	return q
}

func (s *sampler) tell(p report.Point, delivered int64, before float64) {
	if s.show == nil {
		return
	}
	c := s.team.Counts()
	g := Progress{Elapsed: time.Duration(p.At * float64(time.Second)), Point: p, Failed: c.Failed, Ended: c.Ended}
	if p.At > before {
		g.Rate = float64(p.Delivered-delivered) / (p.At - before)
	}
	s.mu.Lock()
	g.Phase = s.now
	s.mu.Unlock()
	s.show(g)
}

func (s *sampler) timeline() []report.Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	points := make([]report.Point, len(s.points))
	for i, p := range s.points {
		points[i] = p.Point
	}
	return points
}

// machine describes the machine.
func machine() report.Machine {
	m := report.Machine{CPUs: runtime.NumCPU(), Go: runtime.Version()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	m.CPU = field("/proc/cpuinfo", "model name")
	if kb, err := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		m.Memory = kb << 10
	}
	return m
}

// field returns the value of a field in a file of "name : value" lines.
func field(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
