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
)

// Schedule says what to publish, and when. Do not change it after Apply.
type Schedule struct {
	// Name identifies the schedule in logs and metrics, and from one Apply to the next.
	Name string

	// Every is the interval between runs. It must be positive unless Cron is set.
	Every time.Duration
	// Cron and Timezone are the arguments of ParseCron. They are used if Every is 0.
	Cron, Timezone string
	// Immediate adds a run when the schedule begins.
	Immediate bool

	// Key is the key to publish to. It is not used with All.
	Key string
	// All publishes to every key that exists.
	All bool

	// Data is published as it is, unless Command or URL is set.
	Data []byte
	// Command is a program and its arguments. Its standard output is published.
	Command []string
	// URL is requested with GET and the fields of Header. The body of a 2xx response is published.
	URL    string
	Header http.Header

	// Payload says what the bytes mean. Line ends at the end of a command's output or a response's body are removed first.
	// If nothing is left, nothing is published.
	Payload payload.Mode
	// Event and Retry are used if the payload has none: the event's name, and the digits of a number of milliseconds.
	Event, Retry string
	// Timeout bounds a command or a request. 0 means 10 s.
	Timeout time.Duration
	// MaxBytes bounds the output of a command or the body of a response. 0 means 256 KiB.
	MaxBytes int64

	// OnlyChanged skips events that are equal to the last one that the schedule published.
	OnlyChanged bool
	// SkipIdle skips runs while nobody is subscribed.
	SkipIdle bool
}

// Options connects a Runner to a server. Publish, PublishAll and Watched are called from several goroutines.
type Options struct {
	// Publish and PublishAll publish an event. message identifies it: of several events with the same one, published by any
	// server of the fleet within Window, one is stored. It is "" for an event without a twin.
	Publish    func(message, key string, ev codec.Event) error
	PublishAll func(message string, ev codec.Event) error
	// Window is how long the fleet recognizes a message, if other servers run the same schedules: each of them publishes,
	// and one of the events is stored. 0 means that this server is alone.
	Window time.Duration
	// Watched reports whether anybody is subscribed to the key, or, with all, to any key. Only SkipIdle uses it.
	Watched func(key string, all bool) bool
	// Registerer registers the metrics. Nil: no metrics.
	Registerer prometheus.Registerer
	// Logger logs failures. Nil: slog.Default().
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

// New returns a runner without schedules. Its errors are those of Options.Registerer.
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

// Apply replaces the schedules. One that is already running with the same fields continues undisturbed. One that has changed
// starts over. One that is missing stops. Runs of the latter two that are under way are canceled, and have ended when Apply
// returns. If Apply returns an error, which names the schedule, nothing has changed. After Close, Apply does nothing.
func (r *Runner) Apply(schedules []Schedule) error {
	fresh := make(map[string]*job, len(schedules))
	for _, s := range schedules {
		j, err := r.newJob(s)
		if err == nil && fresh[s.Name] != nil {
			err = errors.New("another schedule has the same name")
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

// end cancels the jobs, all at once, and waits until they have ended.
func end(jobs []*job) {
	for _, j := range jobs {
		j.cancel()
	}
	for _, j := range jobs {
		<-j.done
	}
}

// Close stops all schedules and cancels the runs that are under way. After it has returned, nothing more is published.
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
