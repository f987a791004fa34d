// Command driver runs one of the Go clients of docs/clients.md and writes what it hands on, a line each:
//
//	driver NAME URL
//
//	open               the client says that it is connected
//	event {…}          an event, as JSON with name, id and data
//	error TEXT         the client reports an error
//	closed             the client has given up
//
// The clients run with the options that their documentation gives for a stream like ours; each that differs from the default
// is in docs/clients.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	donovanhide "github.com/donovanhide/eventsource"
	launchdarkly "github.com/launchdarkly/eventsource"
	r3labs "github.com/r3labs/sse/v2"
	gosse "github.com/tmaxmax/go-sse"
)

// maxEvent is how long a line or an event may be where a client has a limit.
const maxEvent = 1 << 20

var clients = map[string]func(url string) error{
	"r3labs":       runR3labs,
	"go-sse":       runGoSSE,
	"launchdarkly": runLaunchDarkly,
	"donovanhide":  runDonovanhide,
}

func main() {
	if len(os.Args) != 3 || clients[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: driver r3labs|go-sse|launchdarkly|donovanhide URL")
		os.Exit(2)
	}
	if err := clients[os.Args[1]](os.Args[2]); err != nil {
		write("error " + err.Error())
	}
	write("closed")
}

// runR3labs subscribes again when SubscribeRaw returns: it does so without an error whenever a response ends.
func runR3labs(url string) error {
	c := r3labs.NewClient(url, r3labs.ClientMaxBufferSize(maxEvent))
	c.OnConnect(func(*r3labs.Client) { write("open") })
	for {
		err := c.SubscribeRaw(func(e *r3labs.Event) { event(string(e.Event), string(e.ID), string(e.Data)) })
		if err != nil {
			return err
		}
		write("error the response has ended")
	}
}

func runGoSSE(url string) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := gosse.DefaultClient
	conn := client.NewConnection(req)
	conn.Buffer(nil, maxEvent)
	conn.SubscribeToAll(func(e gosse.Event) { event(e.Type, e.LastEventID, e.Data) })
	return conn.Connect()
}

func runLaunchDarkly(url string) error {
	s, err := launchdarkly.SubscribeWithURL(url)
	if err != nil {
		return err
	}
	write("open")
	go func() {
		for err := range s.Errors {
			write("error " + err.Error())
		}
	}()
	for e := range s.Events {
		event(e.Event(), e.Id(), e.Data())
	}
	return nil
}

func runDonovanhide(url string) error {
	s, err := donovanhide.Subscribe(url, "")
	if err != nil {
		return err
	}
	write("open")
	go func() {
		for err := range s.Errors {
			write("error " + err.Error())
		}
	}()
	for e := range s.Events {
		event(e.Event(), e.Id(), e.Data())
	}
	return nil
}

// stdout is shared by a client's goroutines. Each line is flushed.
var stdout struct {
	sync.Mutex
	w *bufio.Writer
}

func event(name, id, data string) {
	text, err := json.Marshal(map[string]string{"name": name, "id": id, "data": data})
	if err != nil {
		panic(err) // strings have a JSON form
	}
	write("event " + string(text))
}

func write(line string) {
	stdout.Lock()
	defer stdout.Unlock()
	if stdout.w == nil {
		stdout.w = bufio.NewWriter(os.Stdout)
	}
	_, _ = stdout.w.WriteString(strings.ReplaceAll(line, "\n", " ") + "\n")
	if stdout.w.Flush() != nil {
		os.Exit(0) // nobody reads any more
	}
}
