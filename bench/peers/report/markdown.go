package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// view is one table, and one plot.
type view struct {
	file  string // of the plot
	title string
	note  string // what is measured
	kind  Kind
	value func(*Figures) float64
	show  func(float64) string
	ratio bool // with the ratio to the floor
	least int  // events, for the figure to be one: a percentile of few is chance
}

var views = []view{
	{"cpu-one", "Server CPU per delivery, one key, 64 B", "One event at a time: the next is published when every subscriber has " +
		"the last. The cost of the publish request is in it.", One, func(f *Figures) float64 { return f.CPUPerDelivery }, micros, true, 0},
	{"cpu-large", "Server CPU per delivery, one key, 4 kB", "The same with events of 4,096 bytes.",
		Large, func(f *Figures) float64 { return f.CPUPerDelivery }, micros, true, 0},
	{"cpu-keys", "Server CPU per delivery, many keys, 64 B", "The same with ten subscribers on each key: one publish request makes ten deliveries, and requests follow one after the other. " +
		"An earlier version of this page gave Mercure 923 us here with 5,000 subscribers. That was wrong: the warm-up had a fixed time and ended before each key had received an event, " +
		"so the run measured how Mercure fills its topic cache. Now every server is warmed up with passes over all keys, and [what still changed](#what-still-changed) during a run is listed.",
		Keys, func(f *Figures) float64 { return f.CPUPerDelivery }, micros, true, 0},
	{"cpu-flight", "Server CPU per delivery, many keys, 64 publishes in flight", "The same with 64 publish requests at once, each for another key. With one publisher that waits " +
		"for each event, a server is idle in between, and the figure includes its wake-up. This is the cost under load.",
		Flight, func(f *Figures) float64 { return f.CPUPerDelivery }, micros, true, 0},
	{"deliveries-flight", "Deliveries a second, many keys, 64 publishes in flight", "The same run. The clients share the machine.",
		Flight, func(f *Figures) float64 { return f.DeliveriesPerSecond }, perSecond, true, 0},
	{"deliveries", "Deliveries a second, one key, 64 B", "Subscribers divided by the time from a publish to its last delivery. " +
		"The clients share the machine.", One, func(f *Figures) float64 { return f.DeliveriesPerSecond }, perSecond, true, 0},
	{"latency-p50", "Latency, median", "One key, 64 B, 20,000 deliveries a second: from the time when the event was due " +
		"to its arrival, over all subscribers.", Paced, func(f *Figures) float64 { return f.LatencyP50 }, micros, false, 10},
	{"latency-p99", "Latency, 99th percentile", "The same; a percentile of less than 100 events is chance, and is left out.", Paced, func(f *Figures) float64 { return f.LatencyP99 }, micros, false, 100},
	{"publish-p50", "Publish request, median", "The same run: from sending the request to its answer.",
		Paced, func(f *Figures) float64 { return f.PublishP50 }, micros, false, 10},
	{"publish-p99", "Publish request, 99th percentile", "The same; a percentile of less than 100 events is chance, and is left out.", Paced, func(f *Figures) float64 { return f.PublishP99 }, micros, false, 100},
	{"burst", "Burst, until the last subscriber has the last event", "One key, 64 B, 100,000 deliveries at once. A server may be faster than the floor, " +
		"which writes each event separately: a server that sends several waiting events in one write makes fewer system calls. `>=` is the time after which a burst was given up.",
		Burst, func(f *Figures) float64 { return f.RoundP50 }, micros, true, 0},
	{"idle", "Resident memory for each idle subscriber", "The growth of all processes of the server since before the first subscriber, " +
		"measured some seconds after the last one. Kernel memory is not included.", Idle, func(f *Figures) float64 { return f.IdleBytes }, bytes, false, 0},
	{"base", "Resident memory before the first subscriber", "All processes of the server; shared pages count for each process.",
		Idle, func(f *Figures) float64 { return f.BaseBytes }, bytes, false, 0},
	{"connects", "Connections opened a second", "From the first connect to the last response head. egg-sse holds its heads back, " +
		"so its time ends with the last request.", Idle, func(f *Figures) float64 { return f.ConnectsPerSecond }, perSecond, true, 0},
}

// docsHead begins the page in the documentation.
const docsHead = `# Benchmarks

This page is for people who choose a server of event streams, and for those who doubt the figures. It compares Fanfare with the
servers that they would use instead. You can repeat all of it: a command measures, and writes this page. To measure
a single server, use [fanload](fanload.md).

[bench/peers](../bench/peers/README.md) describes the servers, their settings, the scenarios, and what the figures do not show.
[performance.md](performance.md) explains Fanfare's figures.

` + "`floor` and `floor-go` are not servers, but one thread in C or Go that sends the same frame to each socket, without ids, history," + `
limits or heartbeat. They show the cost of the kernel, which no server can avoid.

`

// Markdown is the whole text: where it was measured, a table and a plot for each figure, and what went wrong. The plots are at
// prefix.
func (d *Document) Markdown(prefix string) string {
	var b strings.Builder
	m := d.Machine
	fmt.Fprintf(&b, "Measured since %s on %s, %d cores, %s of memory, %s, %s, with `%s`, in the folder `bench/peers`.\n",
		d.Started, m.CPU, m.CPUs, bytes(float64(m.Memory)), m.Kernel, m.Go, strings.Join(d.Commands, "`, then `"))
	middle, most := d.others()
	fmt.Fprintf(&b, "Load average before: %.2f. Other programs and the machine's host used %.2f cores in the median run, %.2f at most.\n", d.Load, middle, most)
	fmt.Fprintf(&b, "Server and clients share the machine: read the figures as ratios. Each figure is the median of at most %s. The lowest and the highest are in "+
		"parentheses, if there was more than one round. `x` is the median of the ratios to the floor in the same round. † marks a server that did not deliver "+
		"everything once and in order, see [the end](#what-was-not-delivered).\n\n", plural(d.Rounds, "round"))
	b.WriteString("| server | version | settings |\n|---|---|---|\n")
	for _, p := range d.Peers {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", p.Name, cell(p.Version), cell(p.Settings))
	}
	for _, a := range d.Absent {
		fmt.Fprintf(&b, "| %s | not measured | %s |\n", a.Name, cell(a.Why))
	}
	for _, v := range views {
		d.table(&b, v, prefix)
	}
	d.drifts(&b)
	d.problems(&b)
	return b.String()
}

func (d *Document) table(b *strings.Builder, v view, prefix string) {
	numbers := d.subscribers(v.kind)
	if len(numbers) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n%s\n\n| server |", v.title, v.note)
	for _, n := range numbers {
		fmt.Fprintf(b, " %s subscribers |", thousands(n))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(numbers)) + "\n")
	for _, p := range d.Peers {
		fmt.Fprintf(b, "| %s |", p.Name)
		for _, n := range numbers {
			fmt.Fprintf(b, " %s |", v.cell(d.stat(p.Name, &v, n)))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(b, "\n![%s](%s%s.svg)\n", v.title, prefix, v.file)
}

func (v *view) cell(s stat) string {
	text := "–"
	if s.n > 0 {
		text = v.show(s.median)
		if s.atLeast {
			text = ">= " + text
		}
		if s.n > 1 {
			text += fmt.Sprintf(" (%s–%s)", v.show(s.low), v.show(s.high))
		}
		if v.ratio && s.ratio > 0 {
			text += fmt.Sprintf(" %.2fx", s.ratio)
		}
	} else if s.few > 0 {
		text = fmt.Sprintf("– (%s)", plural(s.few, "event"))
	}
	if s.flawed {
		text += " †"
	}
	return text
}

// much is a change of the CPU per delivery within a run that is reported.
const much = 1.2

// drifts lists what still changed during the runs, and so is no figure of a server that runs for long.
func (d *Document) drifts(b *strings.Builder) {
	b.WriteString("\n### What still changed\n\n")
	fmt.Fprintf(b, "CPU per delivery in the second half of a run divided by that in the first half, if the median over the rounds is above %.1f or below %.2f. "+
		"Either the server was not warm, or it slows down during the run, or another program disturbed the run.\n\n", much, 1/much)
	reported := false
	for _, s := range d.Scenarios {
		for _, p := range d.Peers {
			st := d.stat(p.Name, &view{kind: s.Kind, value: func(f *Figures) float64 { return f.Drift }}, s.Subscribers)
			if st.n > 0 && (st.median > much || st.median < 1/much) {
				fmt.Fprintf(b, "- %s, %s, %s subscribers: %.2f\n", p.Name, s.Kind, thousands(s.Subscribers), st.median)
				reported = true
			}
		}
	}
	if !reported {
		b.WriteString("None did.\n")
	}
}

func (d *Document) problems(b *strings.Builder) {
	b.WriteString("\n### What was not delivered\n\n")
	var texts []string // in the order in which they came, each once
	rounds := map[string][]string{}
	for _, r := range d.Runs {
		if len(r.Problems) == 0 {
			continue
		}
		text := fmt.Sprintf("%s, %s, %s subscribers: %s", r.Peer, r.Scenario.Kind, thousands(r.Scenario.Subscribers),
			cell(strings.Join(r.Problems, "; ")))
		if rounds[text] == nil {
			texts = append(texts, text)
		}
		rounds[text] = append(rounds[text], strconv.Itoa(r.Round))
	}
	for _, t := range texts {
		fmt.Fprintf(b, "- %s (round %s)\n", t, strings.Join(rounds[t], ", "))
	}
	if short := d.short(); len(short) > 0 {
		fmt.Fprintf(b, "\nRuns that ended before the first event had arrived everywhere, and gave no figure: %s.\n\n", strings.Join(short, "; "))
	}
	if len(texts) == 0 {
		b.WriteString("Every subscriber of every server got every event, once and in order.\n")
	}
}

// short lists the runs that were too short.
func (d *Document) short() (texts []string) {
	for _, r := range d.Runs {
		if r.Figures == nil && len(r.Problems) == 0 {
			texts = append(texts, fmt.Sprintf("%s, %s, %s subscribers (round %d)", r.Peer, r.Scenario.Kind, thousands(r.Scenario.Subscribers), r.Round))
		}
	}
	return texts
}

// cell makes a text fit for a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ").Replace(s)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// micros shows a time of microseconds.
func micros(us float64) string {
	switch {
	case us < 1e3:
		return digits(us) + " us"
	case us < 1e6:
		return digits(us/1e3) + " ms"
	default:
		return digits(us/1e6) + " s"
	}
}

// bytes shows a size, decimal.
func bytes(n float64) string {
	switch {
	case n < 1e3:
		return digits(n) + " B"
	case n < 1e6:
		return digits(n/1e3) + " kB"
	case n < 1e9:
		return digits(n/1e6) + " MB"
	default:
		return digits(n/1e9) + " GB"
	}
}

// perSecond shows a rate, to three digits.
func perSecond(n float64) string {
	if n < 1000 {
		return digits(n) + "/s"
	}
	scale := math.Pow(10, math.Floor(math.Log10(n))-2)
	return thousands(int(math.Round(n/scale)*scale)) + "/s"
}

// digits shows some three of them.
func digits(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}
