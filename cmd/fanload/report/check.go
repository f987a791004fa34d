package report

import (
	"slices"
	"strings"
)

// fault is a counter of something that goes wrong. A server without faults has 0 of each.
type fault struct {
	name  string
	value func(*Result) int64
	free  func(*Result) bool // whether the fault is allowed in this run; nil: never
}

// faults are in the order of a report. Those that k6/x/sse also has have the same names.
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

// Check sets Counters, from the other fields. If fails is set, it also sets Checks, to the faults of the run. It leaves out
// faults for which the run has its own threshold.
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

// checkReasons counts the failed attempts by reason. It returns how many of them have the run's own threshold.
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

// named reports whether there is a threshold for the metric.
func named(own []Threshold, metric string) bool {
	return slices.ContainsFunc(own, func(t Threshold) bool { return t.name == metric })
}

// connectMetric has the tag reason: sse_connect_failed{reason:timeout}.
const connectMetric = "sse_connect_failed"

func tagged(reason string) string { return connectMetric + "{reason:" + reason + "}" }

// connectFailed counts the attempts that failed for a reason, or, with "", for any.
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

// reasonOf returns the reason in a tagged name of connectMetric. The tag's name may be left out.
func reasonOf(metric string) (reason string, ok bool) {
	rest, ok := strings.CutPrefix(metric, connectMetric+"{")
	return strings.TrimPrefix(strings.TrimSuffix(rest, "}"), "reason:"), ok
}
