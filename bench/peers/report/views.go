package report

// view describes a table and its plot.
type view struct {
	file  string // of the plot
	title string
	note  string // what is measured
	kind  Kind
	value func(*Figures) float64
	show  func(float64) string
	ratio bool // whether to show the ratio to the floor
	least int  // a figure needs at least this many events: a percentile of fewer is chance
}

func (d *Document) views() []view {
	if d.TLS {
		return tlsViews
	}
	return plainViews
}

// tlsViews are those of a comparison with TLS, in the order of the page.
var tlsViews = []view{
	{"tls-idle", "TLS: resident memory for each idle stream", "The growth of all processes of the server since before the first stream, measured after the same time for all. " +
		"Kernel memory is not included.", Idle, func(f *Figures) float64 { return f.IdleBytes }, bytes, false, 0},
	{"tls-cpu-90", "TLS: server CPU per delivery, one key, 90 B", "One event at a time: the next is published when every subscriber has the last.",
		Event90, func(f *Figures) float64 { return f.CPUPerDelivery }, micros, true, 0},
	{"tls-cpu-500", "TLS: server CPU per delivery, one key, 500 B", "The same with events of 500 bytes.",
		Event500, func(f *Figures) float64 { return f.CPUPerDelivery }, micros, true, 0},
	{"tls-connect", "TLS: server CPU per connect, full handshake", "From the TCP connect to the response's head, 256 connections at once, no tickets.",
		Connect, func(f *Figures) float64 { return f.CPUPerConnect }, micros, true, 0},
	{"tls-resume", "TLS: server CPU per connect, resumed", "The same with session tickets, 16 connections at once. The first connections, less than one in a hundred, have no ticket yet.",
		Resume, func(f *Figures) float64 { return f.CPUPerConnect }, micros, true, 0},
	{"h2-idle", "HTTP/2: resident memory for each idle stream, 100 on a connection", "The growth of the server's memory divided by the number of streams, with what their connections need.",
		H2Idle, func(f *Figures) float64 { return f.IdleBytes }, bytes, false, 0},
	{"h2-cpu", "HTTP/2: server CPU per delivery, 100 streams on a connection", "One key, 90 B, one event at a time.",
		H2, func(f *Figures) float64 { return f.CPUPerDelivery }, micros, false, 0},
	{"h2-connect", "HTTP/2: server CPU for each stream opened, 100 on a connection", "With the share of the handshake of the connection.",
		H2Idle, func(f *Figures) float64 { return f.CPUPerConnect }, micros, false, 0},
	{"tabs-idle", "HTTP/2: resident memory for each idle stream, 30 on a connection", "As many browsers with 30 tabs each.",
		TabsIdle, func(f *Figures) float64 { return f.IdleBytes }, bytes, false, 0},
	{"tabs-cpu", "HTTP/2: server CPU per delivery, 30 streams on a connection", "One key, 90 B, one event at a time.",
		Tabs, func(f *Figures) float64 { return f.CPUPerDelivery }, micros, false, 0},
}

// plainViews are those of a comparison without TLS, in the order of the page.
var plainViews = []view{
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
