package report

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"fanfare/cmd/fanload/plan"
)

// Threshold is a condition on a result, such as p99<50ms.
type Threshold struct {
	Text   string
	name   string
	metric metric
	op     string
	limit  float64 // in the metric's unit: microseconds, bytes, plain
}

// Verdict says whether a threshold held.
type Verdict struct {
	Threshold string  `json:"threshold"`
	Value     float64 `json:"value"` // microseconds for durations, bytes for sizes
	Shown     string  `json:"shown"`
	Held      bool    `json:"held"`
}

var thresholdForm = regexp.MustCompile(`^\s*([a-z_0-9.]+(?:\{[a-z:]+\})?)\s*(<=|>=|==|!=|<|>|=)\s*([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-zµμ%/]*)\s*$`)

// percentile accepts p99.9 for p999.
var percentile = strings.NewReplacer("p99.99", "p9999", "p99.9", "p999")

var scales = map[unit]map[string]float64{
	count:   {"": 1, "k": 1e3, "M": 1e6, "G": 1e9},
	perTime: {"": 1, "/s": 1, "k": 1e3, "M": 1e6, "k/s": 1e3, "M/s": 1e6},
	micros:  {"ns": 1e-3, "us": 1, "µs": 1, "μs": 1, "ms": 1e3, "s": 1e6, "m": 60e6},
	bytes: {"": 1, "B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "kiB": 1 << 10, "MiB": 1 << 20,
		"GiB": 1 << 30},
}

var expected = map[unit]string{
	count:   "a number, as 0, 1000, 1_000 or 1.5M",
	perTime: "a rate, as 2000, 2e6 or 2M/s",
	micros:  "a duration with its unit, as 50us, 1.5ms or 2s",
	bytes:   "a size, as 5000, 5kB or 16MiB",
}

// ParseThreshold reads METRIC OPERATOR VALUE. hasServer says that --server-pid was given.
func ParseThreshold(text string, hasServer bool) (Threshold, error) {
	t := Threshold{Text: text}
	m := thresholdForm.FindStringSubmatch(text)
	if m == nil {
		return t, fmt.Errorf("--threshold %q is not valid: give METRIC OPERATOR VALUE, such as p99<50ms, lost==0 or deliveries_per_second>=1M", text)
	}
	t.name, t.op = percentile.Replace(m[1]), m[2]
	if t.op == "=" {
		t.op = "=="
	}
	metric, ok := metrics[t.name]
	if reason, tagged := reasonOf(t.name); tagged {
		if !slices.Contains(plan.Reasons, reason) {
			return t, fmt.Errorf("--threshold %q: %s has no reason %s: use one of %s", text, connectMetric, reason, strings.Join(plan.Reasons, ", "))
		}
		failed := connectFailed(reason)
		metric, ok = countOf(func(r *Result) float64 { return float64(failed(r)) }), true
	}
	if !ok {
		return t, fmt.Errorf("--threshold %q: there is no metric %s: use one of %s", text, m[1], strings.Join(MetricNames(), ", "))
	}
	if metric.server && !hasServer {
		return t, fmt.Errorf("--threshold %q: %s needs --server-pid", text, t.name)
	}
	scale, ok := scales[metric.unit][m[4]]
	if !ok {
		return t, fmt.Errorf("--threshold %q: %s takes %s", text, t.name, expected[metric.unit])
	}
	v, err := strconv.ParseFloat(strings.ReplaceAll(m[3], "_", ""), 64)
	if err != nil || math.IsInf(v, 0) {
		return t, fmt.Errorf("--threshold %q: %s is not a number", text, m[3])
	}
	t.limit, t.metric = v*scale, metric
	return t, nil
}

// IsOf reports whether the metric is one, by its name, or a figure of a summary, by its prefix: round_p99 is of "round_", p99 of
// "".
func (t Threshold) IsOf(group string) bool {
	figure, ok := strings.CutPrefix(t.name, group)
	return t.name == group || ok && t.metric.summary && slices.Contains(figures, figure) || group == "" && t.name == "worst_p99"
}

// Judge applies the threshold to a result. A threshold fails if the run has no value of its metric. It also fails if it
// requires a value to be below a limit and the value is only a lower bound.
func (t Threshold) Judge(r *Result) Verdict {
	m := t.metric
	v, ok := m.value(r)
	if !ok {
		return Verdict{Threshold: t.Text, Shown: "not measured"}
	}
	held := false
	switch t.op {
	case "<":
		held = v < t.limit
	case "<=":
		held = v <= t.limit
	case ">":
		held = v > t.limit
	case ">=":
		held = v >= t.limit
	case "==":
		held = v == t.limit
	case "!=":
		held = v != t.limit
	}
	bound := m.atLeast != nil && m.atLeast(r)
	switch t.op {
	case "<", "<=", "==":
		held = held && !bound
	case "!=":
		held = held && (!bound || v > t.limit)
	}
	return Verdict{Threshold: t.Text, Value: v, Shown: atLeast(bound, show(v, m.unit)), Held: held}
}

func show(v float64, u unit) string {
	switch u {
	case micros:
		return duration(v)
	case bytes:
		return size(v)
	case perTime:
		return number(v) + "/s"
	default:
		return number(v)
	}
}
