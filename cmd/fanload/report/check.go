package report

// fault is a counter of what goes wrong. A server without fault has 0 of each.
type fault struct {
	name  string
	value func(*Result) int64
	free  func(*Result) bool // whether a run may have some and be good nevertheless; nil: never
}

// faults in the order of a report. Those that k6/x/sse has, too, have its names.
var faults = []fault{
	{name: "sse_connect_failed", value: func(r *Result) int64 { return r.Connect.Failed + r.Streams.ReconnectFailed }},
	{name: "sse_disconnects", value: func(r *Result) int64 { return r.Streams.Ended }, free: func(r *Result) bool { return r.Plan.Reconnect }},
	{name: "sse_lost", value: func(r *Result) int64 { return r.Sequence.Lost - r.Sequence.Undelivered }},
	{name: "sse_undelivered", value: func(r *Result) int64 { return r.Sequence.Undelivered }},
	{name: "sse_duplicate", value: func(r *Result) int64 { return r.Sequence.Duplicated }},
	{name: "sse_reordered", value: func(r *Result) int64 { return r.Sequence.OutOfOrder }},
	{name: "sse_misrouted", value: func(r *Result) int64 { return r.Sequence.Misrouted }},
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
		if r.Counters[f.name] = n; n == 0 || !fails || f.free != nil && f.free(r) {
			continue
		}
		if !named(own, f.name) {
			r.Checks = append(r.Checks, Verdict{Threshold: f.name + "==0", Value: float64(n), Shown: number(float64(n))})
		}
	}
}

func named(thresholds []Threshold, metric string) bool {
	for _, t := range thresholds {
		if t.name == metric {
			return true
		}
	}
	return false
}
