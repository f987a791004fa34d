package report

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"fanfare/cmd/fanload/measure"
)

// Section of a report: a title and rows of a name and a value.
type Section struct {
	Title string
	Rows  [][2]string
}

// Sections has the figures for a reader. The table and the page show the same sections.
func (r *Result) Sections() []Section {
	all := []Section{r.runSection(), r.deliverySection()}
	for _, s := range []struct {
		title string
		sum   *measure.Summary
	}{
		{"Latency, publish (scheduled) to read", &r.Latency},
		{"Round, publish to the last subscriber", &r.Round},
		{"Reconnect, end of a stream to the next head", &r.Reconnect},
		{"Publish request", &r.Publish.Latency},
		{"TCP connect", &r.Connect.TCP},
		{"TLS handshake", &r.Connect.TLS},
		{"Connect to the head", &r.Connect.Head},
		{"Connect to the first event", &r.Connect.FirstEvent},
	} {
		if s.sum.Count > 0 {
			rows := summaryRows(s.sum)
			if p := r.Worst(); p != nil && s.sum == &r.Latency {
				rows = append(rows, [2]string{"highest p99 of an interval", fmt.Sprintf("%s, in the interval up to second %s",
					duration(float64(p.Latency.P99)), digits(p.At))})
			}
			all = append(all, Section{Title: s.title, Rows: rows})
		}
	}
	all = append(all, r.processSection())
	if rows := r.troubles(); len(rows) > 0 {
		all = append(all, Section{Title: "Answers and errors", Rows: rows})
	}
	if verdicts := slices.Concat(r.Checks, r.Thresholds); len(verdicts) > 0 {
		s := Section{Title: "Checks and thresholds"}
		for _, v := range verdicts {
			word := "FAILED"
			if v.Held {
				word = "held"
			}
			s.Rows = append(s.Rows, [2]string{v.Threshold, word + ", " + v.Shown})
		}
		all = append(all, s)
	}
	return all
}

func (r *Result) runSection() Section {
	s := Section{Title: "fanload " + r.Plan.Mode}
	add := func(name, format string, args ...any) {
		s.Rows = append(s.Rows, [2]string{name, fmt.Sprintf(format, args...)})
	}
	add("server", "%s at %s", r.Plan.Preset, r.Plan.Address)
	add("subscribers", "%s on %s, %s", number(float64(r.Plan.Subscribers)), plural(r.Plan.Keys, "key", "keys"),
		plural(r.Plan.Processes, "process", "processes"))
	add("connected", "%s in %.2f s (%s/s), %s failed", number(float64(r.Connect.Connected)), r.Connect.Seconds,
		number(r.Connect.PerSecond), number(float64(r.Connect.Failed)))
	if r.Plan.HTTP2 {
		add("protocol", "HTTP/2, at most %s on a connection, %s", plural(r.Plan.StreamsPerConnection, "stream", "streams"),
			plural(int(r.Connect.TCP.Count), "connection", "connections"))
	}
	for _, c := range slices.Sorted(maps.Keys(r.Connect.Ciphers)) {
		add("encrypted", "%s, %s connections: fanload's own cost of each and of a delivery is higher than with http", c,
			number(float64(r.Connect.Ciphers[c])))
	}
	if r.Publish.Events > 0 {
		rate := ""
		if r.Rate > 0 {
			rate = fmt.Sprintf(", requested %s/s", number(r.Rate))
		}
		add("published", "%s events of %d B (%s/s%s), %s failed", number(float64(r.Publish.Events)), r.Plan.Size,
			number(r.Publish.PerSecond), rate, number(float64(r.Publish.Failed)))
		add("behind schedule", "at most %s", duration(float64(r.Publish.LateMax)))
	}
	if r.Interrupted {
		add("interrupted", "yes: the figures are of the part that ran")
	}
	return s
}

func (r *Result) deliverySection() Section {
	s := Section{Title: "Deliveries"}
	add := func(name string, v int64, always bool) {
		if always || v != 0 {
			s.Rows = append(s.Rows, [2]string{name, number(float64(v))})
		}
	}
	s.Rows = append(s.Rows, [2]string{"deliveries", fmt.Sprintf("%s, %s/s over %.2f s", number(float64(r.Deliveries.Total)),
		number(r.Deliveries.PerSecond), r.Seconds)})
	if r.Deliveries.BusyPerSecond > 0 {
		s.Rows = append(s.Rows, [2]string{"during rounds", number(r.Deliveries.BusyPerSecond) + "/s"})
	}
	q := &r.Sequence
	for _, f := range faults {
		always := f.name == "sse_lost" || f.name == "sse_undelivered" || f.name == "sse_duplicate" || f.name == "sse_reordered"
		add(f.name, f.value(r), always)
		if f.name == connectMetric {
			for _, reason := range slices.Sorted(maps.Keys(r.Connect.Failures)) {
				add("  "+tagged(reason), r.Connect.Failures[reason], false)
			}
		}
	}
	add("subscribers that miss any", q.LostSubscribers, false)
	add("late, unsure", q.Late, false)
	add("gap events", q.Gaps, false)
	add("foreign events", q.Foreign, false)
	add("rounds timed out", r.Publish.Timeouts, false)
	t := &r.Streams
	add("reconnects", t.Reconnects, false)
	add("reconnects failed", t.ReconnectFailed, false)
	add("gave up", t.GaveUp, false)
	add("churned", t.Churned, false)
	add("newcomers had to get", t.Expected, t.Churned > 0)
	add("stalled", t.Stalled, false)
	add("stalled, ended by the server", t.StalledEnded, false)
	add("stalled, held the server up", t.StalledFelt, t.Stalled > t.StalledEnded)
	if left := t.Stalled - t.StalledEnded; left > 0 {
		s.Rows = append(s.Rows, [2]string{"unread of each", fmt.Sprintf("%s in the kernel, of %s published",
			size(float64(t.StalledKept)/float64(left)), size(float64(t.StalledGiven)/float64(left)))})
	}
	add("behind after the drain", t.BehindAfterDrain, false)
	return s
}

func summaryRows(s *measure.Summary) [][2]string {
	line := func(a ...string) string { return strings.Join(a, "  ") }
	q := func(percent float64, micros int64) string {
		return atLeast(s.AtLeast(percent), duration(float64(micros)))
	}
	rows := [][2]string{
		{"p50, p90, p99", line(q(50, s.P50), q(90, s.P90), q(99, s.P99))},
		{"p99.9, p99.99, max", line(q(99.9, s.P999), q(99.99, s.P9999), q(100, s.Max))},
		{"mean, min, count", line(atLeast(s.Unfinished > 0, duration(s.Mean)), q(0, s.Min), number(float64(s.Count)))},
	}
	if s.Unfinished > 0 {
		rows = append(rows, [2]string{"not over", number(float64(s.Unfinished)) + ": they took at least as long as was waited for them"})
	}
	return rows
}

// atLeast marks a lower bound.
func atLeast(bound bool, figure string) string {
	if bound {
		return ">= " + figure
	}
	return figure
}

func (r *Result) processSection() Section {
	s := Section{Title: "Processes"}
	add := func(name, format string, args ...any) {
		s.Rows = append(s.Rows, [2]string{name, fmt.Sprintf(format, args...)})
	}
	if v := r.Server; v != nil {
		if v.Ended {
			add("server", "its process ended during the run")
		}
		if r.Deliveries.Measured > 0 {
			add("server CPU per delivery", "%.2f us", v.CPUPerDelivery)
		}
		add("server CPU", "%.2f cores, %s per connect", v.Cores, duration(v.ConnectCPU))
		add("server memory", "%s before, %s connected, %s at the end, %s at most", size(float64(v.RSSBefore)),
			size(float64(v.RSSConnected)), size(float64(v.RSSEnd)), size(float64(v.RSSMax)))
		add("server memory per connection", "%s connected, %s at the end", size(v.RSSPerConnection), size(v.EndPerConnection))
		if r.Seconds >= 30 { // over a shorter time it is noise
			add("server memory growth", "%s per minute", size(v.GrowthBytesPerMin))
		}
	}
	if r.Deliveries.Measured > 0 {
		add("client CPU per delivery", "%.2f us", r.Client.CPUPerDelivery)
	}
	add("client CPU", "%.2f cores", r.Client.Cores)
	if v := r.Others; v != nil {
		name := "other programs"
		if r.Server == nil {
			name = "other programs and the server"
		}
		add(name, "%.2f cores, and %.2f stolen by the host", v.Cores, v.Stolen)
	}
	return s
}

// troubles lists unexpected responses and errors, the most frequent first.
func (r *Result) troubles() (rows [][2]string) {
	for _, group := range []struct {
		title string
		m     map[string]int64
	}{{"answer", r.Statuses}, {"error", r.Errors}, {"publish", r.Publish.Errors}} {
		names := slices.SortedFunc(maps.Keys(group.m), func(a, b string) int {
			if d := group.m[b] - group.m[a]; d != 0 {
				return int(d)
			}
			return strings.Compare(a, b)
		})
		for i, name := range names {
			if i == 8 {
				rows = append(rows, [2]string{group.title, fmt.Sprintf("and %d more kinds", len(names)-i)})
				break
			}
			rows = append(rows, [2]string{group.title, fmt.Sprintf("%s x %s", number(float64(group.m[name])), name)})
		}
	}
	return rows
}

// Table writes the sections as text.
func (r *Result) Table(w io.Writer) error {
	width := 0
	sections := r.Sections()
	for _, s := range sections {
		for _, row := range s.Rows {
			width = max(width, len(row[0]))
		}
	}
	var b strings.Builder
	for i, s := range sections {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(s.Title + "\n")
		for _, row := range s.Rows {
			// A server's response must not move the cursor.
			fmt.Fprintf(&b, "  %-*s  %s\n", width, printable(row[0]), printable(row[1]))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(float64(n)) + " " + more
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return ' '
		}
		return r
	}, s)
}

// JSON writes the whole result.
func (r *Result) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
