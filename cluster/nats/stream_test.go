package nats

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanfare/cluster"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
	"fanfare/internal/test/proctest"
)

func TestStreamSettings(t *testing.T) {
	l, s := openNew(t, Options{Partitions: 2, MaxAge: time.Hour, MaxBytes: 1 << 20, MaxPerKey: 5, DuplicateWindow: time.Minute})
	config := func(p int) jetstream.StreamConfig {
		info, err := l.info(patient(t), p)
		if err != nil {
			t.Fatal(err)
		}
		return info.Config
	}
	c := config(1)
	if c.Name != "fanfare-1" || !slices.Equal(c.Subjects, []string{"ff.1.>"}) || c.Storage != jetstream.FileStorage || c.MaxAge != time.Hour ||
		c.MaxBytes != 1<<20 || c.MaxMsgsPerSubject != 5 || c.Duplicates != time.Minute || !c.AllowDirect || c.Replicas != 1 || c.MaxMsgs != -1 {
		t.Errorf("%+v", c)
	}
	_, text := open(t, Options{URL: s.URL(), Partitions: 2, MaxAge: 2 * time.Hour})
	if c := config(0); c.MaxAge != 2*time.Hour || c.MaxBytes != -1 || c.MaxMsgsPerSubject != -1 || c.Duplicates != 30*time.Second {
		t.Errorf("%+v", c)
	}
	if r := text.Find("updated the settings of the stream"); r == nil || !strings.Contains(r["changes"].(string), "retentionAge: 1h0m0s to 2h0m0s") ||
		!strings.Contains(r["changes"].(string), "retentionBytes: 1048576 to 0, retentionPerKey: 5 to 0") {
		t.Errorf("%v", r)
	}
	// What is as it should be is not touched, and what an operator has set besides stays.
	c = config(0)
	c.MaxMsgSize, c.Metadata = 10_000, map[string]string{"owner": "ops", partitionsKey: "2"}
	var info streamInfo
	if err := l.request(patient(t), "STREAM.UPDATE.fanfare-0", c, &info); err != nil {
		t.Fatal(err)
	}
	again, text := open(t, Options{URL: s.URL(), Partitions: 2, MaxAge: 2 * time.Hour})
	if r := text.Find("updated the settings of the stream"); r != nil || again.MaxBytes() != 10_000-headerRoom {
		t.Errorf("%v, at most %d bytes", r, again.MaxBytes())
	}
	open(t, Options{URL: s.URL(), Partitions: 2, MaxAge: 3 * time.Hour})
	if c := config(0); c.MaxAge != 3*time.Hour || c.Metadata["owner"] != "ops" || c.MaxMsgSize != 10_000 {
		t.Errorf("%+v", c)
	}
}

func TestStreamsThatAreRefused(t *testing.T) {
	s := (&natstest.Server{T: t}).Start()
	l, _ := open(t, Options{URL: s.URL(), Stream: "mine"})
	create := func(c jetstream.StreamConfig) {
		t.Helper()
		var info streamInfo
		if err := l.request(patient(t), "STREAM.CREATE."+c.Name, c, &info); err != nil {
			t.Fatal(err)
		}
	}
	create(jetstream.StreamConfig{Name: "orders", Subjects: []string{"buy.>"}})
	create(jetstream.StreamConfig{Name: "memory", Subjects: []string{"memory.0.>"}, Storage: jetstream.MemoryStorage})
	create(jetstream.StreamConfig{Name: "queue", Subjects: []string{"queue.0.>"}, Retention: jetstream.WorkQueuePolicy})
	create(jetstream.StreamConfig{Name: "overlap", Subjects: []string{"taken.>"}})
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Stream: "orders"}, `natsStream orders: the stream exists and has the subjects ["buy.>"] instead of "orders.0.>"`},
		{Options{Stream: "memory"}, "natsStream memory: the stream exists and is kept in memory"},
		{Options{Stream: "queue"}, "natsStream queue: the stream exists and removes messages that were read"},
		{Options{Stream: "taken"}, "natsStream taken: another stream has the subjects taken.0.>: natsPartitions was changed"},
		{Options{Stream: "mine", Partitions: 2}, "natsStream mine-0: another stream has the subjects mine.0.>: natsPartitions was changed"},
		{Options{Stream: "replicas", Replicas: 3}, "natsStream replicas: NATS: "},
		{Options{Stream: "large", MaxBytes: 1 << 50}, "natsStream large: the server has not enough storage for retentionBytes, 1125899906842624 bytes"},
		{Options{Stream: "a.b"}, `natsStream: "a.b" is not a valid name`},
		{Options{Partitions: -1}, "natsPartitions: -1 is not between 1 and 1024"},
		{Options{Partitions: 1025}, "natsPartitions: 1025 is not between 1 and 1024"},
		{Options{MaxAge: -1}, "retentionAge: it is negative"},
		{Options{MaxAge: time.Second}, "duplicateWindow: 30s is longer than retentionAge, 1s"},
	} {
		c.o.URL = s.URL()
		refused(t, c.o, c.want)
	}
	open(t, Options{URL: s.URL(), Stream: "three", Partitions: 3})
	refused(t, Options{URL: s.URL(), Stream: "three", Partitions: 2}, "natsStream three-0: the stream exists and is one of 3, but natsPartitions is 2")
	refused(t, Options{}, "natsURL: it is empty")
}

// refused checks that Open fails at once.
func refused(t *testing.T, o Options, want string) {
	t.Helper()
	ctx, cancel := context.WithCancel(patient(t))
	defer cancel()
	l, err := Open(ctx, o)
	if err == nil {
		l.Close()
	}
	if err == nil || !strings.HasPrefix(err.Error(), want) || ctx.Err() != nil {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestLoginIsRefused(t *testing.T) {
	s := (&natstest.Server{T: t, Config: `authorization: {user: fanfare, password: "p@ss"}`}).Start()
	want := "natsURL nats://" + s.Addr + ": the server refuses the login: check natsCredentials, or the user in the address"
	refused(t, Options{URL: s.URL()}, want)
	refused(t, Options{URL: "nats://fanfare:wrong@" + s.Addr}, strings.Replace(want, "nats://", "nats://xxxxx@", 1))
	refused(t, Options{URL: s.URL(), Credentials: "/nowhere/fanfare.creds"}, "natsCredentials: cannot be read: open /nowhere/fanfare.creds: ")
	refused(t, Options{URL: strings.Replace(s.URL(), "nats://", "tls://", 1)}, strings.Replace("natsURL "+s.URL()+": the server does not speak TLS: write nats:// in natsURL", "nats://", "tls://", 1))
	open(t, Options{URL: "nats://fanfare:p%40ss@" + s.Addr})
}

// TestPermissions has a user with the permissions that the package comment names, and no others.
func TestPermissions(t *testing.T) {
	s := (&natstest.Server{T: t, Config: `authorization: {users: [{user: fanfare, password: secret, permissions: {
		publish: ["ff.>", "$JS.API.STREAM.INFO.fanfare", "$JS.API.STREAM.CREATE.fanfare", "$JS.API.STREAM.UPDATE.fanfare",
			"$JS.API.STREAM.MSG.GET.fanfare", "$JS.API.DIRECT.GET.fanfare", "$JS.API.CONSUMER.CREATE.fanfare.*",
			"$JS.API.CONSUMER.MSG.NEXT.fanfare.*", "$JS.API.CONSUMER.DELETE.fanfare.*"],
		subscribe: ["ff.bus.>", "_INBOX.>"]}}]}`}).Start()
	url := "nats://fanfare:secret@" + s.Addr
	open(t, Options{URL: url})
	l, text := open(t, Options{URL: url, MaxAge: time.Hour})
	for range 3 {
		appendAll(t, l, event("news", "x"))
	}
	if got := readTo(t, l, 0, 0, 3); len(got) != 3 {
		t.Errorf("%q", got)
	}
	for _, q := range []cluster.Query{{Key: "news", Through: 3}, {Key: "news", Through: 3, Newest: 2}, {Key: "news", Through: 3, Since: time.Now()}} {
		q.Max, q.Scan, q.Bytes = 10, 10, 1000
		if _, err := fetchAll(t, l, q); err != nil {
			t.Errorf("%+v: %v", q, err)
		}
	}
	if _, err := l.State(patient(t), 0); err != nil {
		t.Error(err)
	}
	got := make(chan string, 10)
	if err := l.Receive("a", func(data []byte) { got <- string(data) }); err != nil {
		t.Fatal(err)
	}
	if err := l.Send("a", []byte("x")); err != nil || <-got != "x" {
		t.Error(err)
	}
	if r := text.Find("NATS reports an error"); r != nil {
		t.Errorf("%v", r)
	}
}

func TestSmallPayloads(t *testing.T) {
	s := (&natstest.Server{T: t, Config: "max_payload: 64KB"}).Start()
	l, text := open(t, Options{URL: s.URL(), MaxEventBytes: 2 << 20})
	const msg = "the NATS server takes smaller messages than maxEventBytes allows: raise its max_payload, or events in between are refused"
	if r := text.Find(msg); r == nil || r["max_payload"] != "65536" || l.MaxBytes() != 64<<10-headerRoom {
		t.Errorf("%v, at most %d bytes", r, l.MaxBytes())
	}
	m := event("news", "")
	m.Frame.Bytes = make([]byte, l.MaxBytes())
	m.ID = strings.Repeat("i", 64)
	if appendAll(t, l, m); !l.Connected() {
		t.Error("the largest message has ended the connection")
	}
	if _, text := open(t, Options{URL: s.URL(), MaxEventBytes: 60 << 10}); text.Find(msg) != nil {
		t.Error(text)
	}
}

// TestOldServer has a server that says that it is Debian 12's.
func TestOldServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				fmt.Fprint(conn, `INFO {"server_id":"x","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576,"jetstream":true}`+"\r\n")
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if strings.HasPrefix(lines.Text(), "PING") {
						fmt.Fprint(conn, "PONG\r\n")
					}
				}
			}()
		}
	}()
	refused(t, Options{URL: "nats://" + ln.Addr().String()}, "the NATS server has version 2.9.10, older than 2.11.0: update it, to 2.12.3 or later if you can")
}

func TestAtLeast(t *testing.T) {
	for _, c := range []struct {
		version, want string
		ok            bool
	}{
		{"2.11.0", "2.11.0", true}, {"2.10.99", "2.11.0", false}, {"2.12.3-RC.1", "2.12.3", true}, {"v3.0.0", "2.12.3", true},
		{"2.12.2", "2.12.3", false}, {"", "2.11.0", false}, {"2.9", "2.11.0", false}, {"2.12", "2.11.0", true},
	} {
		if atLeast(c.version, c.want) != c.ok {
			t.Errorf("%q at least %s: want %v", c.version, c.want, c.ok)
		}
	}
}

func TestJetStreamIsOff(t *testing.T) {
	s := (&natstest.Server{T: t, Config: "jetstream: false"}).Start()
	refused(t, Options{URL: s.URL()}, "natsStream fanfare: ")
}

// TestHint: while no server is there, the log says what to do.
func TestHint(t *testing.T) {
	var text proctest.Log
	ctx, cancel := context.WithCancel(patient(t))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = Open(ctx, Options{URL: "nats://" + proctest.FreeAddr(t), Logger: slog.New(slog.NewTextHandler(&text, nil))})
	}()
	eventually.True(t, "the hint is logged", func() bool { return strings.Contains(text.String(), "start nats-server, or correct natsURL") })
	cancel()
	<-done
}
