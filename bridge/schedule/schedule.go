package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/bridge/payload"
	"fanfare/codec"
	"fanfare/engine"
)

// Schedule says what is published, and when. It must not be changed once it was applied.
type Schedule struct {
	// Name tells schedules apart: in logs and metrics, and when others are applied.
	Name string

	// Every is the time from one run to the next; more than 0 unless Cron is set.
	Every time.Duration
	// Cron is an expression for ParseCron, in Timezone. Used if Every is 0.
	Cron, Timezone string
	// Immediate adds a run when the schedule begins.
	Immediate bool

	// Key is the key to publish to. Not used with All.
	Key string
	// All publishes to every key that exists.
	All bool

	// Data is published as it is, unless Command or URL is set.
	Data []byte
	// Command is a program and its arguments, whose standard output is published.
	Command []string
	// URL is what a GET asks for, with the fields of Header; the body of a 2xx answer is published.
	URL    string
	Header http.Header

	// Payload says what the bytes mean. Of the output of a command and the body of an answer line ends at their end are
	// left out first, and nothing is published where nothing is left.
	Payload payload.Mode
	// Event and Retry are the event's where the payload has none: its name, and digits for a number of milliseconds.
	Event, Retry string
	// Timeout bounds a command or a request. 0 means 10 s.
	Timeout time.Duration
	// MaxBytes bounds what a command writes or a body holds. 0 means 256 KiB.
	MaxBytes int64

	// OnlyChanged publishes only what differs from what the schedule has published last.
	OnlyChanged bool
	// SkipIdle runs nothing while nobody is subscribed.
	SkipIdle bool
}

// Options are what a Runner needs from around it. Publish, PublishAll and Watched are called from several goroutines.
type Options struct {
	Publish    func(key string, ev codec.Event) (engine.Published, error)
	PublishAll func(ev codec.Event) (keys, subscribers int, err error)
	// Watched reports whether somebody is subscribed to the key, or with all to any. Asked for SkipIdle only.
	Watched func(key string, all bool) bool
	// Registerer gets the metrics. Default none.
	Registerer prometheus.Registerer
	// Logger gets what fails. Default slog.Default().
	Logger *slog.Logger
}

// Runner runs schedules. Its methods may be called concurrently.
type Runner struct {
	o       Options
	metrics *metrics
	client  *http.Client

	mu     sync.Mutex
	jobs   map[string]*job
	closed bool
}

// New returns a runner without schedules. Errors are those of Options.Registerer.
func New(o Options) (*Runner, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	r := &Runner{o: o, metrics: newMetrics(), client: newClient(), jobs: make(map[string]*job)}
	if o.Registerer != nil {
		if err := o.Registerer.Register(r.metrics); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Apply makes the schedules those that run. One that runs already and is the same in every field goes on undisturbed; one
// that has changed begins anew, and one that is gone ends: a run under way is given up, and has ended when Apply returns.
// On an error, which names the schedule, nothing changes. After Close it does nothing.
func (r *Runner) Apply(schedules []Schedule) error {
	fresh := make(map[string]*job, len(schedules))
	for _, s := range schedules {
		j, err := r.newJob(s)
		if err == nil && fresh[s.Name] != nil {
			err = errors.New("there is another of this name")
		}
		if err != nil {
			return fmt.Errorf("schedule %q: %w", s.Name, err)
		}
		fresh[s.Name] = j
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	var ended []*job
	for name, old := range r.jobs {
		if j := fresh[name]; j != nil && reflect.DeepEqual(j.Schedule, old.Schedule) {
			delete(fresh, name)
			continue
		}
		ended = append(ended, old)
		delete(r.jobs, name)
	}
	end(ended)
	for _, old := range ended {
		if fresh[old.Name] == nil {
			r.metrics.forget(old.Name)
		}
	}
	for name, j := range fresh {
		r.jobs[name] = j
		r.metrics.begin(name)
		ctx, cancel := context.WithCancel(context.Background())
		j.cancel = cancel
		go j.loop(ctx)
	}
	r.metrics.schedules.Set(float64(len(r.jobs)))
	return nil
}

// end has the jobs give up, all at once, and waits until they have.
func end(jobs []*job) {
	for _, j := range jobs {
		j.cancel()
	}
	for _, j := range jobs {
		<-j.done
	}
}

// Close ends all schedules: runs under way are given up. Nothing is published once it has returned.
func (r *Runner) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var all []*job
	for _, j := range r.jobs {
		all = append(all, j)
	}
	end(all)
	clear(r.jobs)
	r.metrics.schedules.Set(0)
	r.client.CloseIdleConnections()
}
