package sse

import (
	"context"
	"sync"
	"time"

	"go.k6.io/k6/lib"
	"go.k6.io/k6/metrics"
)

// reportEvery is how long samples are collected. k6 handles each container of samples separately, and a container for each event
// of ten thousand streams would cost more than the streams.
const reportEvery = 200 * time.Millisecond

// activeEvery is how often sse_active is reported while it is unchanged. k6 does the same with vus, because outputs such as
// Prometheus forget a value that is not repeated.
const activeEvery = time.Second

// reporter collects the samples of a VU's streams and passes them to k6. The counts of a time series become one sample.
type reporter struct {
	module  *Module
	metrics *sseMetrics
	ctx     context.Context // of the iteration
	out     chan<- metrics.SampleContainer
	root    *metrics.TagSet // of the test, for what is counted for the whole process

	mu      sync.Mutex // guards the fields below, and is never held while samples are pushed
	counts  map[metrics.TimeSeries]float64
	meta    map[string]string // metadata of the counts: that of the newest one
	samples metrics.Samples
	spare   int  // how many samples the last report had
	active  bool // the number of open streams has changed

	pushing sync.Mutex // one report at a time
	done    chan struct{}
	ended   sync.WaitGroup
}

// startReporter starts a reporter. end stops it.
func startReporter(ctx context.Context, module *Module, m *sseMetrics, state *lib.State) *reporter {
	r := &reporter{
		module: module, metrics: m, ctx: ctx, out: state.Samples, root: m.root.WithTagsFromMap(state.Options.RunTags),
		counts: make(map[metrics.TimeSeries]float64), done: make(chan struct{}),
	}
	r.ended.Go(r.loop)
	return r
}

func (r *reporter) loop() {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-tick.C:
			if r.ctx.Err() == nil {
				r.report()
			}
		}
	}
}

// end pushes the remaining samples. It is called while the iteration has a callback of the event loop or runs on it. So k6 still
// reads samples: it pushes its own ones later.
func (r *reporter) end() {
	close(r.done)
	r.ended.Wait()
	r.report()
}

// gather lets fill add to the report, with one lock for everything from one read of a stream.
func (r *reporter) gather(fill func(g gathering)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fill(gathering{r})
}

// gathering is a reporter whose lock is held.
type gathering struct{ r *reporter }

// count adds to a counter.
func (g gathering) count(m *metrics.Metric, tags *metrics.TagSet, meta map[string]string, n int64) {
	if n != 0 {
		g.r.counts[metrics.TimeSeries{Metric: m, Tags: tags}] += float64(n)
		g.r.meta = meta
	}
}

// seen adds the counts of sequences.
func (g gathering) seen(m *sseMetrics, tags *metrics.TagSet, meta map[string]string, n counts) {
	g.count(m.lost, tags, meta, n.lost)
	g.count(m.duplicate, tags, meta, n.duplicate)
	g.count(m.reordered, tags, meta, n.reordered)
}

// sample adds a value of a trend or a rate.
func (g gathering) sample(m *metrics.Metric, tags *metrics.TagSet, meta map[string]string, at time.Time, value float64) {
	if g.r.samples == nil {
		g.r.samples = make(metrics.Samples, 0, g.r.spare)
	}
	g.r.samples = append(g.r.samples, metrics.Sample{
		TimeSeries: metrics.TimeSeries{Metric: m, Tags: tags}, Time: at, Value: value, Metadata: meta,
	})
}

// attempt counts an attempt to open a stream. c is nil if there was no response.
func (g gathering) attempt(m *sseMetrics, t metrics.TagsAndMeta, c *connection, err error, begin time.Time) {
	now, status, success, took, result := time.Now(), "0", 0.0, time.Since(begin), "failed"
	if c != nil {
		status = statusText(c.status)
	}
	if err == nil {
		success, took, result = 1, c.opened.Sub(c.start), "open"
		g.opened(1)
	} else {
		g.count(m.connectFailed, t.Tags.With("reason", failureOf(err)), t.Metadata, 1)
	}
	g.sample(m.connectSuccess, t.Tags.With("status", status), t.Metadata, now, success)
	g.sample(m.connecting, t.Tags.With("result", result), t.Metadata, now, metrics.D(took))
}

// opened adds n to the number of open streams.
func (g gathering) opened(n int64) {
	g.r.module.active.Add(n)
	g.r.active = true
}

func (r *reporter) report() {
	r.pushing.Lock()
	defer r.pushing.Unlock()
	now := time.Now()

	r.mu.Lock()
	samples, active := r.samples, r.active
	for series, n := range r.counts {
		samples = append(samples, metrics.Sample{TimeSeries: series, Time: now, Value: n, Metadata: r.meta})
	}
	clear(r.counts)
	r.spare = len(r.samples)
	r.samples, r.active = nil, false
	r.mu.Unlock()

	if len(samples) > 0 {
		r.out <- samples // k6 reads until the iteration is over
	}
	r.module.gaugeMu.Lock()
	defer r.module.gaugeMu.Unlock()
	if active || now.Sub(r.module.gaugeAt) >= activeEvery {
		r.module.gaugeAt = now
		r.out <- metrics.Sample{
			TimeSeries: metrics.TimeSeries{Metric: r.metrics.active, Tags: r.root}, Time: now,
			Value: float64(r.module.active.Load()),
		}
	}
}
