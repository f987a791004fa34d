//go:build linux

package run_test

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/run"
	"fanfare/internal/test/wiretest"
)

// secureBroker speaks TLS, and would like to speak HTTP/2. ca is the file that its certificate is in: it is for 127.0.0.1
// and example.com.
func secureBroker(t *testing.T, newest uint16) (b *broker, ca string) {
	t.Helper()
	b = unstarted(t, nil)
	b.TLS = &tls.Config{MaxVersion: newest}
	b.EnableHTTP2 = true
	b.StartTLS()
	ca = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return b, ca
}

// TestSecureModes: every mode is the same with TLS.
func TestSecureModes(t *testing.T) {
	for _, mode := range []string{run.Closed, run.Open, run.Burst, run.Ramp, run.Churn, run.Storm, run.Stall} {
		t.Run(mode, func(t *testing.T) {
			b, ca := secureBroker(t, tls.VersionTLS13)
			s := settings(t, b.URL, mode)
			s.Plan.Trust.CA = ca
			s.Plan.Reconnect, s.Plan.StallPercent, s.Plan.StallBuffer = mode != run.Stall, 0, 4096
			s.Every, s.Churn = 30*time.Millisecond, 100
			switch mode {
			case run.Ramp:
				s.Rate, s.Duration = 0, 50*time.Millisecond
			case run.Stall:
				s.Plan.StallPercent, s.Plan.Size = 10, 4000
			}
			r := carryOut(t, s)
			switch mode {
			case run.Ramp:
				wantClean(t, r, 0)
			case run.Churn, run.Storm: // the test's server forgets to replay what is published while a stream opens
				if r.Deliveries.Total < 100 || r.Sequence.Foreign+r.Sequence.Misrouted != 0 {
					t.Errorf("%d deliveries, %+v", r.Deliveries.Total, r.Sequence)
				}
			case run.Stall:
				wantClean(t, r, 18*40)
			default:
				wantClean(t, r, 20*40)
			}
			x := r.Streams
			if mode == run.Storm && x.Reconnects < 20 || mode == run.Churn && x.Churned < 2 || mode == run.Stall && x.Stalled != 2 {
				t.Errorf("streams %+v", x)
			}
			if n := r.Connect.Ciphers["TLS 1.3, TLS_AES_128_GCM_SHA256"] + r.Connect.Ciphers["TLS 1.3, TLS_CHACHA20_POLY1305_SHA256"]; n < 20 ||
				r.Connect.TLS.Count != n || len(r.Connect.Ciphers) != 1 {
				t.Errorf("ciphers %v, %d handshakes", r.Connect.Ciphers, r.Connect.TLS.Count)
			}
		})
	}
}

// TestSecureVariants of servers, events and processes.
func TestSecureVariants(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *run.Settings){
		"TLS 1.2":   func(*testing.T, *run.Settings) {},
		"processes": func(t *testing.T, s *run.Settings) { t.Setenv(workerVariable, "1"); s.Plan.Processes = 2 },
		"many records": func(_ *testing.T, s *run.Settings) {
			s.Plan.Size, s.Events = 100_000, 5
		},
		"by name":  func(_ *testing.T, s *run.Settings) { s.Plan.Trust.ServerName = "example.com" },
		"insecure": func(_ *testing.T, s *run.Settings) { s.Plan.Trust = plan.Trust{Insecure: true} },
		"in small pieces": func(t *testing.T, s *run.Settings) {
			s.Plan.Base, s.Plan.Subscribers = "https://"+dribble(t, s.Plan.PublishBase), 2
			s.Events = 10
		},
		"publish alone": func(t *testing.T, s *run.Settings) {
			// One server has no events for the other's subscribers: only the route's answers count here.
			s.Plan.Base, s.Plan.Mode = newBroker(t, nil).URL, run.Ramp
		},
	} {
		t.Run(name, func(t *testing.T) {
			newest := uint16(tls.VersionTLS13)
			if name == "TLS 1.2" {
				newest = tls.VersionTLS12
			}
			b, ca := secureBroker(t, newest)
			s := settings(t, b.URL, run.Open)
			s.Plan.Trust.CA = ca
			change(t, s)
			if err := s.Prepare(files); err != nil {
				t.Fatal(err)
			}
			r, err := run.Run(t.Context(), s)
			if name == "publish alone" {
				if r.Publish.Events != 40 || r.Publish.Failed != 0 || len(r.Connect.Ciphers) != 0 || r.Connect.Connected != 20 {
					t.Errorf("%+v, %+v, %v", r.Publish, r.Connect, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantClean(t, r, int64(s.Plan.Subscribers)*s.Events)
		})
	}
}

// dribble relays connections to a server, and what comes back one byte after the other.
func dribble(t *testing.T, to string) string {
	t.Helper()
	return wiretest.Serve(t, func(_ int, c *net.TCPConn) {
		d, err := net.Dial("tcp", strings.TrimPrefix(to, "https://"))
		if err != nil {
			return
		}
		relay := func(from, to net.Conn, size int) {
			defer from.Close()
			defer to.Close()
			buf := make([]byte, size)
			for {
				n, err := from.Read(buf)
				if err != nil {
					return
				}
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
		}
		var back sync.WaitGroup
		back.Go(func() { relay(d, c, 1) })
		relay(c, d, 4096)
		back.Wait()
	}).Addr().String()
}

// TestSecureRefusals are told as they are, with what to do.
func TestSecureRefusals(t *testing.T) {
	b, ca := secureBroker(t, tls.VersionTLS13)
	plain := newBroker(t, nil)
	for _, c := range []struct {
		name, base string
		trust      plan.Trust
		want       string
	}{
		{"unknown root", b.URL, plan.Trust{}, "--ca FILE"},
		{"other name", b.URL, plan.Trust{CA: ca, ServerName: "other.test"}, "--server-name"},
		{"no TLS there", "https" + strings.TrimPrefix(plain.URL, "http"), plan.Trust{Insecure: true}, "is the URL http?"},
		{"no TLS here", "http" + strings.TrimPrefix(b.URL, "https"), plan.Trust{}, "400: Client sent an HTTP request to an HTTPS server"},
		{"reset", "https" + strings.TrimPrefix(raw(t, "", true), "http"), plan.Trust{Insecure: true}, "connect: TLS: "},
		{"silent end", "https" + strings.TrimPrefix(raw(t, "", false), "http"), plan.Trust{Insecure: true}, "connect: TLS: EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := settings(t, c.base, run.Open)
			s.Plan.Trust = c.trust
			refused(t, s, c.want)
		})
	}
	s := settings(t, plain.URL, run.Open)
	s.Plan.PublishBase = b.URL
	if err := s.Prepare(files); err != nil {
		t.Fatal(err)
	}
	if _, err := run.Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), "no event could be published: TLS: ") {
		t.Errorf("error %v", err)
	}
}

// TestSecureHandshakeTimesOut: a server that says nothing holds nobody up, and no goroutine.
func TestSecureHandshakeTimesOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // nobody accepts: the kernel does
	s := settings(t, "https://"+l.Addr().String(), run.Open)
	s.Plan.ConnectTimeout = 100 * time.Millisecond
	if err := s.Prepare(files); err != nil {
		t.Fatal(err)
	}
	if _, err := run.Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("error %v", err)
	}
}
