// Package catalog knows the servers that are compared: where each comes from, how it is found, built and started, with
// which settings, and by which routes it is used.
package catalog

import (
	"context"
	"fmt"
	"strings"
)

// Routes of a peer, as templates of Go's text/template, the same that fanload takes: {{.Base}} and {{.PublishBase}} are
// "http://127.0.0.1:PORT", {{.Key}} and {{.Payload}} an event's; json and urlquery are functions.
type Routes struct {
	Subscribe      string
	Publish        string
	PublishHeaders []string
	PublishBody    string
	// HoldsHead tells that the response's head comes with the first event and not before, so that a subscriber counts
	// as ready when its request has left.
	HoldsHead bool
	// InFlight is how many connections are opened at once; 0: as many as fanload opens by itself.
	InFlight int
}

// ours are the two routes that every peer has that is a library, an application or a floor.
func ours() Routes {
	return Routes{
		Subscribe:      "{{.Base}}/stream?connectKey={{urlquery .Key}}",
		Publish:        "{{.PublishBase}}/publish?key={{urlquery .Key}}",
		PublishHeaders: []string{"Content-Type: text/plain"},
		PublishBody:    "{{.Payload}}",
	}
}

// Ports on 127.0.0.1 that a peer may use. The peers with one listener have both routes on Stream.
type Ports struct {
	Stream, Publish int
	Helper          int // of the application behind Pushpin
}

// Command is one process of a peer.
type Command struct {
	Args []string
	Env  []string // added to the environment
	// Helper tells that the process is not part of the server, so that its use of processor and memory is not counted.
	Helper bool
}

// Plan is how a peer is started on given ports.
type Plan struct {
	Commands          []Command
	Base, PublishBase string
}

// Peer is one server.
type Peer struct {
	Name     string
	Settings string // one line; the README has all of them
	Routes   Routes
	// Version finds the peer on this machine. An error of type *Missing says how to install it.
	Version func(ctx context.Context, env *Env) (string, error)
	// Plan builds the peer if need be, and writes its configuration into dir.
	Plan func(ctx context.Context, env *Env, ports Ports, dir string) (Plan, error)
}

// Missing is the error for a peer that is not on this machine.
type Missing struct{ What, Install string }

func (m *Missing) Error() string {
	return fmt.Sprintf("%s is missing; to install it: %s", m.What, m.Install)
}

// Peers in the order in which they are listed and run. The floor is first: ratios are to it.
func Peers() []Peer {
	return []Peer{
		floorC(), floorGo(), fanfare(),
		goPeer("mercure", "github.com/dunglas/mercure",
			"library, transport in memory, anonymous subscribers, no log, no write timeout", Routes{}),
		goPeer("centrifuge", "github.com/centrifugal/centrifuge",
			"library, SSE handler, broker in memory, no history, no log, no check for pongs", Routes{}),
		goPeer("gosse", "github.com/tmaxmax/go-sse", "library, provider Joe, no replay, no log", Routes{}),
		goPeer("r3labs", "github.com/r3labs/sse/v2", "library, streams by themselves, no replay", Routes{}),
		eggSSE(),
		nchan("nchan", "1", "nginx, one worker, in shared memory, no access log, buffer of 1,024 events"),
		nchan("nchan-auto", "auto", "nginx, a worker for each core, otherwise as nchan"),
		pushpin(),
	}
}

// Find gives the peers with the names of a comma-separated list, in the catalogue's order; all of them for "".
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
		return nil, fmt.Errorf("-peers: %q is unknown; give names of %s", n, strings.Join(known, ", "))
	}
	return found, nil
}

func base(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
