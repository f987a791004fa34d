package abuse_test

import (
	"crypto/tls"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// soak is a server with subscribers, publishers and random faults.
type soak struct {
	t        *testing.T
	v        *victim
	app      *httptest.Server // the application that the server asks
	file     string           // the server's configuration
	tls      *tls.Config      // of subscribers; nil without TLS
	callback atomic.Int32
	// configureTo writes the file with a pingInterval, which may be none.
	configureTo func(ping string)

	channels    []*channel
	subscribers []*soaker
	stop        chan struct{} // ends the publishers
	ended       chan struct{} // ends the subscribers
	running     sync.WaitGroup
	publishing  sync.WaitGroup
	problem     atomic.Pointer[string]
	connects    atomic.Int64
	refused     atomic.Int64 // connections that did not get a stream: the server was away, or told the client to come back
	faults      map[string]int
}

// How the application answers the server's question who may subscribe.
const (
	callbackUp int32 = iota
	callbackDown
	callbackHangs
)

const soakSettings = `
publishToken: %s
authCallback: %s
anonymousKeys: ["open.*"]
historyBytes: 4MiB
history: 256
pingInterval: %s
drainTimeout: 5s
`

// TestSoak is 20 s of random faults, or as long as FANFARE_SOAK says, see scripts/soak.sh: one half of the time without TLS, the
// other one with TLS, where a third of the subscribers use HTTP/2. Each event reaches each subscriber of its key once and in order,
// or a gap event has reported it. At the end nothing is left of it all.
func TestSoak(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testSoak(t, newSoak(t)) })
	t.Run("TLS", func(t *testing.T) {
		cert := certtest.New(t, "127.0.0.1")
		s := newSoak(t, "--tls-cert", cert.Cert, "--tls-key", cert.Key)
		s.tls = &tls.Config{RootCAs: cert.Roots, ServerName: "127.0.0.1", ClientSessionCache: tls.NewLRUClientSessionCache(100)}
		testSoak(t, s)
	})
}

func testSoak(t *testing.T, s *soak) {
	duration, subscribers := 20*time.Second, 200
	if text := os.Getenv("FANFARE_SOAK"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		subscribers = 1000
	}
	duration /= 2
	var before footprint
	eventually.NoError(t, "a look at the server before", func() (err error) { before, err = s.v.measure(); return err })

	// Everybody subscribes before the first event, so that each event is expected.
	s.subscribe(subscribers)
	eventually.True(t, "all have a stream", func() bool {
		s.check()
		return !slices.ContainsFunc(s.subscribers, func(c *soaker) bool { return !c.ready.Load() })
	})
	start := time.Now()
	for _, c := range s.channels {
		s.publishing.Go(func() { s.publish(c) })
	}
	restart := start.Add(duration / 2)
	for time.Since(start) < duration {
		s.check()
		if !restart.IsZero() && time.Now().After(restart) {
			restart = time.Time{}
			s.restart()
		}
		s.fault()
		time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond)
	}

	// No more faults: one more event of each key reaches everybody.
	s.callback.Store(callbackUp)
	s.configure("1s")
	close(s.stop)
	s.publishing.Wait()
	eventually.True(t, "all have the last events", func() bool {
		s.check()
		return !slices.ContainsFunc(s.subscribers, func(c *soaker) bool { return !c.complete() })
	})
	_, peak := s.v.resident(t)
	close(s.ended)
	for _, c := range s.subscribers {
		c.cut()
	}
	s.running.Wait()
	s.check()
	s.table(time.Since(start), peak)
	s.app.CloseClientConnections() // the server keeps them for a minute
	eventually.NoError(t, "the server is as it was", func() error {
		after, err := s.v.measure()
		if err == nil {
			err = before.back(after, attack{keys: len(s.channels), heap: s.v.count(t, "fanfare_history_bytes")>>20 + 1})
		}
		return err
	})
}

func newSoak(t *testing.T, args ...string) *soak {
	s := &soak{t: t, stop: make(chan struct{}), ended: make(chan struct{}), faults: map[string]int{}}
	app := httptest.NewServer(http.HandlerFunc(s.decide))
	t.Cleanup(app.Close)
	s.app = app
	s.file = filepath.Join(t.TempDir(), "fanfare.yaml")
	write := func(ping string) {
		if err := os.WriteFile(s.file, fmt.Appendf(nil, soakSettings, publishToken, app.URL, ping), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1s")
	s.configureTo = write
	server := &proctest.Server{T: t, Binary: binary, Token: publishToken, Args: append([]string{"--config", s.file, "--pprof", "--log-format", "json"}, args...)}
	server.Start()
	s.v = &victim{Server: server, stream: proctest.Addr(server.Stream), admin: proctest.Addr(server.Admin)}
	for i := range 20 {
		s.channels = append(s.channels, &channel{key: fmt.Sprintf("%s.%d", [...]string{"open", "user"}[i%2], i), size: 50 + 20*i, pause: 150 * time.Millisecond})
	}
	s.channels = append(s.channels, &channel{key: "open.large", size: 40_000, pause: 20 * time.Millisecond}) // overtakes who stalls
	t.Cleanup(func() {                                                                                       // after a failure
		for _, c := range []chan struct{}{s.stop, s.ended} {
			select {
			case <-c:
			default:
				close(c)
			}
		}
		for _, c := range s.subscribers {
			c.cut()
		}
		s.publishing.Wait()
		s.running.Wait()
	})
	return s
}

// decide is the application that the server asks who may subscribe.
func (s *soak) decide(w http.ResponseWriter, r *http.Request) {
	switch s.callback.Load() {
	case callbackDown:
		w.WriteHeader(http.StatusBadGateway)
		return
	case callbackHangs:
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"subject":%q}`, strings.TrimPrefix(r.Header.Get("Cookie"), "who="))
}

func (s *soak) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.problem.CompareAndSwap(nil, &text)
}

func (s *soak) check() {
	s.t.Helper()
	if p := s.problem.Load(); p != nil {
		s.t.Fatal(*p)
	}
	if s.v.Ended() {
		s.t.Fatalf("the server has ended: %s", s.v.Cmd.ProcessState)
	}
}

// subscribe opens n streams of two keys each, and some more of the large events.
func (s *soak) subscribe(n int) {
	small := s.channels[:len(s.channels)-1]
	for i := range n {
		a := i % len(small)
		c := &soaker{s: s, http2: s.tls != nil && i%3 == 0, name: fmt.Sprintf("u%d", i%50), channels: []*channel{small[a], small[(a+1+i/len(small)%(len(small)-1))%len(small)]}}
		if i < 10 {
			c.channels = s.channels[len(s.channels)-1:]
		}
		c.begin()
		s.subscribers = append(s.subscribers, c)
		s.running.Go(c.run)
	}
}

// fault makes one, at random.
func (s *soak) fault() {
	all := map[string]func(){
		"connections reset":         func() { s.some(20, func(c *soaker) { c.cut() }) },
		"clients stalled":           s.stallSome,
		"clients slow":              func() { s.some(20, func(c *soaker) { c.slow.Store(100) }) },
		"connections half-closed":   func() { s.some(5, func(c *soaker) { c.halfClose() }) },
		"keys closed":               func() { s.v.Post("/close?key="+s.channels[rand.IntN(len(s.channels))].key, "", "") },
		"subjects disconnected":     func() { s.v.Post(fmt.Sprintf("/disconnect?subject=u%d", rand.IntN(50)), "", "") },
		"reloads":                   func() { s.configure(fmt.Sprintf("%dms", 500+rand.IntN(1000))) },
		"reloads of a broken file":  func() { s.configure("soon") },
		"callback down":             func() { s.trouble(callbackDown) },
		"callback hangs":            func() { s.trouble(callbackHangs) },
		"bursts of strangers":       s.strangers,
		"requests of strange heads": s.strangeHeads,
	}
	names := slices.Sorted(maps.Keys(all))
	name := names[rand.IntN(len(names))]
	all[name]()
	s.faults[name]++
}

// stallSome lets some subscribers, and one of the large events, read nothing for a while.
func (s *soak) stallSome() {
	stall := func(c *soaker) { c.stall.Store(int64(2+rand.IntN(5)) * int64(time.Second)) }
	s.some(20, stall)
	stall(s.subscribers[rand.IntN(10)])
}

// trouble makes the application answer badly for a while.
func (s *soak) trouble(how int32) {
	s.callback.Store(how)
	time.AfterFunc(time.Duration(500+rand.IntN(2000))*time.Millisecond, func() { s.callback.CompareAndSwap(how, callbackUp) })
}

// some does something to up to n subscribers.
func (s *soak) some(n int, do func(*soaker)) {
	for range 1 + rand.IntN(n) {
		do(s.subscribers[rand.IntN(len(s.subscribers))])
	}
}

// configure writes the file, which the server watches, and sends the signal, too.
func (s *soak) configure(ping string) {
	s.configureTo(ping)
	s.v.Signal(syscall.SIGHUP)
}

// restart ends the server by a drain, and starts it again on its addresses.
func (s *soak) restart() {
	s.configure("1s") // it must be able to start
	if code := s.v.Stop(syscall.SIGTERM); code != 0 {
		s.t.Fatalf("the drain ended with status %d", code)
	}
	s.v.Restart()
	s.faults["restarts"]++
}

// strangers connect and say nothing, or ask for events that nobody knows.
func (s *soak) strangers() {
	flood(s.t, 50, 50, func(i int) error {
		c, err := local(i).Dial("tcp", [...]string{s.v.stream, s.v.admin}[i%2])
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(c, "GET /stream?connectKey=open.0&connectKey=strange-%d HTTP/1.1\r\nHost: x\r\nLast-Event-ID: nobody-%d\r\n\r\n", i, i)
		time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
		return c.Close()
	})
}

func (s *soak) strangeHeads() {
	for _, text := range []string{"\x16\x03\x01\x02\x00", "GET / HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST /batch HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n", "\x00\x00\x00"} {
		exchange(s.t, s.v.stream, text)
		exchange(s.t, s.v.admin, text)
	}
}

// table reports what has happened.
func (s *soak) table(took time.Duration, peak int) {
	var sent, again, received, missed, unknown, gaps int64
	for _, c := range s.channels {
		sent, again = sent+c.sent.Load(), again+c.repeated.Load()
	}
	for _, c := range s.subscribers {
		for _, seen := range c.seen {
			received, missed, unknown, gaps = received+seen.received, missed+seen.missed, unknown+seen.unknown, gaps+seen.gaps
			if total := seen.received + seen.missed + seen.unknown; total != seen.channel.sent.Load() {
				s.t.Errorf("%s, key %s: %d events received and %d reported as missed of %d", c.name, seen.channel.key, seen.received, seen.missed+seen.unknown, seen.channel.sent.Load())
			}
		}
	}
	var b strings.Builder
	row := func(name string, value any) { fmt.Fprintf(&b, "| %s | %v |\n", name, value) }
	row("duration", took.Round(time.Second))
	row("subscribers, keys", fmt.Sprint(len(s.subscribers), ", ", len(s.channels)))
	row("events published (requests sent again)", fmt.Sprintf("%d (%d)", sent, again))
	row("events received", received)
	row("events that gaps have reported: counted, not countable", fmt.Sprintf("%d, %d in %d gaps", missed, unknown, gaps))
	row("events lost without a report, twice, or out of order", 0) // each of them ends the test
	row("connections (without a stream)", fmt.Sprintf("%d (%d)", s.connects.Load(), s.refused.Load()))
	for _, name := range slices.Sorted(maps.Keys(s.faults)) {
		row(name, s.faults[name])
	}
	row("resident memory at most, after the restart", fmt.Sprintf("%d MiB", peak>>20))
	s.t.Logf("\n| | |\n|---|---|\n%s", &b)
}
