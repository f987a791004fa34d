// Package sub is the command "fanfare sub". It prints a stream for a person or for a program, reconnects when the stream ends,
// and reports gaps.
package sub

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fanfare/cmd/fanfare/remote"
)

// Options are the command's arguments, as kong reads them.
type Options struct {
	Keys []string `arg:"" optional:"" type:"rest" help:"Keys to subscribe to, on one connection. None: the server's cacheKey."`

	URL     string   `name:"url" type:"text" placeholder:"URL" help:"The stream, or a Unix socket: unix:/PATH. Environment: FANFARE_STREAM. Default: http://127.0.0.1:8080/stream."`
	Headers []string `name:"header" short:"H" type:"texts" sep:"none" placeholder:"NAME: VALUE" help:"Header field of the request. May be repeated."`

	TLS remote.TLS `embed:"" group:"TLS"`

	Raw  bool `xor:"format" help:"Print only the data, with a line end after each event."`
	JSON bool `name:"json" xor:"format" help:"Print each event, and each gap, as a line of JSON with key, event, id, data, time."`

	Count     int           `short:"n" default:"0" placeholder:"N" help:"Stop after this many events, not counting gaps. Default: no limit."`
	Since     string        `type:"text" xor:"begin" placeholder:"ID" help:"Begin after the event with this id, like a client that lost its connection there."`
	Rewind    string        `type:"text" xor:"begin" placeholder:"N|DURATION|earliest" help:"Begin with past events: the newest 10 of each key, those of the last 5m, or all that are kept (earliest)."`
	Timeout   time.Duration `default:"0s" placeholder:"DURATION" help:"Stop after this time. With -n that is a failure. Default: no limit."`
	Wait      time.Duration `default:"0s" placeholder:"DURATION" help:"Keep trying for this long while the server cannot be reached at the start. After the first stream, attempts continue indefinitely. Default: fail at once."`
	Reconnect bool          `default:"true" negatable:"" help:"Reconnect when the stream ends. Default: true."`

	Color    string `default:"auto" enum:"auto,always,never" placeholder:"auto|always|never" help:"Colors. auto: on a terminal, unless NO_COLOR is set."`
	Quiet    bool   `short:"q" help:"Do not print notes about connections to standard error. Gaps and errors are still reported."`
	MaxBytes int    `type:"size" default:"16MiB" placeholder:"SIZE" help:"Longest event. Default: 16MiB."`

	noColor bool
	urlFrom string // the flag or variable that gave URL

	onlyKey   string // the key of every event
	enveloped bool   // the server was asked to send the key of each event
	showKey   bool   // print the key of each event
}

const defaultURL = "http://127.0.0.1:8080/stream"

// Environ sets from the environment what no flag has set.
func (o *Options) Environ(getenv func(string) string) {
	o.urlFrom = "--url"
	if o.URL == "" && getenv("FANFARE_STREAM") != "" {
		o.urlFrom = "FANFARE_STREAM"
	}
	o.URL = cmp.Or(o.URL, getenv("FANFARE_STREAM"), defaultURL)
	o.noColor = getenv("NO_COLOR") != "" || getenv("TERM") == "dumb"
}

// envelope decides how to find the key of an event. With one key, it is the key of every event. Otherwise the query asks the
// server to send it before the data of each event, see docs/protocol.md. Raw output has no place for a key.
func (o *Options) envelope(query url.Values) {
	keys := query["connectKey"]
	switch {
	case len(keys) == 1 && keys[0] != "":
		o.onlyKey = keys[0]
	case o.Raw, len(keys) == 0 && !o.JSON: // the key is not printed
	default:
		o.enveloped = true
		query.Set("envelope", "key")
	}
	o.showKey = len(keys) > 1
}

// target returns the URL of the stream and the header fields of its request. The error is a *remote.UsageError.
func (o *Options) target() (*url.URL, http.Header, error) {
	u, err := remote.ParseURL(cmp.Or(o.urlFrom, "--url"), o.URL, defaultURL)
	if err != nil {
		return nil, nil, err
	}
	remote.DefaultPath(u, "/stream")
	switch {
	case o.Count < 0:
		return nil, nil, remote.Usage("--count (-n) is %d and must not be negative: write 10, or 0 for no limit", o.Count)
	case o.Timeout < 0:
		return nil, nil, remote.Usage("--timeout is %s and must not be negative: write 10s, or 0 for no limit", o.Timeout)
	case o.Wait < 0:
		return nil, nil, remote.Usage("--wait is %s and must not be negative: write 10s, or 0 to fail at once", o.Wait)
	case o.MaxBytes < 1:
		return nil, nil, remote.Usage("--max-bytes is %d and must be more than 0: write 1MiB", o.MaxBytes)
	}
	query := u.Query()
	for _, key := range o.Keys {
		query.Add("connectKey", key)
	}
	if o.Rewind != "" {
		query.Set("rewind", o.Rewind)
	}
	o.envelope(query)
	u.RawQuery = query.Encode()
	fields := make(http.Header)
	for _, h := range o.Headers {
		name, value, ok := strings.Cut(h, ":")
		if name = strings.TrimSpace(name); !ok || !remote.ValidField(name, value) {
			return nil, nil, remote.Usage("--header %q is not a header field: write \"Name: value\", without control characters and without a space in the name", h)
		}
		fields.Add(name, strings.TrimSpace(value))
	}
	return u, fields, nil
}
