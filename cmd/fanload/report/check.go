package report

import (
	"slices"
	"strings"
)

// fault is a counter of what goes wrong. A server without fault has 0 of each.
type fault struct {
	name  string
	value func(*Result) int64
	free  func(*Result) bool // whether a run may have some and be good nevertheless; nil: never
}

// faults in the order of a report. Those that k6/x/sse has, too, have its names.
var faults = []fault{
	{name: connectMetric, value: connectFailed("")},
	{name: "sse_disconnects", value: func(r *Result) int64 { return r.Streams.Ended }, free: func(r *Result) bool { return r.Plan.Reconnect }},
	{name: "sse_lost", value: func(r *Result) int64 { return r.Sequence.Lost - r.Sequence.Undelivered }},
	{name: "sse_undelivered", value: func(r *Result) int64 { return r.Sequence.Undelivered }},
	{name: "sse_duplicate", value: func(r *Result) int64 { return r.Sequence.Duplicated }},
	{name: "sse_reordered", value: func(r *Result) int64 { return r.Sequence.OutOfOrder }},
	{name: "sse_misrouted", value: func(r *Result) int64 { return r.Sequence.Misrouted }},
	{name: "sse_malformed", value: func(r *Result) int64 { return r.Sequence.Malformed }},
	{name: "events_unsent", value: func(r *Result) int64 { return r.Publish.Unsent }},
	{name: "events_unanswered", value: func(r *Result) int64 { return r.Publish.Unanswered }},
	{name: "events_refused", value: func(r *Result) int64 { return r.Publish.Refused }},
}

// Check fills Counters, when all else is there, and Checks, if the run is to fail by them: with each fault that there is, but
// those that a threshold of the run's own is about.
func (r *Result) Check(fails bool, own []Threshold) {
	r.Counters = Counters{}
	for _, f := range faults {
		n := f.value(r)
		r.Counters[f.name] = n
		if f.name == connectMetric {
			n -= r.checkReasons(own)
		}
		free := f.free != nil && f.free(r)
		if n > 0 && fails && !free && !named(own, f.name) {
			r.Checks = append(r.Checks, Verdict{Threshold: f.name + "==0", Value: float64(n), Shown: number(float64(n))})
		}
	}
}

// checkReasons counts the attempts by reason, and returns how many a threshold of the run's own is about.
func (r *Result) checkReasons(own []Threshold) (named int64) {
	for reason, n := range r.Connect.Failures {
		r.Counters[tagged(reason)] = n
		for _, t := range own {
			if why, ok := reasonOf(t.name); ok && why == reason {
				named += n
				break
			}
		}
	}
	return named
}

// named tells whether a threshold is about a metric.
func named(own []Threshold, metric string) bool {
	return slices.ContainsFunc(own, func(t Threshold) bool { return t.name == metric })
}

// connectMetric has a tag reason: sse_connect_failed{reason:timeout}.
const connectMetric = "sse_connect_failed"

func tagged(reason string) string { return connectMetric + "{reason:" + reason + "}" }

// connectFailed counts the attempts that failed for a reason; "": for any.
func connectFailed(reason string) func(*Result) int64 {
	return func(r *Result) (n int64) {
		for why, failed := range r.Connect.Failures {
			if reason == "" || why == reason {
				n += failed
			}
		}
		return n
	}
}

// reasonOf is the reason in a tagged name of connectMetric; the tag's name may be left out.
func reasonOf(metric string) (reason string, ok bool) {
	rest, ok := strings.CutPrefix(metric, connectMetric+"{")
	return strings.TrimPrefix(strings.TrimSuffix(rest, "}"), "reason:"), ok
}
