package faulty

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Fault is what a server does wrong.
type Fault string

// The faults. Faults of a single event affect number [Seq] of each key, at all its subscribers. Faults of connections affect
// every third one.
const (
	None         Fault = ""
	Drops        Fault = "drops"
	Duplicates   Fault = "duplicates"
	Reorders     Fault = "reorders"  // the event comes after the next one
	Misroutes    Fault = "misroutes" // the event also goes to all other keys
	Halves       Fault = "halves"    // the event's data is cut off
	Cuts         Fault = "cuts"      // the connection is reset in the middle of the event
	Delays       Fault = "delays"    // every event, by [Delay]
	Stalls       Fault = "stalls"    // nothing follows the event
	Deaf         Fault = "deaf to newcomers"
	HeadOfLine   Fault = "head-of-line blocking" // a client that does not read blocks the others
	Resets       Fault = "resets"
	Refuses      Fault = "refuses" // 503
	NeverAnswers Fault = "never answers"
	Hangs        Fault = "publish route that hangs"           // from request [HangAfter]+1 on
	HangsForAKey Fault = "publish route that hangs for a key" // for the first key that is published to
	Rejects      Fault = "publish route that rejects"         // every third event with 500
	Redirects    Fault = "redirects"                          // every stream, to itself
	Compresses   Fault = "compresses"                         // every stream, although no client accepts that
)

// Where and when the faults happen.
const (
	Seq       = 3
	Delay     = 700 * time.Millisecond
	HangAfter = 3 // requests
)

// sendBuffer is the kernel's buffer for each connection. It is small, so a reader that stops soon blocks writes.
const sendBuffer = 16 << 10

// Server has the routes
//
//	GET  /s?k=KEY    the stream of a key
//	POST /p?k=KEY    publishes the body, a JSON object with the event's seq
//
// It remembers all events, and replays those after Last-Event-ID.
type Server struct {
	*httptest.Server
	fault       Fault
	connections atomic.Int64
	requests    atomic.Int64
	done        chan struct{} // closed by Close
	line        sync.Mutex    // held during a write if the fault is HeadOfLine

	mu      sync.Mutex
	streams map[*stream]bool
	past    []event // its index is its id-1
	first   string  // the key that was published to first
}

type event struct {
	key  string
	seq  int64
	id   int
	data []byte
	at   time.Time

	replayed bool // a fault affects an event only once
}

// Start starts a server with a fault. Call Close when it is no longer used.
func Start(fault Fault) *Server {
	f := &Server{fault: fault, done: make(chan struct{}), streams: map[*stream]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /s", f.subscribe)
	mux.HandleFunc("POST /p", f.publish)
	f.Server = httptest.NewUnstartedServer(mux)
	f.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if t, ok := c.(*net.TCPConn); ok && state == http.StateNew {
			_ = t.SetWriteBuffer(sendBuffer)
		}
	}
	f.Server.Start()
	return f
}

// Close ends all streams and the server.
func (f *Server) Close() {
	close(f.done)
	f.CloseClientConnections()
	f.Server.Close()
}

// hold waits until the client has gone, or the server is closed.
func (f *Server) hold(r *http.Request) {
	select {
	case <-f.done:
	case <-r.Context().Done():
	}
}

// firstKey reports whether a key is the first one that was published to.
func (f *Server) firstKey(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first == "" {
		f.first = key
	}
	return key == f.first
}

func (f *Server) publish(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	n := f.requests.Add(1)
	switch {
	case f.fault == Hangs && n > HangAfter:
		f.hold(r)
		return
	case f.fault == HangsForAKey && f.firstKey(r.URL.Query().Get("k")):
		f.hold(r)
		return
	case f.fault == Rejects && n%3 == 0:
		http.Error(w, "not this one", http.StatusInternalServerError)
		return
	}
	var payload struct{ Seq int64 }
	if err := json.Unmarshal(body, &payload); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	e := event{key: r.URL.Query().Get("k"), seq: payload.Seq, id: len(f.past) + 1, data: body, at: time.Now()}
	f.past = append(f.past, e)
	for s := range f.streams {
		if s.key == e.key || f.fault == Misroutes && e.seq == Seq {
			s.events <- e
		}
	}
}

func (f *Server) subscribe(w http.ResponseWriter, r *http.Request) {
	if f.connections.Add(1)%3 == 0 {
		switch f.fault {
		case Resets:
			reset(w)
			return
		case Refuses:
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		case NeverAnswers:
			f.hold(r)
			return
		}
	}
	switch f.fault {
	case Redirects:
		w.Header().Set("Location", r.URL.RequestURI())
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	case Compresses:
		w.Header().Set("Content-Encoding", "gzip")
	}
	after, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	s := &stream{f: f, w: w, key: r.URL.Query().Get("k"), events: make(chan event, 100_000)}
	f.mu.Lock()
	if after > 0 {
		for _, e := range f.past[min(after, len(f.past)):] {
			if e.replayed = true; e.key == s.key {
				s.events <- e
			}
		}
	}
	if f.fault != Deaf || len(f.past) == 0 {
		f.streams[s] = true
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.streams, s)
		f.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	if s.write(": hello\n\n") {
		s.run(r)
	}
}

// stream is the stream of one client.
type stream struct {
	f      *Server
	w      http.ResponseWriter
	key    string
	events chan event
	kept   string // the event to send after the next one, for Reorders
}

func (s *stream) run(r *http.Request) {
	for {
		select {
		case <-s.f.done:
			return
		case <-r.Context().Done():
			return
		case e := <-s.events:
			if !s.pass(e) {
				s.f.hold(r)
				return
			}
		}
	}
}

// pass sends an event with the fault applied. It returns false if nothing is to follow.
func (s *stream) pass(e event) bool {
	frame := fmt.Sprintf("id: %d\ndata: %s\n\n", e.id, e.data)
	hit := e.seq == Seq && !e.replayed
	switch s.f.fault {
	case Delays:
		time.Sleep(time.Until(e.at.Add(Delay)))
	case Drops:
		if hit {
			return true
		}
	case Duplicates:
		if hit {
			frame += frame
		}
	case Reorders:
		if hit {
			s.kept = frame
			return true
		}
		frame, s.kept = frame+s.kept, ""
	case Halves:
		if hit {
			frame = fmt.Sprintf("id: %d\ndata: %s\n\n", e.id, e.data[:len(e.data)/2])
		}
	case Cuts:
		if hit {
			s.write(frame[:len(frame)/2])
			reset(s.w)
			return false
		}
	case Stalls:
		if e.seq > Seq {
			return false
		}
	}
	return s.write(frame)
}

func (s *stream) write(text string) bool {
	if s.f.fault == HeadOfLine {
		s.f.line.Lock()
		defer s.f.line.Unlock()
	}
	if _, err := io.WriteString(s.w, text); err != nil {
		return false
	}
	return http.NewResponseController(s.w).Flush() == nil
}

// reset ends the connection with a TCP reset.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = conn.Close()
}
