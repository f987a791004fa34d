package redis

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"fanfare/bridge/payload"
	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/bridgetest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

// fasthttp looks every ten seconds whether its pool of workers should stop.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// redisServer is a redis-server with a client of the test's own, which connects again by itself.
type redisServer struct {
	*proctest.Redis
	client rueidis.Client
}

// startRedis runs redis-server until the end of the test. It saves nothing, unless args say so.
func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	r := &redisServer{Redis: (&proctest.Redis{T: t, Args: args}).Start()}
	var err error
	r.client, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{r.Addr}, ForceSingleClient: true, DisableCache: true, Password: r.password()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	return r
}

func (r *redisServer) password() string {
	for i, a := range r.Args {
		if a == "--requirepass" {
			return r.Args[i+1]
		}
	}
	return ""
}

// up starts the process again after kill, and waits until the test's own client is back.
func (r *redisServer) up() {
	r.T.Helper()
	r.Start()
	eventually.NoError(r.T, "the test's own client is back", func() error {
		_, err := r.try("PING")
		return err
	})
}

// try runs a command.
func (r *redisServer) try(args ...string) (rueidis.RedisMessage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), eventually.Patience)
	defer cancel()
	return r.client.Do(ctx, r.client.B().Arbitrary(args...).Build()).ToMessage()
}

// do runs a command that must succeed.
func (r *redisServer) do(args ...string) *rueidis.RedisMessage {
	r.T.Helper()
	m, err := r.try(args...)
	if err != nil && !rueidis.IsRedisNil(err) {
		r.T.Fatalf("%s: %v", strings.Join(args[:min(len(args), 3)], " "), err)
	}
	return &m
}

// add adds an entry to a stream, and returns its id.
func (r *redisServer) add(stream string, fields ...string) string {
	r.T.Helper()
	id, err := r.do(append([]string{"XADD", stream, "*"}, fields...)...).ToString()
	if err != nil {
		r.T.Fatal(err)
	}
	return id
}

// fanfare is a server with a bridge.
type fanfare struct {
	*bridgetest.Server
	bridge *Bridge
}

// setup is what startFanfare makes a server of.
type setup struct {
	url                       string
	channels, streams, rules  []string
	payload                   payload.Mode
	timeout                   time.Duration
	key                       engine.KeyOptions
	maxEventBytes, maxStreams int
	backoffMax, pollInterval  time.Duration
	addr                      string // to listen on again
	early                     func(*fanfare)
}

// startFanfare runs a server until the end of the test, or until stop. It listens once the bridge has settled, as the
// command does.
func startFanfare(t testing.TB, s setup) *fanfare {
	t.Helper()
	names, err := NewNames(s.channels, s.streams, s.rules)
	if err != nil {
		t.Fatal(err)
	}
	if s.key.History == 0 {
		s.key.History = 1 << 15
	}
	s.key.HistoryBytes = 256 << 20
	ofStreams := s.key
	ofStreams.StableIDs = true
	f := &fanfare{}
	f.Server = bridgetest.New(t, engine.Options{Key: s.key, MaxHistoryBytes: 512 << 20, KeyRule: func(key string) *engine.KeyOptions {
		if names.Streamed(key) {
			return &ofStreams
		}
		return nil
	}}, s.maxEventBytes)
	f.bridge, err = New(Options{
		URL: s.url, Names: names, Payload: s.payload, Timeout: s.timeout, MaxStreams: s.maxStreams,
		History:    func(string) (int, int64) { return s.key.History, s.key.HistoryBytes },
		Engine:     f.Eng,
		Publish:    func(key string, ev codec.Event) error { return f.Publish(key, ev, ErrTooLarge) },
		Registerer: f.Srv.Registry(), Logger: f.Logger,
		backoffMin: 5 * time.Millisecond, backoffMax: s.backoffMax, pollInterval: s.pollInterval,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.early != nil {
		s.early(f)
	}
	f.Serve(f.bridge, s.addr)
	return f
}

// client is an EventSource: it reads a stream, and comes back by resume.
type client struct {
	f      *fanfare
	keys   []string
	stream *wiretest.Events
	ended  chan struct{} // closed when nothing more is read from stream

	mu     sync.Mutex
	lastID string
	events []wiretest.Message
}

// subscribe opens a stream, and returns when it is open.
func (f *fanfare) subscribe(keys ...string) *client {
	f.T.Helper()
	c := &client{f: f, keys: keys}
	c.open(f)
	return c
}

// resume comes back, to another server perhaps, with the last id of before.
func (c *client) resume(f *fanfare) {
	c.f.T.Helper()
	c.leave()
	c.open(f)
}

func (c *client) leave() {
	c.stream.Close()
	<-c.ended
}

func (c *client) open(f *fanfare) {
	f.T.Helper()
	var header []string
	if c.lastID != "" {
		header = append(header, "Last-Event-ID: "+c.lastID)
	}
	c.f, c.ended = f, make(chan struct{})
	c.stream = wiretest.Subscribe(f.T, f.Addr, "/stream?"+url.Values{"connectKey": c.keys}.Encode(), header...)
	stream, ended := c.stream, c.ended
	go func() {
		defer close(ended)
		for stream.Err == nil {
			stream.Feed()
			c.mu.Lock()
			c.events = append(c.events, stream.Take()...)
			if id := stream.LastID(); id != "" {
				c.lastID = id
			}
			c.mu.Unlock()
		}
	}()
	f.T.Cleanup(func() {
		stream.Close()
		<-ended
	})
}

// seen returns what has come so far.
func (c *client) seen() []wiretest.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]wiretest.Message(nil), c.events...)
}

// await waits until n events have come, and returns all.
func (c *client) await(n int) []wiretest.Message {
	c.f.T.Helper()
	var events []wiretest.Message
	eventually.Holds(c.f.T, fmt.Sprintf("%d events of %v", n, c.keys), func() (bool, string) {
		events = c.seen()
		return len(events) >= n, fmt.Sprint(len(events), " ", events[max(len(events)-3, 0):])
	})
	return events
}

// awaitLast waits until an event with this data has come, and returns all.
func (c *client) awaitLast(data string) []wiretest.Message {
	c.f.T.Helper()
	var events []wiretest.Message
	eventually.Holds(c.f.T, "the event "+data, func() (bool, string) {
		events = c.seen()
		n := len(events)
		return n > 0 && events[n-1].Data == data, fmt.Sprint(n, " ", events[max(n-3, 0):])
	})
	return events
}

// numbers returns the data that are numbers, and how many gaps there were among them.
func numbers(t testing.TB, events []wiretest.Message) (list []int, gaps int) {
	t.Helper()
	for _, e := range events {
		if e.Type == "gap" {
			gaps++
			continue
		}
		n, err := strconv.Atoi(e.Data)
		if err != nil {
			t.Fatalf("%v is no number", e)
		}
		list = append(list, n)
	}
	return list, gaps
}

// nobody is told of an event.
func nobody(string, codec.Event) error { return nil }
