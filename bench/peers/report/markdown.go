package report

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// docsHead is the beginning of the page in the documentation.
const docsHead = `# Benchmarks

This page is for people who choose a server of event streams, and for those who doubt the figures. It compares Fanfare with the
servers that they would use instead. You can repeat all of it: a command measures, and writes this page. To measure
a single server, use [fanload](fanload.md).

[bench/peers](../bench/peers/README.md) describes the servers, their settings, the scenarios, and what the figures do not show.
[performance.md](performance.md) explains Fanfare's figures.

` + "`floor` and `floor-go` are not servers, but one thread in C or Go that sends the same frame to each socket, without ids, history," + `
limits or heartbeat. They show the cost of the kernel, which no server can avoid.

`

// docsTLS is the beginning of the second part.
const docsTLS = `
## TLS and HTTP/2

The streams of these servers are https, with the same certificate; the publish request is not encrypted. ` + "`floor-tls` is the floor\nwith OpenSSL: one thread in C, one `SSL_write` for each socket.\n\n"

// docsFleets is the beginning of the last part.
const docsFleets = `
## Fleets

This part compares servers that run on several nodes and share a broker: Fanfare on NATS JetStream and on Redis, Centrifugo v6 with its
Redis engine and with its NATS broker, and nchan with Redis. Each fleet has three nodes and one broker. Events are published to the
nodes in turn, and received from all of them. One process publishes and receives, so there is one clock. It checks every event of every
subscriber: none may be lost, repeated, out of order, or for another key.

The fleets do not promise the same. Fanfare on JetStream has the event in a log of files when it answers, and a client resumes on any node
for as long as the log keeps it. On Redis all three keep events in Redis's memory, with an append-only file that is synced every second.
Fanfare reads one stream of all keys on every node; Centrifugo and nchan keep a history for each key, here 1,024 events and 5 minutes, and a
node receives only the keys of its subscribers. Centrifugo keeps no history with its NATS broker: it answers when the node has sent the
event, and an event that a client misses is gone.

` + "`go run . fleet`, in the folder `bench/peers`, repeats it: five fleets, three rounds. [Its README](../bench/peers/README.md#fleets) describes the\nscenarios and settings.\n"

// Markdown is the whole text: where it was measured, a table and a plot for each figure, and what went wrong. prefix is the path
// of the plots.
func (d *Document) Markdown(prefix string) string {
	var b strings.Builder
	m := d.Machine
	fmt.Fprintf(&b, "Measured since %s on %s, %d cores, %s of memory, %s, %s, with `%s`, in the folder `bench/peers`.\n",
		d.Started, m.CPU, m.CPUs, bytes(float64(m.Memory)), m.Kernel, m.Go, strings.Join(d.Commands, "`, then `"))
	middle, most := d.others()
	fmt.Fprintf(&b, "Load average before: %.2f. Other programs and the machine's host used %.2f cores in the median run, %.2f at most.\n", d.Load, middle, most)
	fmt.Fprintf(&b, "Server and clients share the machine: read the figures as ratios. Each figure is the median of at most %s. The lowest and the highest are in "+
		"parentheses, if there was more than one round. `x` is the median of the ratios to the floor in the same round. † marks a server that did not deliver "+
		"everything once and in order, see [the end](#%s).\n\n", plural(d.Rounds, "round"), strings.ReplaceAll(strings.ToLower(d.undelivered()), " ", "-"))
	b.WriteString("| server | version | settings |\n|---|---|---|\n")
	for _, p := range d.Peers {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", p.Name, cell(p.Version), cell(p.Settings))
	}
	for _, a := range d.Absent {
		fmt.Fprintf(&b, "| %s | not measured | %s |\n", a.Name, cell(a.Why))
	}
	for _, v := range d.views() {
		d.table(&b, v, prefix)
	}
	d.encryption(&b)
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
	for _, p := range d.peers(v.kind) {
		fmt.Fprintf(b, "| %s |", p.Name)
		for _, n := range numbers {
			fmt.Fprintf(b, " %s |", v.cell(d.stat(p.Name, &v, n)))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(b, "\n![%s](%s%s.svg)\n", v.title, prefix, v.file)
}

// peers are those that have run in a scenario of a kind: HTTP/2 is not for all.
func (d *Document) peers(kind Kind) []Peer {
	return slices.DeleteFunc(slices.Clone(d.Peers), func(p Peer) bool { return !d.has(p.Name, kind) })
}

// suffix distinguishes the headings of the two comparisons on the same page.
func (d *Document) suffix() string {
	if d.TLS {
		return " with TLS"
	}
	return ""
}

func (d *Document) undelivered() string { return "What was not delivered" + d.suffix() }

// encryption lists what each server has negotiated.
func (d *Document) encryption(b *strings.Builder) {
	if !d.TLS {
		return
	}
	b.WriteString("\n### What was negotiated\n\n")
	byText := map[string][]string{} // peers by what they negotiated
	for _, p := range d.Peers {
		found := map[string]bool{}
		for _, r := range d.Runs {
			if r.Peer == p.Name && r.Figures != nil {
				for text := range r.Figures.Encryption {
					found[strings.TrimSuffix(text, ", resumed")] = true
				}
			}
		}
		if len(found) == 0 {
			continue
		}
		text := strings.Join(slices.Sorted(maps.Keys(found)), "; ")
		byText[text] = append(byText[text], p.Name)
	}
	for _, text := range slices.Sorted(maps.Keys(byText)) {
		fmt.Fprintf(b, "- %s: %s\n", text, strings.Join(byText[text], ", "))
	}
	b.WriteString("\nThe certificate is ECDSA with P-256.\n")
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

// drifts lists the servers whose CPU per delivery still changed during the runs, so that a longer run would give another figure.
func (d *Document) drifts(b *strings.Builder) {
	fmt.Fprintf(b, "\n### What still changed%s\n\n", d.suffix())
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
	fmt.Fprintf(b, "\n### %s\n\n", d.undelivered())
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

// short returns the runs that were too short.
func (d *Document) short() (texts []string) {
	for _, r := range d.Runs {
		if r.Figures == nil && len(r.Problems) == 0 {
			texts = append(texts, fmt.Sprintf("%s, %s, %s subscribers (round %d)", r.Peer, r.Scenario.Kind, thousands(r.Scenario.Subscribers), r.Round))
		}
	}
	return texts
}
