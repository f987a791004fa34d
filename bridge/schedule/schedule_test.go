package schedule

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"fanfare/codec"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// record is what a test's server was given.
type record struct {
	mu       sync.Mutex
	events   []string
	messages []string
	begin    time.Time
	slow     time.Duration // how long a publish takes
	fail     error
	idle     bool
}

func (r *record) publish(message, key string, ev codec.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, message)
	if r.fail != nil {
		return r.fail
	}
	text := fmt.Sprintf("%s %s=%s", time.Since(r.begin), key, ev.Data)
	for name, value := range map[string]string{"event": ev.Event, "id": ev.ID, "retry": ev.Retry} {
		if value != "" {
			text += " " + name + ":" + value
		}
	}
	r.events = append(r.events, text)
	time.Sleep(r.slow)
	return nil
}

func (r *record) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

// rig is a runner whose events are recorded.
type rig struct {
	*Runner
	*record
	t        *testing.T
	registry *prometheus.Registry
	log      *proctest.Log
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newFleetRig(t, 0)
}

// newFleetRig is newRig for a server of a fleet with this Window.
func newFleetRig(t *testing.T, window time.Duration) *rig {
	t.Helper()
	rec := &record{begin: time.Now()}
	r := &rig{record: rec, t: t, registry: prometheus.NewRegistry(), log: new(proctest.Log)}
	var err error
	r.Runner, err = New(Options{
		Publish:    rec.publish,
		PublishAll: func(message string, ev codec.Event) error { return rec.publish(message, "*", ev) },
		Window:     window,
		Watched: func(key string, all bool) bool {
			rec.mu.Lock()
			defer rec.mu.Unlock()
			return !rec.idle
		},
		Registerer: r.registry,
		Logger:     slog.New(slog.NewTextHandler(r.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) apply(schedules ...Schedule) {
	r.t.Helper()
	if err := r.Apply(schedules); err != nil {
		r.t.Fatal(err)
	}
}

// metric returns the sum of a counter's series with this label value; of a histogram's, how often it was observed.
func (r *rig) metric(name, label string) (sum float64) {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			if label == "" || slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetValue() == label }) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func (r *rig) want(events ...string) {
	r.t.Helper()
	if got := r.take(); !slices.Equal(got, events) {
		r.t.Errorf("published %q, want %q", got, events)
	}
}

func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.Close()
		r.apply(
			Schedule{Name: "a", Every: 5 * time.Second, Key: "k", Data: []byte("x"), Event: "e", Retry: "3000"},
			Schedule{Name: "b", Every: 7 * time.Second, Immediate: true, All: true, Data: []byte(`{"data":{"n":1},"event":"own","id":"i"}`), Event: "e"},
		)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		want := []string{`0s *={"n":1} event:own id:i`, "5s k=x event:e retry:3000", `7s *={"n":1} event:own id:i`, "10s k=x event:e retry:3000"}
		got := r.take()
		for i, e := range got { // the fields come in any order
			f := strings.Fields(e)
			slices.Sort(f[2:])
			got[i] = strings.Join(f, " ")
		}
		if !slices.Equal(got, want) {
			t.Errorf("published %q, want %q", got, want)
		}
		if n := r.metric("fanfare_schedules", ""); n != 2 {
			t.Errorf("%v schedules", n)
		}
		if n := r.metric("fanfare_schedule_runs_total", "a"); n != 2 {
			t.Errorf("%v runs", n)
		}
		if n := r.metric("fanfare_schedule_seconds", "b"); n != 2 {
			t.Errorf("%v runs were timed", n)
		}
	})
}

// TestOverlap: a run that takes longer than the interval delays no other, and the times meanwhile are skipped.
func TestOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.slow = 2500 * time.Millisecond
		r.apply(Schedule{Name: "a", Every: time.Second, Key: "k", Data: []byte("x")})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.Close()
		r.want("1s k=x", "4s k=x", "7s k=x", "10s k=x")
		if n := r.metric("fanfare_schedule_skipped_total", "overlap"); n != 6 {
			t.Errorf("%v times were skipped, want 2, 3, 5, 6, 8 and 9 s", n)
		}
		time.Sleep(time.Hour)
		r.want()
	})
}

func TestApplyLeavesWhatIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.Close()
		keep := Schedule{Name: "keep", Every: 10 * time.Second, Key: "keep", Data: []byte("1")}
		change := Schedule{Name: "change", Every: 10 * time.Second, Key: "change", Data: []byte("1")}
		drop := Schedule{Name: "drop", Every: 10 * time.Second, Key: "drop", Data: []byte("1")}
		r.apply(keep, change, drop)
		time.Sleep(6 * time.Second)
		change.Data = []byte("2")
		r.apply(change, keep, Schedule{Name: "new", Cron: "17 * * * * *", Timezone: "UTC", Key: "new", Data: []byte("1")})
		time.Sleep(15 * time.Second)
		synctest.Wait()
		r.want("10s keep=1", "16s change=2", "17s new=1", "20s keep=1")
		if n := r.metric("fanfare_schedule_runs_total", "drop"); n != 0 {
			t.Error("a schedule that is gone still has metrics")
		}

		for _, bad := range [][]Schedule{
			{keep, keep},
			{{Every: time.Second}},
			{{Name: "x"}},
			{{Name: "x", Cron: "* * * * *", Timezone: "Nowhere/Land"}},
			{{Name: "x", Every: time.Second, MaxBytes: -1}},
		} {
			if err := r.Apply(bad); err == nil {
				t.Errorf("%+v is taken", bad)
			}
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.want("26s change=2", "30s keep=1")

		r.Close()
		r.apply(keep)
		time.Sleep(time.Hour)
		r.want()
	})
}

func TestOnlyChangedAndIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.Close()
		s := Schedule{Name: "a", Every: time.Second, Key: "k", Data: []byte("x"), OnlyChanged: true, SkipIdle: true}
		r.apply(s)
		r.record.mu.Lock()
		r.idle = true
		r.record.mu.Unlock()
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		r.want()
		if n := r.metric("fanfare_schedule_skipped_total", "idle"); n != 2 {
			t.Errorf("%v runs were skipped", n)
		}
		// What was refused has not been published, and comes again.
		r.record.mu.Lock()
		r.idle, r.fail = false, errors.New("maxKeys: the limit is reached")
		r.record.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.record.mu.Lock()
		r.fail = nil
		r.record.mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.want("5s k=x")
		if n := r.metric("fanfare_schedule_runs_total", resultUnchanged); n != 4 {
			t.Errorf("%v runs brought nothing new", n)
		}
		if n := r.metric("fanfare_schedule_failures_total", reasonPublish); n != 2 {
			t.Errorf("%v refusals", n)
		}
		log := r.log.String()
		if strings.Count(log, "a scheduled run failed") != 1 || !strings.Contains(log, `reason=publish error="maxKeys: the limit is reached"`) ||
			strings.Count(log, "a schedule works again") != 1 || !strings.Contains(log, "failures=2") {
			t.Errorf("the log is %s", log)
		}
	})
}

func TestPayloadThatIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.Close()
		r.apply(Schedule{Name: "a", Every: time.Second, Key: "k", Data: []byte(`{"data":1,"retry":"soon"}`)})
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		r.want()
		if n := r.metric("fanfare_schedule_failures_total", reasonPayload); n != 1 {
			t.Errorf("%v failures", n)
		}
	})
}

func TestRegistererRefusesASecondRunner(t *testing.T) {
	r := newRig(t)
	defer r.Close()
	if _, err := New(Options{Registerer: r.registry}); err == nil {
		t.Error("two runners in one registry")
	}
}

// waitFor polls until there are n events, and returns their data.
func (r *rig) waitFor(n int) (data []string) {
	r.t.Helper()
	eventually.Holds(r.t, fmt.Sprintf("%d events", n), func() (bool, string) {
		for _, e := range r.take() {
			_, e, _ = strings.Cut(e, " ")
			data = append(data, e)
		}
		return len(data) >= n, fmt.Sprintf("%d: %q; log: %s", len(data), data, r.log)
	})
	return data
}

// waitFailure polls until a run has failed for the reason, and returns the log.
func (r *rig) waitFailure(reason string) string {
	r.t.Helper()
	eventually.Holds(r.t, "a failure for the reason "+reason, func() (bool, string) {
		return r.metric("fanfare_schedule_failures_total", reason) > 0 && strings.Contains(r.log.String(), "reason="+reason), r.log.String()
	})
	return r.log.String()
}

// once is a schedule that runs at once, and then not for an hour.
func once(s Schedule) Schedule {
	s.Name, s.Key, s.Every, s.Immediate = "once", "k", time.Hour, true
	return s
}

func TestEnvironmentHidesSettings(t *testing.T) {
	got := environment([]string{"PATH=/bin", "FANFARE_PUBLISH_TOKEN=x", "FANFARE_LISTEN=:1", "HOME=/"})
	if !slices.Equal(got, []string{"PATH=/bin", "HOME=/"}) {
		t.Errorf("%q", got)
	}
}
