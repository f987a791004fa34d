// Package catalog describes the servers that are compared: how each is found, built and started, its settings, and its routes.
package catalog

import (
	"context"
	"fmt"
	"strings"
)

// Routes are the routes of a peer, as templates of Go's text/template in the form that fanload accepts. {{.Base}} and
// {{.PublishBase}} are "http://127.0.0.1:PORT"; {{.Key}} and {{.Payload}} belong to an event; json and urlquery are functions.
type Routes struct {
	Subscribe      string
	Publish        string
	PublishHeaders []string
	PublishBody    string
	// HoldsHead says that the response's head is sent with the first event and not before. A subscriber then counts as subscribed
	// when its request was sent.
	HoldsHead bool
	// HeadFirst says that the response's head is sent before the subscriber is registered. Nothing shows when it is.
	HeadFirst bool
	// InFlight is how many connections are opened at the same time. 0: fanload's default.
	InFlight int
}

// ours are the two routes of every peer that is a library, an application or a floor.
func ours() Routes {
	return Routes{
		Subscribe:      "{{.Base}}/stream?connectKey={{urlquery .Key}}",
		Publish:        "{{.PublishBase}}/publish?key={{urlquery .Key}}",
		PublishHeaders: []string{"Content-Type: text/plain"},
		PublishBody:    "{{.Payload}}",
	}
}

func headFirst() Routes {
	r := ours()
	r.HeadFirst = true
	return r
}

// Ports are the ports on 127.0.0.1 that a peer may use. Peers with one listener have both routes on Stream.
type Ports struct {
	Stream, Publish int
	Helper          int // of the application that Pushpin asks
}

// Command is one process of a peer.
type Command struct {
	Args []string
	Env  []string // added to the environment
	// Helper says that the process is not part of the server. Its processor time and memory are not counted.
	Helper bool
}

// Plan is how a peer is started on given ports.
type Plan struct {
	Commands          []Command
	Base, PublishBase string
	CA                string // PEM file with the certificate of Base, if that is https
}

// Peer is one server.
type Peer struct {
	Name     string
	Settings string // a summary in one line; the README has all of them
	Routes   Routes
	TLS      bool // the streams are https; publishing is not
	HTTP2    bool // it offers HTTP/2 by ALPN
	// Version finds the peer on this machine. An error of type *Missing says how to install it.
	Version func(ctx context.Context, env *Env) (string, error)
	// Plan builds the peer if necessary, and writes its configuration into dir.
	Plan func(ctx context.Context, env *Env, ports Ports, dir string) (Plan, error)
}

// Missing is the error for a peer that is not on this machine.
type Missing struct{ What, Install string }

func (m *Missing) Error() string {
	return fmt.Sprintf("%s is missing; to install it: %s", m.What, m.Install)
}

// Peers are in the order in which they are listed and run. The floor is first, because ratios are computed to it.
func Peers() []Peer {
	return []Peer{
		floorC(), floorGo(), fanfare(),
		goPeer("mercure", mercureLibrary,
			"library, transport in memory, anonymous subscribers, no log, no write timeout", Routes{}),
		goPeer("centrifuge", "github.com/centrifugal/centrifuge",
			"library, SSE handler, broker in memory, no history, no log, no check for pongs", headFirst()),
		goPeer("gosse", "github.com/tmaxmax/go-sse", "library, provider Joe, no replay, no log", headFirst()),
		goPeer("r3labs", "github.com/r3labs/sse/v2", "library, streams by themselves, no replay", Routes{}),
		eggSSE(),
		nchan("nchan", "1", "nginx, one worker, in shared memory, no access log, buffer of 1,024 events"),
		nchan("nchan-auto", "auto", "nginx, a worker for each core, otherwise as nchan"),
		pushpin(),
		floorTLS(), fanfareTLS(), fanfareBehindNginx(),
		hosted("mercure-tls", "mercure", "as mercure, crypto/tls of Go", mercureVersion),
		hosted("nethttp-tls", "nethttp", "net/http and crypto/tls of Go: a handler that writes and flushes, a queue of 64 events for each subscriber", goVersion),
		nchanTLS(),
	}
}

// Find returns the peers with the names in a comma-separated list, in the order of the catalog. "" means all.
func Find(names string) ([]Peer, error) {
	all := Peers()
	if names == "" {
		return all, nil
	}
	wanted := map[string]bool{}
	for _, n := range strings.Split(names, ",") {
		wanted[strings.TrimSpace(n)] = true
	}
	var found []Peer
	var known []string
	for _, p := range all {
		known = append(known, p.Name)
		if wanted[p.Name] {
			found = append(found, p)
			delete(wanted, p.Name)
		}
	}
	for n := range wanted {
		return nil, fmt.Errorf("-peers: %q is unknown: give names of %s", n, strings.Join(known, ", "))
	}
	return found, nil
}

func secureBase(port int) string { return fmt.Sprintf("https://127.0.0.1:%d", port) }

func base(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
