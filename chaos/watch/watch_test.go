package watch

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/chaos/record"
	"fanfare/internal/test/eventually"
)

// scripted serves one stream after the other: what it sends on the n-th connection is streams[n]; later ones are empty.
type scripted struct {
	addr string
	mu   sync.Mutex
	ids  []string // with which clients came back
}

func script(t *testing.T, streams ...string) *scripted {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{addr: ln.Addr().String()}
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); serving.Wait() })
	serving.Go(func() {
		for i := 0; ; i++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			text, last := "", i >= len(streams)-1
			if i < len(streams) {
				text = streams[i]
			}
			serving.Go(func() { s.serve(c, text, last) })
		}
	})
	return s
}

func (s *scripted) serve(c net.Conn, text string, stay bool) {
	defer c.Close()
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	s.mu.Lock()
	s.ids = append(s.ids, req.Header.Get("Last-Event-ID"))
	s.mu.Unlock()
	_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n%s", text)
	if stay {
		_, _ = c.Read(make([]byte, 1)) // until the client leaves
	}
}

// frames writes events in short: "p7" is a position, "k3@9" event 3 of key k with position 9, "gap:history:2@9" a gap of key k with 2
// missed events, "e2:k3@9" has another epoch.
func frames(short string) string {
	var b strings.Builder
	for _, f := range strings.Fields(short) {
		epoch := "e1"
		if strings.HasPrefix(f, "e2:") {
			epoch, f = "e2", f[3:]
		}
		what, at, _ := strings.Cut(f, "@")
		switch {
		case f[0] == 'p':
			fmt.Fprintf(&b, "event: position\ndata:\nid: %s-%s\n\n", epoch, f[1:])
		case strings.HasPrefix(what, "gap:"):
			parts := strings.Split(what, ":")
			fmt.Fprintf(&b, "event: gap\ndata: {\"key\":\"k\",\"reason\":%q,\"missed\":%s,\"after\":null,\"next\":null}\nid: %s-%s\n\n", parts[1], parts[2], epoch, at)
		default:
			fmt.Fprintf(&b, "data: %s %s xx\nid: %s-%s\n\n", what[:1], what[1:], epoch, at)
		}
	}
	return b.String()
}

// published makes the record from a letter for each event of k: Stored, Unknown, Refused, Again (stored, after a repetition). Events
// to all keys follow after a slash.
func published(short string) record.Published {
	p := record.Published{}
	k, all, _ := strings.Cut(short, "/")
	for key, letters := range map[string]string{"k": k, record.Broadcast: all} {
		for i, l := range letters {
			n := record.Number{Began: time.Now().Add(time.Hour).UnixMicro(), ID: fmt.Sprintf("none-%s-%d", key, i)}
			switch l {
			case 'S':
				n.Outcome = record.Stored
			case 'U':
				n.Outcome = record.Unknown
			case 'R':
				n.Outcome = record.Refused
			case 'A':
				n.Outcome, n.Again = record.Stored, true
			}
			p[key] = append(p[key], n)
		}
	}
	return p
}

// TestVerdict: each fault of a server is found, under its name, and what is allowed is not called a fault.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name      string
		streams   []string
		published string
		want      string // kinds of problems
	}{
		{"all", []string{"p0 k1@1 k2@2 *1@3 k3@4"}, "SSS/S", ""},
		{"over two streams", []string{"p0 k1@1", "p1 k2@2 k3@3"}, "SSS", ""},
		{"unknown, not stored", []string{"p0 k1@1 k3@2"}, "SUS", ""},
		{"unknown, stored", []string{"p0 k1@1 k2@2 k3@3"}, "SUS", ""},
		{"unknown, stored late", []string{"p0 k1@1 k3@2 k2@3"}, "SUS", ""},
		{"unknown, stored late and twice", []string{"p0 k1@1 k3@2 k2@3 k2@4"}, "SUS", Duplicate},
		{"refused", []string{"p0 k1@1 k3@2"}, "SRS", ""},
		{"refused, and arrives", []string{"p0 k1@1 k2@2 k3@3"}, "SRS", Invented},
		{"never published", []string{"p0 k1@1 k2@2"}, "S", Invented},
		{"dropped", []string{"p0 k1@1 k3@3"}, "SSS", Lost},
		{"dropped at the start", []string{"p0 k2@2"}, "SS", Lost},
		{"dropped at the end", []string{"p0 k1@1"}, "SS", Behind},
		{"broadcast dropped", []string{"p0 *1@1 k1@2 *3@4"}, "S/SSS", Lost},
		{"dropped between streams", []string{"p0 k1@1", "p2 k3@3"}, "SSS", Lost},
		{"duplicated", []string{"p0 k1@1 k1@2 k2@3"}, "SS", Duplicate + " " + SameID + "?"},
		{"duplicated with its id", []string{"p0 k1@1 k1@1 k2@3"}, "SS", Duplicate + " " + Order},
		{"duplicated after a resume", []string{"p0 k1@1 k2@2", "p1 k2@2 k3@3"}, "SSS", Duplicate + " " + Order},
		{"repeated by the publisher, stored twice", []string{"p0 k1@1 k2@2 k2@3"}, "SA", Duplicate + " " + SameID + "?"},
		{"reordered", []string{"p0 k1@1 k3@2 k2@3 k4@4"}, "SSSS", Order},
		{"ids reordered", []string{"p0 k1@2 k2@1 k3@3"}, "SSS", Order},
		{"an id used again", []string{"p0 k1@1 k2@1"}, "SS", Order + " " + SameID},
		{"an id used again in the next stream", []string{"p0 k1@1 k2@2", "e2:p0 k3@2"}, "SSS", Epoch + " " + SameID + " " + Epoch},
		{"a gap that counts", []string{"p0 k1@1 gap:lag:2@3 k4@4"}, "SSSS", ""},
		{"a gap that counts too few", []string{"p0 k1@1 gap:lag:1@3 k4@4"}, "SSSS", Miscount},
		{"a gap that cannot count", []string{"p0 k1@1 gap:history:null@3 k4@4"}, "SSSS", ""},
		{"a gap, then a drop", []string{"p0 k1@1 gap:history:null@3 k4@4 k6@6"}, "SSSSSS", Lost},
		{"a gap that is not true", []string{"p0 k1@1 gap:history:null@3 k4@4 k2@5"}, "SSSS", Order},
		{"an epoch with a gap", []string{"p0 k1@1 e2:gap:epoch:null@9 e2:k4@10"}, "SSSS", ""},
		{"an epoch with a gap on another stream", []string{"p0 k1@1", "e2:gap:epoch:null@9 e2:k4@10"}, "SSSS", ""},
		{"an epoch without a gap", []string{"p0 k1@1 e2:k2@2"}, "SS", Epoch},
		{"an epoch, then the old one", []string{"p0 k1@1 e2:gap:epoch:null@9 e2:k2@10 k3@11"}, "SSS", Epoch},
		{"an epoch, then an event that was published once", []string{"p0 k1@1 k2@2 e2:gap:epoch:null@9 e2:k2@10"}, "SS", Duplicate},
		{"an epoch, then an event that was published again", []string{"p0 k1@1 k2@2 e2:gap:epoch:null@9 e2:k2@10"}, "SA", ""},
		{"another key's event", []string{"p0 k1@1 q1@2"}, "S", Invented},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.streams {
				c.streams[i] = frames(c.streams[i])
			}
			server := script(t, c.streams...)
			swarm := New(Config{Nodes: []string{server.addr}, Keys: []string{"k"}, Subscribers: 1, Broadcasts: true, Partitions: 1, Spread: time.Millisecond})
			swarm.Start()
			want := int64(strings.Count(strings.Join(c.streams, ""), "data: ") - strings.Count(strings.Join(c.streams, ""), "event: gap"))
			eventually.True(t, "all events have been read", func() bool { return swarm.Status().Events+swarm.problemsOf(Invented) >= want })
			eventually.True(t, "all streams have been read", func() bool { return swarm.Status().Streams >= int64(len(c.streams)) })
			p := published(c.published)
			report := Combine(p, swarm.Judge(p))
			t.Log(report.Err())
			for _, kind := range []string{Lost, Duplicate, Order, SameID, Epoch, Invented, Miscount, Behind, Broken} {
				expected, optional := strings.Contains(c.want, kind), strings.Contains(c.want, kind+"?")
				if got := report.Counts[kind] > 0; got != expected && !optional {
					t.Errorf("%s: found = %v, want %v", kind, got, expected)
				}
			}
		})
	}
}

// problemsOf counts problems that are found at once: of an event without an account it is all that is counted.
func (s *Swarm) problemsOf(kind string) int64 {
	s.problems.mu.Lock()
	defer s.problems.mu.Unlock()
	return int64(s.problems.counts[kind])
}

// TestResume: a subscriber comes back with its last id.
func TestResume(t *testing.T) {
	server := script(t, frames("p0 k1@1"), frames("gap:lag:1@5"), "")
	swarm := New(Config{Nodes: []string{server.addr}, Keys: []string{"k"}, Subscribers: 1, Spread: time.Millisecond})
	swarm.Start()
	eventually.True(t, "three streams", func() bool { return swarm.Status().Streams >= 3 })
	swarm.Judge(published("S"))
	server.mu.Lock()
	defer server.mu.Unlock()
	if got := fmt.Sprint(server.ids[:3]); got != "[ e1-1 e1-5]" {
		t.Errorf("came back with %s", got)
	}
}

// TestTwoProcesses: an id that means one event here and another one there is found when the reports are combined.
func TestTwoProcesses(t *testing.T) {
	p := published("SS")
	p["k"][0].ID = "e1-1"
	a, b := &Report{IDs: []ID{{"e1-1", "k", 1}}}, &Report{IDs: []ID{{"e1-1", "k", 2}}}
	if r := Combine(p, a, b); r.Counts[SameID] == 0 {
		t.Error("two meanings of an id were not found")
	}
	if r := Combine(p, a, a); r.Err() != nil {
		t.Error(r.Err())
	}
	p["k"][0].ID, p["k"][1].ID = "", "e1-1"
	if r := Combine(p, a); r.Counts[SameID] == 0 {
		t.Error("an id that was answered for another event was not found")
	}
}
