package main

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"fanfare/cmd/fanload/plan"
)

// common has the flags of every mode.
type common struct {
	Preset      string   `default:"fanfare" placeholder:"NAME" group:"Server" help:"Routes of a known server: fanfare, fanfare-batch, egg-sse, mercure, nchan, centrifugo, pushpin, none. \"fanload presets\" prints them; the flags below override them."`
	Base        string   `placeholder:"URL" group:"Server" help:"Origin of the streams: {{.Base}} in templates."`
	PublishBase string   `placeholder:"URL" group:"Server" help:"Origin of the publish route: {{.PublishBase}} in templates. Default: the preset's, or --base if the preset has the same origin for both."`
	Subscribe   string   `placeholder:"URL" group:"Server" help:"Template of the stream's URL."`
	SubHeader   []string `name:"subscribe-header" sep:"none" placeholder:"NAME: VALUE" group:"Server" help:"Header of the stream's request, a template. An empty value leaves it out. Repeatable."`
	SubMethod   string   `name:"subscribe-method" placeholder:"METHOD" group:"Server" help:"Method of the stream's request."`
	Publish     string   `placeholder:"URL" group:"Server" help:"Template of the publish route's URL."`
	PubHeader   []string `name:"publish-header" sep:"none" placeholder:"NAME: VALUE" group:"Server" help:"Header of the publish request, a template. Repeatable."`
	PubMethod   string   `name:"publish-method" placeholder:"METHOD" group:"Server" help:"Method of the publish request."`
	PubBody     string   `name:"publish-body" placeholder:"TEMPLATE" group:"Server" help:"Body of the publish request, with {{.Payload}} in it."`
	Key         string   `default:"fanload-{{.Run}}-{{.KeyIndex}}" placeholder:"TEMPLATE" group:"Server" help:"Name of a key: ${default}."`
	Ready       string   `placeholder:"WHEN" group:"Server" help:"When a subscriber counts as subscribed: head (the response's head has arrived), or sent (the request was sent), for a server that holds the head back until the first event."`
	GapEvent    string   `default:"gap" placeholder:"TYPE" group:"Server" help:"Type of the event by which the server reports a loss (${default})."`
	AllowRemote bool     `group:"Server" help:"Allow an address that is not loopback. Only for machines and networks that are yours."`
	CA          string   `name:"ca" placeholder:"FILE" group:"Server" help:"https: trust the certificates in this PEM file instead of the system's."`
	Insecure    bool     `group:"Server" help:"https: accept any certificate."`
	ServerName  string   `placeholder:"NAME" group:"Server" help:"https: the name that the certificate must have, also sent as SNI. Default: the URL's host."`
	Resume      bool     `name:"resume-sessions" group:"Server" help:"https: resume TLS sessions by tickets. Without it each connection makes a full handshake."`
	HTTP2       bool     `name:"http2" group:"Server" help:"Open the streams with HTTP/2, by ALPN with https and by prior knowledge with http. Publish requests remain HTTP/1.1."`
	PerConn     int      `range:"0 to 10000" name:"streams-per-connection" default:"0" placeholder:"N" group:"Server" help:"--http2: streams on each connection. 0: 100."`
	ServerPID   []int    `range:"the pid of a running process" name:"server-pid" placeholder:"PID" group:"Server" help:"Process of the server, to measure its CPU time and memory, including its children. Repeatable."`

	Subscribers    int           `range:"1 to 1000000" short:"n" default:"1000" placeholder:"N" group:"Load" help:"Subscribers (${default})."`
	Keys           int           `range:"1 to 1000000" short:"k" default:"1" placeholder:"N" group:"Load" help:"Keys. Subscriber i subscribes to key i modulo N (${default})."`
	Size           int           `range:"0 to 8388608" default:"200" placeholder:"BYTES" group:"Load" help:"Bytes of an event's data (${default})."`
	Batch          int           `range:"1 to 10000" default:"1" placeholder:"N" group:"Load" help:"Events in a publish request, for routes that take several (${default})."`
	Duration       time.Duration `range:"1ms to 168h" short:"d" placeholder:"TIME" group:"Load" help:"How long to publish, or to hold (10s)."`
	Warmup         time.Duration `range:"0s to 168h" default:"0s" placeholder:"TIME" group:"Load" help:"Publish for this time before measuring (${default})."`
	WarmupPasses   int           `range:"0 to 1000" default:"0" placeholder:"N" group:"Load" help:"Before --warmup, publish N times to every key, and each time wait until all its subscribers have the event (${default})."`
	Events         int64         `range:"0 or more" default:"0" placeholder:"N" group:"Load" help:"End after this many events. 0: only the duration counts."`
	ConnectRate    float64       `range:"0 to 1000000" default:"0" placeholder:"N" group:"Load" help:"Connections opened per second. 0: as many as possible."`
	InFlight       int           `range:"1 to 100000" default:"256" placeholder:"N" group:"Load" help:"Connections that are being opened at the same time (${default})."`
	ConnectTimeout time.Duration `range:"1ms to 168h" default:"10s" placeholder:"TIME" group:"Load" help:"Longest time from the connect to the response's head (${default})."`
	Settle         time.Duration `range:"0s to 168h" default:"300ms" placeholder:"TIME" group:"Load" help:"Pause between the last connect and the first event (${default})."`
	Drain          time.Duration `range:"0s to 168h" default:"10s" placeholder:"TIME" group:"Load" help:"Longest wait after the last event for deliveries that are still missing (${default})."`
	Reconnect      bool          `negatable:"" group:"Load" help:"Reconnect, with the last event id, when the server ends a stream. Default in churn and storm."`
	ReconnectDelay time.Duration `range:"0s to 168h" default:"100ms" placeholder:"TIME" group:"Load" help:"Delay before a reconnect, if the server has sent no retry (${default})."`

	Publishers     int           `range:"1 to 1024" default:"4" placeholder:"N" group:"Client" help:"Publish connections, at most one per key (${default})."`
	InFlightPubs   int           `range:"1 to 1024" name:"publishes-in-flight" default:"1" placeholder:"N" group:"Client" help:"Keys that are published to at the same time, each on its own connection. closed: rounds at the same time (${default})."`
	Pipeline       int           `range:"1 to 1024" default:"1" placeholder:"N" group:"Client" help:"Publish requests on a connection that may be unanswered (${default})."`
	PublishTimeout time.Duration `range:"1ms to 168h" default:"10s" placeholder:"TIME" group:"Client" help:"Longest wait for the answer to a publish request (${default})."`
	Processes      int           `range:"0 to 256" default:"0" placeholder:"N" group:"Client" help:"Processes. 0: as many as the limit of open files requires."`
	Loops          int           `range:"0 to 256" default:"0" placeholder:"N" group:"Client" help:"Epoll loops per process. 0: one per core."`
	Sources        int           `range:"0 to 60000" default:"0" placeholder:"N" group:"Client" help:"Source addresses, from 127.1.0.1 on. 0: one per 4,000 subscribers."`

	Threshold []string      `short:"t" sep:"none" placeholder:"COND" group:"Report" help:"Condition that must hold for exit status 0, such as p99<50ms, lost==0, deliveries_per_second>=1M. Repeatable."`
	Checks    bool          `default:"true" negatable:"" group:"Report" help:"Fail the run if the server has a fault, such as a lost event or a refused connection, independent of the thresholds. A threshold of the same metric replaces its check."`
	JSON      string        `name:"json" placeholder:"FILE" group:"Report" help:"Write the result as JSON. - is standard output, in place of the table."`
	HTML      string        `name:"html" placeholder:"FILE" group:"Report" help:"Write a self-contained page with plots."`
	Progress  string        `default:"auto" enum:"auto,on,off" placeholder:"WHEN" group:"Report" help:"Progress line on standard error: auto (on a terminal), on, off."`
	Sample    time.Duration `range:"10ms to 168h" default:"250ms" placeholder:"TIME" group:"Report" help:"Interval between two points of the plots over time (${default})."`
}

type openFlags struct {
	Rate float64 `range:"0 to 1000000" short:"r" default:"100" placeholder:"N" group:"Mode" help:"Events per second over all keys (${default})."`
}

// grammar is the command line.
type grammar struct {
	Closed struct {
		common
		RoundTimeout time.Duration `range:"0s to 168h" default:"5s" placeholder:"TIME" group:"Mode" help:"Longest wait for the last subscriber of a round (${default})."`
	} `cmd:"" help:"Publish the next event when every subscriber of the key has the previous one (closed loop)."`
	Open struct {
		common
		openFlags
	} `cmd:"" help:"Publish at a fixed rate (open loop). Latency counts from the scheduled time."`
	Burst struct {
		common
		Burst        int           `range:"1 to 1000000" short:"b" default:"100" placeholder:"N" group:"Mode" help:"Events in a burst (${default})."`
		Every        time.Duration `range:"1ms to 168h" default:"1s" placeholder:"TIME" group:"Mode" help:"Interval between bursts (${default})."`
		RoundTimeout time.Duration `range:"0s to 168h" default:"5s" placeholder:"TIME" group:"Mode" help:"Longest wait for the last subscriber of a round (${default})."`
	} `cmd:"" help:"Publish many events at once, at intervals."`
	Ramp struct {
		common
		Rate float64 `range:"0 to 1000000" short:"r" default:"0" placeholder:"N" group:"Mode" help:"Events per second while holding the connections. 0: none."`
	} `cmd:"" help:"Open the connections and hold them. Measures connect times and memory per connection."`
	Churn struct {
		common
		openFlags
		Churn float64 `range:"0 to 1000000" default:"100" placeholder:"N" group:"Mode" help:"Subscribers per second that leave and are replaced by new ones (${default})."`
	} `cmd:"" help:"Open loop, while subscribers come and go."`
	Storm struct {
		common
		openFlags
		Every    time.Duration `range:"1ms to 168h" default:"3s" placeholder:"TIME" group:"Mode" help:"Interval between storms (${default})."`
		Fraction float64       `range:"0 to 1" default:"1" placeholder:"F" group:"Mode" help:"Fraction of the subscribers that are dropped at once (${default})."`
		Jitter   time.Duration `range:"0s to 168h" default:"0s" placeholder:"TIME" group:"Mode" help:"Time over which they reconnect (${default})."`
	} `cmd:"" help:"Open loop, while all subscribers disconnect at intervals and reconnect at once with Last-Event-ID."`
	Stall struct {
		common
		openFlags
		Percent     float64 `range:"0 to 100" default:"10" placeholder:"P" group:"Mode" help:"Percent of the subscribers that stop reading (${default})."`
		StallBuffer int     `range:"0 to 1073741824" default:"4096" placeholder:"BYTES" group:"Mode" help:"Receive buffer of these subscribers. 0: the system's default (${default})."`
	} `cmd:"" help:"Open loop, while some subscribers stop reading."`
	Presets struct {
		Name string `arg:"" optional:"" help:"Name of one preset. Default: all."`
	} `cmd:"" help:"Print the presets' values."`
	Version struct{} `cmd:"" help:"Print the version."`
}

// command is the command that the arguments name, with its flags.
type command struct {
	name   string
	preset string // of "presets"
	flags  grammar
}

// presetText is the text of one preset, or of all.
func presetText(name string) (string, error) {
	if name != "" {
		p, err := plan.FindPreset(name)
		return p.JSON(), err
	}
	var b strings.Builder
	for _, p := range plan.Presets {
		b.WriteString(p.JSON())
	}
	return b.String(), nil
}

// commandLine is the arguments, quoted for a shell, for reports. Values of headers are left out, because they may be tokens.
func commandLine(args []string) string {
	words := []string{"fanload"}
	hide := false
	for _, a := range args {
		name, value, has := strings.Cut(a, "=")
		header := name == "--subscribe-header" || name == "--publish-header"
		switch {
		case hide:
			a = headerName(a)
		case header && has:
			a = name + "=" + headerName(value)
		}
		hide = header && !has
		if a == "" || strings.ContainsFunc(a, func(r rune) bool { return !strings.ContainsRune(plainRunes, r) }) {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

const plainRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+./:,@%"

func headerName(h string) string {
	name, _, _ := strings.Cut(h, ":")
	return name + ": …"
}

// version is set by the linker in release builds: -ldflags "-X main.version=1.2.3".
var version string

func versionText() string {
	number := cmp.Or(version, "(devel)")
	if info, ok := debug.ReadBuildInfo(); ok {
		i := slices.IndexFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "vcs.revision" })
		if i >= 0 {
			number += " (commit " + info.Settings[i].Value[:min(12, len(info.Settings[i].Value))]
			if slices.Contains(info.Settings, debug.BuildSetting{Key: "vcs.modified", Value: "true"}) {
				number += ", modified"
			}
			number += ")"
		}
	}
	return number + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + ", " + strconv.Itoa(runtime.NumCPU()) + " CPUs"
}
