package socket

import (
	"bytes"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
)

// securePair opens a TLS connection: server's end is a Conn of the poller.
func securePair(t testing.TB, version uint16) (server *Conn, client *tls.Conn, raw *net.TCPConn) {
	t.Helper()
	p, l := listen(t)
	cert := certtest.New(t, "localhost")
	server, raw = pair(t, p, l)
	client = tls.Client(raw, &tls.Config{RootCAs: cert.Roots, ServerName: "localhost", MaxVersion: version})
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	_ = server.SetDeadline(time.Now().Add(time.Minute))
	if err := server.Handshake(&tls.Config{Certificates: []tls.Certificate{cert.TLS}, DynamicRecordSizingDisabled: true}, make(Turns, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return server, client, raw
}

var versions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

// TestSecureConnWaits: before Watch, a TLS connection reads and writes all, as a connection of package net does.
func TestSecureConnWaits(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			server, client, _ := securePair(t, version)
			text := bytes.Repeat([]byte("0123456789"), 300<<10)
			go func() { _, _ = client.Write(text) }()
			got := make([]byte, len(text))
			if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, text) {
				t.Fatalf("read: %v", err)
			}
			closed := make(chan bool)
			go func() { _, _ = server.Write(text); _ = server.Close(); close(closed) }()
			if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, text) {
				t.Errorf("the client got %d bytes of %d, and %v", len(got), len(text), err)
			}
			<-closed
		})
	}
}

// TestSecureStream: writes of all sizes into a watched TLS connection never wait, keep no more than a record, and arrive
// whole and in order, whenever the client reads.
func TestSecureStream(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			server, client, _ := securePair(t, version)
			if err := server.Watch(&owner{}); err != nil {
				t.Fatal(err)
			}
			var text []byte
			const size = 30 << 20
			for i := 0; len(text) < size; i++ {
				text = append(text, byte(i), byte(i>>8), byte(i>>16), '\n')
			}
			text = text[:size]
			got := make(chan []byte)
			go func() {
				var b bytes.Buffer
				for b.Len() < size {
					if _, err := io.CopyN(&b, client, min(int64(rand.IntN(4<<20)+1), int64(size-b.Len()))); err != nil {
						break
					}
					time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
				}
				got <- b.Bytes()
			}()
			blocked := 0
			for rest := text; len(rest) > 0 || server.Unsent(); {
				n, err := server.TryWrite(rest[:min(len(rest), rand.IntN(200<<10)+1)])
				rest = rest[n:]
				if len(server.secure.out) > maxPlaintext+1<<10 {
					t.Fatalf("%d bytes of ciphertext wait for the client", len(server.secure.out))
				}
				if WouldBlock(err) {
					blocked++
					server.WaitWritable()
				} else if err != nil {
					t.Fatal(err)
				}
				if len(rest) == 0 {
					if _, err := server.TryFlush(); err != nil && !WouldBlock(err) {
						t.Fatal(err)
					}
				}
			}
			if !bytes.Equal(<-got, text) {
				t.Error("the client got something else")
			}
			if blocked == 0 {
				t.Error("the socket was never full: the test shows nothing")
			}
			if server.secure.out != nil {
				t.Error("an idle connection keeps a buffer")
			}
		})
	}
}

// TestSecureStreamInput: what the client of a watched TLS connection sends is reported and discarded, up to MaxJunk; a
// part of a record is no error; its close_notify is its end, also without a FIN.
func TestSecureStreamInput(t *testing.T) {
	server, client, _ := securePair(t, tls.VersionTLS13)
	o := &owner{}
	if err := server.Watch(o); err != nil {
		t.Fatal(err)
	}
	if err := server.TryRead(); err != nil {
		t.Errorf("nothing to read: %v", err)
	}
	before := o.readable.Load()
	_, _ = client.Write([]byte("junk"))
	eventually.True(t, "the owner hears of it", func() bool { return o.readable.Load() > before })
	if err := server.TryRead(); err != nil || server.junk != 4 {
		t.Errorf("%d bytes of junk, %v", server.junk, err)
	}
	for range MaxJunk / (4 << 10) {
		_, _ = client.Write(make([]byte, 4<<10))
	}
	var err error
	eventually.True(t, "too much junk ends the stream", func() bool { err = server.TryRead(); return err != nil })

	server, client, _ = securePair(t, tls.VersionTLS13)
	o = &owner{}
	if err := server.Watch(o); err != nil {
		t.Fatal(err)
	}
	_ = client.CloseWrite()
	eventually.True(t, "the owner hears of close_notify", func() bool { return o.readable.Load() > 0 && server.TryRead() == io.EOF })
}

// slowly forwards what it is given a byte at a time.
type slowly struct{ net.Conn }

func (s slowly) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := s.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
		time.Sleep(time.Millisecond)
	}
	return len(b), nil
}

// TestSecureStreamPartOfARecord: a record that arrives in parts is no error, and none of it is lost.
func TestSecureStreamPartOfARecord(t *testing.T) {
	p, l := listen(t)
	cert := certtest.New(t, "localhost")
	server, raw := pair(t, p, l)
	client := tls.Client(slowly{raw}, &tls.Config{RootCAs: cert.Roots, ServerName: "localhost"})
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	if err := server.Handshake(&tls.Config{Certificates: []tls.Certificate{cert.TLS}}, make(Turns, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := server.Watch(&owner{}); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = client.Write([]byte("hello")); _ = client.Close() }()
	var err error
	eventually.True(t, "the end", func() bool { err = server.TryRead(); return err != nil })
	if err != io.EOF || server.junk != 5 {
		t.Errorf("%v after %d bytes", err, server.junk)
	}
}

// TestHandshakeTurns: handshakes whose clients say nothing do not hold up another.
func TestHandshakeTurns(t *testing.T) {
	p, l := listen(t)
	cert := certtest.New(t, "localhost")
	config := &tls.Config{Certificates: []tls.Certificate{cert.TLS}}
	turns := make(Turns, 1)
	ended := make(chan error, 10)
	for range 10 {
		silent, _ := pair(t, p, l)
		_ = silent.SetDeadline(time.Now().Add(3 * time.Second))
		go func() { ended <- silent.Handshake(config, turns) }()
	}
	server, raw := pair(t, p, l)
	client := tls.Client(raw, &tls.Config{RootCAs: cert.Roots, ServerName: "localhost"})
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	if err := server.Handshake(config, turns); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := <-ended; err == nil {
			t.Error("a handshake without a client")
		}
	}
	if len(turns) != 0 {
		t.Errorf("%d turns are still taken", len(turns))
	}
}

// TestNet: after Net, several goroutines may use the connection at once, with TLS and without, and Idle can end it.
func TestNet(t *testing.T) {
	for _, secure := range []bool{false, true} {
		p, l := listen(t)
		evicted := 0
		l.(*Listener).idle = &Idle{Max: func() int { return 1 }, Evicted: func() { evicted++ }}
		var client net.Conn
		server, raw := pair(t, p, l)
		client = raw
		if secure {
			cert := certtest.New(t, "localhost")
			c := tls.Client(raw, &tls.Config{RootCAs: cert.Roots, ServerName: "localhost"})
			client = c
			done := make(chan error, 1)
			go func() { done <- c.Handshake() }()
			if err := server.Handshake(&tls.Config{Certificates: []tls.Certificate{cert.TLS}}, nil); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		nc, err := server.Net(server.RemoteAddr())
		if err != nil {
			t.Fatal(err)
		}
		if nc.RemoteAddr().String() != raw.LocalAddr().String() {
			t.Errorf("remote address %v", nc.RemoteAddr())
		}
		text := bytes.Repeat([]byte("0123456789"), 300<<10)
		echo := make(chan error)
		go func() { _, err := io.Copy(nc, nc); echo <- err }()
		go func() { _, _ = client.Write(text) }()
		got := make([]byte, len(text))
		if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, text) {
			t.Errorf("echo: %v", err)
		}
		server.SetIdle(true)
		other, _ := pair(t, p, l)
		other.SetIdle(true)
		if err := <-echo; err == nil || evicted != 1 {
			t.Errorf("evicted %d, %v", evicted, err)
		}
		_ = nc.Close()
		other.SetIdle(false)
		if n := l.(*Listener).idle.Len(p); n != 0 {
			t.Errorf("%d idle connections", n)
		}
	}
}
