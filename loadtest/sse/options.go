package sse

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"
	httpmodule "go.k6.io/k6/js/modules/k6/http"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/lib/netext/httpext"
	"go.k6.io/k6/lib/types"
	"go.k6.io/k6/metrics"
	"golang.org/x/net/http/httpguts"
)

const (
	defaultRetry          = 3 * time.Second
	defaultMaxRetry       = 30 * time.Second
	defaultConnectTimeout = 60 * time.Second

	slowReceive = 4096 // receive buffer of a slow consumer; the kernel doubles it, and would buffer megabytes otherwise
)

// options are the options with which a stream was opened. They do not change.
type options struct {
	url            *url.URL
	method, body   string
	header         http.Header
	host           string // of the Host header; "": the URL's host
	jar            http.CookieJar
	connectTimeout time.Duration // until the response's head
	tags           metrics.TagsAndMeta
	measure        *measure // nil: only counts are measured

	// For EventSource only.
	lastEventID     string // of the first request
	sendLastEventID bool   // when reconnecting
	reconnect       bool
	maxReconnects   int           // attempts; -1: any number
	retry, maxRetry time.Duration // pause before reconnecting, and its bound after failed attempts
	jitter          float64       // the pause is spread by up to this share, up and down
	receiveBuffer   int           // bytes of the socket's receive buffer; 0: the system's default. For open as well
	expect          *expectation  // nil: nothing is expected
	readDelay       time.Duration // pause after each read of up to readBuffer bytes
	readRate        float64       // bytes per second; 0: as fast as they arrive
	maxEventBytes   int           // of an event's data; 0: the parser's limit

	// For open only.
	timeout time.Duration // of the stream as a whole; 0: none
}

// slow reports whether the stream is a slow consumer.
func (o *options) slow() bool { return o.readDelay > 0 || o.readRate > 0 }

// newOptions returns the default options for a URL.
func newOptions(state *lib.State, target sobek.Value) (*options, error) {
	o := &options{
		method: http.MethodGet, header: make(http.Header, 4), tags: state.Tags.GetCurrentValues(),
		connectTimeout: defaultConnectTimeout, sendLastEventID: true, reconnect: true, maxReconnects: -1,
		retry: defaultRetry, maxRetry: defaultMaxRetry,
		measure: &measure{sequence: "seq", timestamp: "ts", unit: time.Microsecond},
	}
	if state.CookieJar != nil {
		o.jar = state.CookieJar
	}
	o.header.Set("Accept", "text/event-stream")
	o.header.Set("Cache-Control", "no-store")
	if agent := state.Options.UserAgent; agent.Valid {
		o.header.Set("User-Agent", agent.String)
	}
	if common.IsNullish(target) {
		return nil, errors.New("the first argument must be a URL")
	}
	text, name := target.String(), ""
	if tagged, ok := target.Export().(httpext.URL); ok { // of k6's http.url`…`
		text, name = tagged.URL, tagged.Name
	}
	u, err := url.Parse(text)
	if err == nil {
		u.Host, err = httpguts.PunycodeHostPort(u.Host)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("the URL %q is invalid: %w", text, err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("the URL %q must begin with http:// or https:// and a host", text)
	}
	u.Fragment, u.RawFragment = "", ""
	o.url = u
	if name == "" {
		name = nameOf(u)
	}
	o.setName(state, name)
	return o, nil
}

// nameOf is a URL without the parts that differ from stream to stream: the values of its query, and its user.
func nameOf(u *url.URL) string {
	var names []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		if name, _, _ := strings.Cut(part, "="); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath, RawQuery: strings.Join(names, "&")}
	return bare.String()
}

func (o *options) setName(state *lib.State, name string) {
	o.tags.SetSystemTagOrMetaIfEnabled(state.Options.SystemTags, metrics.TagName, name)
	o.tags.SetSystemTagOrMetaIfEnabled(state.Options.SystemTags, metrics.TagURL, name)
}

// parser reads the members of a script's options object.
type parser struct {
	rt    *sobek.Runtime
	state *lib.State
	o     *options
	// ignored is called for unknown options and for headers that the connection sets, which xk6-sse ignores. nil: they are
	// errors.
	ignored func(key string)
}

// common reads the options that both calls have. ok is false if key is not one of them.
func (p parser) common(key string, v sobek.Value) (ok bool, err error) {
	o := p.o
	switch key {
	case "headers":
		err = p.headers(v)
	case "tags":
		if _, is := v.(*sobek.Object); !is {
			return true, fmt.Errorf("must be an object, not %q", v)
		}
		err = common.ApplyCustomUserTags(p.rt, &o.tags, v)
		if name, ok := o.tags.Tags.Get(metrics.TagName.String()); ok && err == nil {
			o.setName(p.state, name) // the tag name also names the URL
		}
	case "name":
		var name string
		name, err = text(v)
		o.setName(p.state, name)
	case "token":
		var token string
		if token, err = text(v); err == nil && !httpguts.ValidHeaderFieldValue(token) {
			err = errors.New("has characters that are not allowed in a header")
		}
		o.header.Set("Authorization", "Bearer "+token)
	case "jar":
		jar, is := v.Export().(*httpmodule.CookieJar)
		if !is {
			return true, errors.New("must be an http.CookieJar")
		}
		o.jar = jar.Jar
	case "measure":
		o.measure, err = p.measure(v)
	case "receiveBuffer":
		o.receiveBuffer, err = whole(v, 1)
	case "connectTimeout":
		o.connectTimeout, err = positive(v)
	case "maxEventBytes":
		o.maxEventBytes, err = whole(v, 1)
	default:
		return false, nil
	}
	return true, err
}

// eventSource reads the options of an EventSource. An unknown option is an error, so a misspelled one is not ignored.
func (p parser) eventSource(params sobek.Value) error {
	err := p.each(params, func(key string, v sobek.Value) (known bool, err error) {
		o := p.o
		switch key {
		case "lastEventId":
			if o.lastEventID, err = text(v); strings.ContainsAny(o.lastEventID, "\x00\r\n") {
				err = errors.New("must not contain NUL, CR or LF")
			}
		case "withLastEventId":
			o.sendLastEventID, err = boolean(v)
		case "reconnect":
			o.reconnect, err = boolean(v)
		case "maxReconnects":
			o.maxReconnects, err = whole(v, 0)
		case "retry":
			o.retry, err = duration(v)
		case "maxRetry":
			o.maxRetry, err = duration(v)
		case "jitter":
			o.jitter, err = number(v, 0, 1)
		case "expect":
			o.expect, err = p.expect(v)
		case "readDelay":
			o.readDelay, err = duration(v)
		case "readRate":
			o.readRate, err = number(v, 1, math.MaxInt32)
		case "withCredentials": // of a browser's EventSource; cookies are always sent
			_, err = boolean(v)
		default:
			return p.common(key, v)
		}
		return true, err
	})
	o := p.o
	if o.slow() && o.receiveBuffer == 0 {
		o.receiveBuffer = slowReceive
	}
	if err == nil && o.expect != nil {
		if o.measure == nil || o.measure.sequence == "" {
			return errors.New("option expect: it needs a sequence: give one in the option measure")
		}
		m := *o.measure
		if m.expected = o.expect.key; m.key == "" {
			m.key = "key"
		}
		o.measure = &m
	}
	return err
}

// open reads the options of open. It ignores unknown options like xk6-sse, but reports them.
func (p parser) open(params sobek.Value) error {
	return p.each(params, func(key string, v sobek.Value) (known bool, err error) {
		o := p.o
		switch key {
		case "method":
			if o.method = strings.ToUpper(strings.TrimSpace(v.String())); !httpguts.ValidHeaderFieldName(o.method) {
				err = errors.New("must be a method, such as GET or POST")
			}
		case "body":
			o.body = v.String()
		case "timeout":
			o.timeout, err = duration(v)
		default:
			return p.common(key, v)
		}
		return true, err
	})
}

func (p parser) each(params sobek.Value, read func(key string, v sobek.Value) (bool, error)) error {
	if common.IsNullish(params) {
		return nil
	}
	object, ok := params.(*sobek.Object)
	if !ok {
		return fmt.Errorf("the options must be an object, not %q", params)
	}
	keys := object.Keys()
	// Read tags before name, so that name wins in any order.
	slices.SortStableFunc(keys, func(a, b string) int { return rank(a) - rank(b) })
	for _, key := range keys {
		v := object.Get(key)
		if common.IsNullish(v) {
			continue
		}
		known, err := read(key, v)
		if err != nil {
			return fmt.Errorf("option %s: %w", key, err)
		}
		switch {
		case known:
		case p.ignored != nil:
			p.ignored(key)
		default:
			return fmt.Errorf("unknown option %q: the type EventSourceOptions lists the options", key)
		}
	}
	return nil
}

func rank(key string) int {
	switch key {
	case "name", "token":
		return 1
	default:
		return 0
	}
}

func (p parser) headers(v sobek.Value) error {
	object, ok := v.(*sobek.Object)
	if !ok {
		return fmt.Errorf("must be an object, not %q", v)
	}
	for _, name := range object.Keys() {
		value := object.Get(name).String()
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return fmt.Errorf("%q: %q is not allowed as the value of a header", name, value)
		}
		switch http.CanonicalHeaderKey(name) {
		case "Host":
			p.o.host = value
		case "Last-Event-Id":
			p.o.lastEventID = value
		case "Content-Length", "Transfer-Encoding", "Connection":
			if p.ignored != nil {
				continue
			}
			return fmt.Errorf("%q is set by the connection: remove it", name)
		default:
			p.o.header.Set(name, value)
		}
	}
	return nil
}

func (p parser) measure(v sobek.Value) (*measure, error) {
	if on, ok := v.Export().(bool); ok {
		if on {
			return p.o.measure, nil
		}
		return nil, nil
	}
	object, ok := v.(*sobek.Object)
	if !ok {
		return nil, errors.New("must be false or an object, such as { sequence: 'seq', timestamp: 'ts' }")
	}
	m := &measure{unit: time.Microsecond}
	for _, key := range object.Keys() {
		text := object.Get(key).String()
		switch key {
		case "sequence":
			m.sequence = text
		case "timestamp":
			m.timestamp = text
		case "key":
			m.key = text
		case "unit":
			if m.unit = units[text]; m.unit == 0 {
				return nil, fmt.Errorf("unit %q must be 's', 'ms', 'us' or 'ns'", text)
			}
		default:
			return nil, fmt.Errorf("unknown member %q: use sequence, timestamp, key and unit", key)
		}
	}
	return m, nil
}

func (p parser) expect(v sobek.Value) (*expectation, error) {
	object, ok := v.(*sobek.Object)
	if !ok {
		return nil, fmt.Errorf("must be an object, such as { key: 'news', ledger: 'run' }, not %q", v)
	}
	e := new(expectation)
	for _, name := range object.Keys() {
		value, err := text(object.Get(name))
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		case name == "key":
			e.key = value
		case name == "ledger":
			e.ledger = value
		default:
			return nil, fmt.Errorf("unknown member %q: use key and ledger", name)
		}
	}
	if e.key == "" {
		return nil, errors.New("needs key: the key of every event of the stream")
	}
	return e, nil
}

var units = map[string]time.Duration{
	"s": time.Second, "ms": time.Millisecond, "us": time.Microsecond, "ns": time.Nanosecond,
}

func text(v sobek.Value) (string, error) {
	if _, is := v.(*sobek.Object); is {
		return "", fmt.Errorf("must be text, not %q", v)
	}
	return v.String(), nil
}

func boolean(v sobek.Value) (bool, error) {
	b, ok := v.Export().(bool)
	if !ok {
		return false, fmt.Errorf("must be true or false, not %q", v)
	}
	return b, nil
}

func number(v sobek.Value, least, most float64) (float64, error) {
	n := v.ToFloat()
	if math.IsNaN(n) || n < least || n > most {
		return 0, fmt.Errorf("must be a number from %v to %v, not %q", least, most, v)
	}
	return n, nil
}

func whole(v sobek.Value, least int) (int, error) {
	n, err := number(v, float64(least), math.MaxInt32)
	if err != nil || n != math.Trunc(n) {
		return 0, fmt.Errorf("must be a whole number from %d, not %q", least, v)
	}
	return int(n), nil
}

// duration reads milliseconds, or a text such as '1.5s', as k6 does.
func duration(v sobek.Value) (time.Duration, error) {
	d, err := types.GetDurationValue(v.Export())
	if err != nil || d < 0 {
		return 0, fmt.Errorf("must be milliseconds or a duration such as '1.5s', not %q", v)
	}
	return d, nil
}

func positive(v sobek.Value) (time.Duration, error) {
	d, err := duration(v)
	if err == nil && d == 0 {
		err = errors.New("must be more than 0")
	}
	return d, err
}
