//go:build linux

package run_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"fanfare/cmd/fanload/report"
	"fanfare/cmd/fanload/run"
	"fanfare/internal/test/wiretest"
)

// http2Broker speaks HTTP/2 with TLS or by prior knowledge.
func http2Broker(t *testing.T, secure bool, fault func(int, int64, string) []string) (b *broker, ca string) {
	t.Helper()
	if secure {
		b, ca = secureBroker(t, tls.VersionTLS13)
		b.fault = fault
		return b, ca
	}
	b = unstarted(t, fault)
	b.Config.Protocols = new(http.Protocols)
	b.Config.Protocols.SetHTTP1(true)
	b.Config.Protocols.SetUnencryptedHTTP2(true)
	b.Start()
	return b, ""
}

func http2Settings(t *testing.T, b *broker, ca, mode string) *run.Settings {
	t.Helper()
	s := settings(t, b.URL, mode)
	s.Plan.HTTP2, s.Plan.StreamsPerConnection, s.Plan.Trust.CA = true, 7, ca
	return s
}

// TestHTTP2Modes: every mode but one is the same with HTTP/2. Twenty streams, seven on a connection, are three connections.
func TestHTTP2Modes(t *testing.T) {
	for _, secure := range []bool{true, false} {
		for _, mode := range []string{run.Closed, run.Open, run.Burst, run.Ramp, run.Churn, run.Storm} {
			t.Run(map[bool]string{true: "TLS ", false: "plain "}[secure]+mode, func(t *testing.T) {
				b, ca := http2Broker(t, secure, nil)
				s := http2Settings(t, b, ca, mode)
				s.Plan.Reconnect = true
				s.Every, s.Churn = 30*time.Millisecond, 100
				if mode == run.Ramp {
					s.Rate, s.Duration = 0, 50*time.Millisecond
				}
				r := carryOut(t, s)
				switch mode {
				case run.Ramp:
					wantClean(t, r, 0)
				case run.Churn, run.Storm: // the test's server forgets to replay what is published while a stream opens
					if r.Deliveries.Total < 100 || r.Sequence.Foreign+r.Sequence.Misrouted != 0 {
						t.Errorf("%d deliveries, %+v", r.Deliveries.Total, r.Sequence)
					}
				default:
					wantClean(t, r, 20*40)
				}
				x := r.Streams
				if mode == run.Storm && x.Reconnects < 20 || mode == run.Churn && x.Churned < 2 || x.Ended != 0 {
					t.Errorf("streams %+v", x)
				}
				if r.Connect.TCP.Count != 3 || secure && r.Connect.TLS.Count != 3 || r.Connect.Head.Count < 20 {
					t.Errorf("%d connections, %d handshakes, %d heads; want 3, 3 and 20", r.Connect.TCP.Count, r.Connect.TLS.Count, r.Connect.Head.Count)
				}
			})
		}
	}
}

// TestHTTP2FaultsAreCounted: a stream's events are checked as those of a connection are.
func TestHTTP2FaultsAreCounted(t *testing.T) {
	b, ca := http2Broker(t, true, func(subscriber int, seq int64, frame string) []string {
		switch {
		case subscriber == 0 && seq == 7, subscriber == 1 && seq >= 38:
			return nil
		case subscriber == 2 && seq == 5:
			return []string{frame, frame}
		}
		return []string{frame}
	})
	r := carryOut(t, http2Settings(t, b, ca, run.Open))
	if want := (report.Sequence{Lost: 4, Undelivered: 3, LostSubscribers: 2, Duplicated: 1}); r.Sequence != want {
		t.Errorf("sequence %+v, want %+v", r.Sequence, want)
	}
}

// TestHTTP2Windows: more is sent than the windows of a stream and of a connection have, so both have to be given back.
func TestHTTP2Windows(t *testing.T) {
	b, ca := http2Broker(t, true, nil)
	s := http2Settings(t, b, ca, run.Closed)
	s.Plan.Size, s.Plan.Subscribers, s.Events, s.Round = 500_000, 4, 20, 20*time.Second
	s.Duration = time.Minute
	wantClean(t, carryOut(t, s), 4*20)
}

// TestHTTP2Pieces: frames arrive in pieces of any size.
func TestHTTP2Pieces(t *testing.T) {
	b, ca := http2Broker(t, true, nil)
	s := http2Settings(t, b, ca, run.Open)
	s.Plan.Base, s.Plan.Subscribers, s.Events = "https://"+dribble(t, s.Plan.PublishBase), 5, 10
	wantClean(t, carryOut(t, s), 5*10)
	plain, _ := http2Broker(t, false, nil)
	s = http2Settings(t, plain, "", run.Open)
	s.Plan.Base, s.Plan.Subscribers, s.Events = "http://"+dribble(t, strings.TrimPrefix(plain.URL, "http://")), 5, 10
	wantClean(t, carryOut(t, s), 5*10)
}

// TestHTTP2Processes share the connections, not the streams of one.
func TestHTTP2Processes(t *testing.T) {
	t.Setenv(workerVariable, "1")
	b, ca := http2Broker(t, true, nil)
	s := http2Settings(t, b, ca, run.Closed)
	s.Plan.Processes, s.Plan.Loops = 2, 2
	r := carryOut(t, s)
	wantClean(t, r, 20*40)
	if r.Connect.TLS.Count != 3 {
		t.Errorf("%d connections, want 3", r.Connect.TLS.Count)
	}
}

// TestHTTP2Ends: a stream that the server ends or resets, and a connection that it closes, are found, and the subscribers come back.
func TestHTTP2Ends(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(*broker)
		ended int64
	}{
		"streams": {func(b *broker) {
			b.mu.Lock()
			defer b.mu.Unlock()
			for c := range b.subs {
				c <- "end"
			}
		}, 20},
		"connections": {func(b *broker) { b.CloseClientConnections() }, 20},
	} {
		t.Run(name, func(t *testing.T) {
			b, ca := http2Broker(t, true, nil)
			s := http2Settings(t, b, ca, run.Ramp)
			s.Plan.Reconnect, s.Plan.PublishBase = true, newBroker(t, nil).URL
			s.Rate, s.Duration = 0, 400*time.Millisecond
			var once sync.Once
			s.Progress = func(p run.Progress) {
				if p.Phase == run.Ramp {
					once.Do(func() { c.end(b) })
				}
			}
			r := carryOut(t, s)
			if x := r.Streams; x.Ended != c.ended || x.Reconnects != c.ended || x.OpenAtEnd != 20 {
				t.Errorf("streams %+v, %v; want %d ended and back", x, r.Errors, c.ended)
			}
		})
	}
}

// TestHTTP2GoAway: after a GOAWAY, the streams that the server has not seen are opened on another connection, and nothing counts as
// failed.
func TestHTTP2GoAway(t *testing.T) {
	l := wiretest.Serve(t, func(number int, c *net.TCPConn) {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.ReadFull(c, make([]byte, len(http2.ClientPreface)))
		framer := http2.NewFramer(c, c)
		_ = framer.WriteSettings()
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		for {
			f, err := framer.ReadFrame()
			if err != nil {
				return
			}
			h, ok := f.(*http2.HeadersFrame)
			switch {
			case !ok || number == 0 && h.StreamID == 3:
				continue
			case number == 0 && h.StreamID == 5: // the last of the three
				_ = framer.WriteGoAway(1, http2.ErrCodeNo, nil)
				_ = framer.WriteData(1, true, nil)
				continue
			}
			block.Reset()
			_ = encoder.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
			_ = encoder.WriteField(hpack.HeaderField{Name: "content-type", Value: "text/event-stream"})
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, BlockFragment: block.Bytes(), EndHeaders: true})
		}
	})
	s := settings(t, "http://"+l.Addr().String(), run.Ramp)
	s.Plan.HTTP2, s.Plan.StreamsPerConnection, s.Plan.Subscribers, s.Plan.Reconnect = true, 3, 3, true
	s.Rate, s.Duration = 0, 300*time.Millisecond
	r := carryOut(t, s)
	x := r.Streams
	if r.Connect.Connected != 3 || r.Connect.Failed != 0 || x.Ended != 1 || x.Reconnects != 1 || x.ReconnectFailed != 0 || x.OpenAtEnd != 3 ||
		r.Connect.TCP.Count != 2 {
		t.Errorf("%d connected, %d failed, on %d connections, streams %+v, %v; want 3 on 2, of which 1 ended and came back",
			r.Connect.Connected, r.Connect.Failed, r.Connect.TCP.Count, x, r.Errors)
	}
}

// TestHTTP2Header: a header that is longer than a frame comes in several.
func TestHTTP2Header(t *testing.T) {
	b, ca := http2Broker(t, true, nil)
	inner := b.Config.Handler
	b.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("X-Long", strings.Repeat("x", 40_000))
		}
		inner.ServeHTTP(w, r)
	})
	s := http2Settings(t, b, ca, run.Open)
	wantClean(t, carryOut(t, s), 20*40)
}

// saying is a server that answers every connection with bytes, and reads until the client closes it.
func saying(t *testing.T, answer string) string {
	t.Helper()
	l := wiretest.Serve(t, func(_ int, c *net.TCPConn) {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, answer)
		_, _ = io.Copy(io.Discard, c)
	})
	return "http://" + l.Addr().String()
}

// TestHTTP2Refusals are reported with what to do.
func TestHTTP2Refusals(t *testing.T) {
	limited := unstarted(t, nil)
	limited.EnableHTTP2 = true
	limited.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 4}
	limited.StartTLS()
	old := unstarted(t, nil)
	old.StartTLS()
	reset := unstarted(t, nil)
	reset.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	reset.EnableHTTP2 = true
	reset.StartTLS()
	missing := unstarted(t, nil)
	missing.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "no such stream")
	})
	missing.EnableHTTP2 = true
	missing.StartTLS()
	for _, c := range []struct{ name, base, want string }{
		{"not by ALPN", old.URL, "leave out --http2"},
		{"not by prior knowledge", newBroker(t, nil).URL, "the server does not answer in HTTP/2"},
		{"garbage", raw(t, "\x00\x00\x04\x03\x00\x00\x00\x00\x01abcd", false), "the server does not answer in HTTP/2"},
		{"silent end", raw(t, "", false), "end of stream"},
		{"push", saying(t, "\x00\x00\x00\x04\x00\x00\x00\x00\x00"+"\x00\x00\x05\x05\x04\x00\x00\x00\x01\x00\x00\x00\x02\x82"), "the server pushes"},
		{"long frame", saying(t, "\x00\x00\x00\x04\x00\x00\x00\x00\x00"+"\x7F\x00\x00\x00\x00\x00\x00\x00\x01"), "is longer than the 16384"},
		{"bad frame", saying(t, "\x00\x00\x00\x04\x00\x00\x00\x00\x00"+"\x00\x00\x01\x06\x00\x00\x00\x00\x00a"), "HTTP/2: connection error"},
		{"reset", reset.URL, "the server reset the stream: INTERNAL_ERROR"},
		{"not found", missing.URL, "404: no such stream"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := settings(t, c.base, run.Open)
			s.Plan.HTTP2, s.Plan.Trust.Insecure = true, strings.HasPrefix(c.base, "https")
			refused(t, s, c.want)
		})
	}
	t.Run("too many streams", func(t *testing.T) {
		s := settings(t, limited.URL, run.Ramp)
		s.Plan.HTTP2, s.Plan.StreamsPerConnection, s.Plan.Trust.Insecure = true, 7, true
		s.Rate, s.Duration = 0, 10*time.Millisecond
		r := carryOut(t, s)
		all := ""
		for text := range r.Errors {
			all += text
		}
		if r.Connect.Connected != 12 || r.Connect.Failed != 8 || !strings.Contains(all, "give --streams-per-connection 4") {
			t.Errorf("%d connected, %d failed, %s; want 12 and 8", r.Connect.Connected, r.Connect.Failed, all)
		}
	})
	for want, change := range map[string]func(*run.Settings){
		"--http2: this mode needs HTTP/1.1": func(s *run.Settings) { s.Plan.Mode, s.Plan.StallPercent = run.Stall, 10 },
		"only HTTP/2 has several":           func(s *run.Settings) { s.Plan.HTTP2 = false; s.Plan.StreamsPerConnection = 5 },
		"are for https":                     func(s *run.Settings) { s.Plan.Trust.Resume = true },
	} {
		s := settings(t, "http://127.0.0.1:9", run.Open)
		s.Plan.HTTP2 = true
		change(s)
		if err := s.Prepare(files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestResumedSessions: with tickets all connections but the first ones are resumed, and without none is.
func TestResumedSessions(t *testing.T) {
	for _, resume := range []bool{true, false} {
		b, ca := secureBroker(t, tls.VersionTLS13)
		s := settings(t, b.URL, run.Open)
		s.Plan.Trust.CA, s.Plan.Trust.Resume, s.Plan.InFlight, s.Plan.Loops = ca, resume, 1, 1
		r := carryOut(t, s)
		wantClean(t, r, 20*40)
		resumed := int64(0)
		for text, n := range r.Connect.Ciphers {
			if strings.HasSuffix(text, ", resumed") {
				resumed += n
			}
		}
		if want := map[bool]int64{true: 19}[resume]; resumed != want {
			t.Errorf("resume %t: %d resumed of %v; want %d", resume, resumed, r.Connect.Ciphers, want)
		}
	}
	var page bytes.Buffer
	b, ca := http2Broker(t, true, nil)
	if err := carryOut(t, http2Settings(t, b, ca, run.Open)).Table(&page); err != nil || !strings.Contains(page.String(), "HTTP/2, at most 7 streams on a connection") {
		t.Errorf("%v, or the table does not name the protocol:\n%s", err, page.String())
	}
}
