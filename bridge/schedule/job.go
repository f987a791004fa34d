package schedule

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"fanfare/bridge/payload"
	"fanfare/codec"
)

const (
	defaultTimeout  = 10 * time.Second
	defaultMaxBytes = 256 << 10
)

// job is a schedule that is running. The fields after done belong to its goroutine.
type job struct {
	Schedule
	r      *Runner
	times  times
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended

	published [sha256.Size]byte // digest of the event published last, for OnlyChanged; zero before the first
	failing   string            // the reason of the last run's failure, "" if it succeeded
	failures  int               // in a row
}

func (r *Runner) newJob(s Schedule) (*job, error) {
	j := &job{Schedule: s, r: r, done: make(chan struct{})}
	switch {
	case s.Name == "":
		return nil, errors.New("the name is missing")
	case s.Every < 0 || s.Timeout < 0 || s.MaxBytes < 0:
		return nil, errors.New("interval, timeout and size limit must not be negative")
	case s.Every > 0 && r.o.Window > 0:
		j.times = grid(s.Every)
	case s.Every > 0:
		j.times = interval(s.Every)
	default:
		cron, err := ParseCron(s.Cron, s.Timezone)
		if err != nil {
			return nil, err
		}
		j.times = cron
	}
	return j, nil
}

// loop waits for each time and runs the schedule, until ctx is done.
func (j *job) loop(ctx context.Context) {
	defer close(j.done)
	last := time.Now()
	if j.Immediate {
		j.run(ctx, time.Time{})
	}
	for ctx.Err() == nil {
		next, skipped := upcoming(j.times, last, time.Now())
		if skipped > 0 {
			j.r.metrics.skipped.WithLabelValues(j.Name, "overlap").Add(float64(skipped))
			j.r.o.Logger.Debug("a scheduled run took longer than the time until the next one: runs are skipped", "schedule", j.Name, "skipped", skipped)
		}
		if next.IsZero() {
			j.r.o.Logger.Info("a schedule has ended: its cron expression has no further time", "schedule", j.Name)
			return
		}
		if next = wait(ctx, j.times, next); ctx.Err() != nil {
			return
		}
		j.run(ctx, next)
		last = next
	}
}

// failure is the reason why a run published nothing.
type failure struct {
	reason string // one of the constants reason…
	err    error
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// The results of a run, as they appear in metrics.
const (
	resultPublished = "published"
	resultUnchanged = "unchanged"
	resultEmpty     = "empty"
	resultFailed    = "failed"
)

// run fetches and publishes once. at is the time for which it runs, or zero if that is not one of its times.
func (j *job) run(ctx context.Context, at time.Time) {
	m := j.r.metrics
	if j.SkipIdle && !j.r.o.Watched(j.Key, j.All) {
		m.skipped.WithLabelValues(j.Name, "idle").Inc()
		return
	}
	start := time.Now()
	result, err := j.publish(ctx, at)
	if ctx.Err() != nil && err != nil {
		return // canceled, which is not a failure
	}
	if errors.Is(err, errLate) {
		m.skipped.WithLabelValues(j.Name, "late").Inc()
		j.r.o.Logger.Debug("a scheduled run was late: another server has published", "schedule", j.Name)
		return
	}
	m.seconds.WithLabelValues(j.Name).Observe(time.Since(start).Seconds())
	var f *failure
	if errors.As(err, &f) {
		result = resultFailed
		m.failures.WithLabelValues(j.Name, f.reason).Inc()
	} else {
		m.success.WithLabelValues(j.Name).SetToCurrentTime()
	}
	m.runs.WithLabelValues(j.Name, result).Inc()
	j.report(f)
}

// report logs changes only, so a source that fails every second does not fill the disk.
func (j *job) report(f *failure) {
	log := j.r.o.Logger.With("schedule", j.Name)
	switch {
	case f == nil && j.failing != "":
		log.Info("a schedule works again", "failures", j.failures)
		j.failing, j.failures = "", 0
	case f == nil:
	default:
		j.failures++
		level := slog.LevelDebug
		if f.reason != j.failing {
			level = slog.LevelWarn
		}
		j.failing = f.reason
		log.Log(context.Background(), level, "a scheduled run failed: nothing is published", "reason", f.reason, "error", f.err)
	}
}

// errLate says that a run has no result because it was too late, see tooLate.
var errLate = errors.New("late")

// tooLate reports whether an event for the time at could be stored a second time. The other servers of the fleet publish
// theirs at about the time at, and the fleet recognizes this one as the same for Window after that. A server that was stopped
// for longer, and continues within a run, must not publish. A quarter of Window is left for clocks that differ.
func (j *job) tooLate(at time.Time) bool {
	return j.r.o.Window > 0 && !at.IsZero() && time.Since(at.Round(0)) > j.r.o.Window/4*3
}

// message identifies the event of the time at on all servers of the fleet.
func (j *job) message(at time.Time) string {
	if at.IsZero() || j.r.o.Window == 0 {
		return ""
	}
	return "s:" + j.Name + ":" + strconv.FormatInt(at.UnixMilli(), 10)
}

// publish fetches the payload, decodes it, and publishes the event.
func (j *job) publish(ctx context.Context, at time.Time) (result string, err error) {
	if j.tooLate(at) {
		return "", errLate // do not fetch in vain
	}
	body, err := j.fetch(ctx)
	if err != nil {
		return "", err
	}
	if j.fetches() {
		if body = bytes.TrimRight(body, "\r\n"); len(body) == 0 {
			return resultEmpty, nil
		}
	}
	ev, err := payload.Decode(body, j.Payload)
	if err != nil {
		return "", &failure{reasonPayload, err}
	}
	ev.Event, ev.Retry = cmp.Or(ev.Event, j.Event), cmp.Or(ev.Retry, j.Retry)
	sum := sumOf(ev)
	if j.OnlyChanged && sum == j.published {
		return resultUnchanged, nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if j.tooLate(at) {
		return "", errLate
	}
	if j.All {
		err = j.r.o.PublishAll(j.message(at), ev)
	} else {
		err = j.r.o.Publish(j.message(at), j.Key, ev)
	}
	if err != nil {
		return "", &failure{reasonPublish, err}
	}
	j.published = sum
	return resultPublished, nil
}

// sumOf is a digest that tells events apart.
func sumOf(ev codec.Event) [sha256.Size]byte {
	h := sha256.New()
	for _, field := range []string{ev.Event, ev.ID, ev.Retry} {
		fmt.Fprintf(h, "%d %s", len(field), field)
	}
	h.Write(ev.Data)
	return [sha256.Size]byte(h.Sum(nil))
}

// fetches reports whether the payload comes from a command or a URL, and not from Data.
func (j *job) fetches() bool { return j.Command != nil || j.URL != "" }

// fetch returns the payload. Its errors are of type *failure unless ctx is done.
func (j *job) fetch(ctx context.Context) ([]byte, error) {
	if !j.fetches() {
		return j.Data, nil
	}
	timeout, limit := cmp.Or(j.Timeout, defaultTimeout), cmp.Or(j.MaxBytes, defaultMaxBytes)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, &failure{reasonTimeout, fmt.Errorf("the run took longer than %s: raise timeout", timeout)})
	defer cancel()
	if j.Command != nil {
		return command(ctx, j.Command, limit)
	}
	return j.r.get(ctx, j.URL, j.Header, limit)
}

// tooLarge is the failure of a payload over the limit.
func tooLarge(limit int64) error {
	return &failure{reasonSize, fmt.Errorf("the payload has more than %d bytes: raise maxBytes", limit)}
}

// fetchError returns the failure of a fetch that ended with err. If ctx is done, its cause is the failure.
func fetchError(ctx context.Context, reason string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{reason, err}
}
