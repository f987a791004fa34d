package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// TestDomain: nodes at a leaf node and at its hub have one log.
func TestDomain(t *testing.T) {
	for name, leafJetStream := range map[string]string{"with JetStream": "domain: leaf", "without JetStream": ""} {
		t.Run(name, func(t *testing.T) {
			hub, leaf := natstest.StartLeaf(t, leafJetStream)
			logs := map[string]*Log{}
			var texts []*proctest.Log
			for name, o := range map[string]Options{
				"leaf": {URL: leaf.URL(), Domain: "hub"}, "hub": {URL: hub.URL()}, "hub by its name": {URL: hub.URL(), Domain: "hub"},
			} {
				o.DuplicateWindow = time.Minute
				l, text := open(t, o)
				logs[name] = l
				texts = append(texts, text)
			}

			// Publish at each of them, with the answers of the one log.
			var want []string
			last := uint64(0)
			for _, name := range []string{"leaf", "hub", "hub by its name", "leaf"} {
				for i, r := range appendAll(t, logs[name], event("news", name), event("other", name)) {
					if last++; r.Seq != last {
						t.Errorf("message %d at %s: %+v, want sequence %d", i, name, r, last)
					}
				}
				want = append(want, fmt.Sprintf("%d %q %q", last-1, "news", "data: "+name+"\n\n"), fmt.Sprintf("%d %q %q", last, "other", "data: "+name+"\n\n"))
			}
			again := event("news", "again")
			again.ID = "an-id"
			first := appendAll(t, logs["leaf"], again)[0]
			if second := appendAll(t, logs["hub"], again)[0]; !second.Duplicate || second.Seq != first.Seq {
				t.Errorf("%+v at the leaf node, %+v at the hub", first, second)
			}
			want = append(want, fmt.Sprintf("%d %q %q", first.Seq, "news", "data: again\n\n"))

			for name, l := range logs {
				if got := readTo(t, l, 0, 0, first.Seq); !slices.Equal(got, want) {
					t.Errorf("%s reads\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
				s, err := l.State(patient(t), 0)
				if err != nil || s.Last != first.Seq {
					t.Errorf("%s: %+v, %v", name, s, err)
				}
				// Fetch would ask the leader instead if nobody answered direct reads.
				direct := 0
				f := &fetch{l: l, subject: "ff.0.other", last: first.Seq}
				_, _, err = f.batch(patient(t), 1, first.Seq, func(*cluster.Entry) error { direct++; return nil })
				if err != nil || direct != 4 {
					t.Errorf("%s: a direct read has %d entries, %v", name, direct, err)
				}
				for newest := range 4 {
					got, err := fetchAll(t, l, cluster.Query{Key: "other", Through: first.Seq, Max: 100, Bytes: 1 << 20, Scan: 1000, Newest: newest})
					other := []string{want[1], want[3], want[5], want[7]}
					if newest > 0 {
						other = other[4-newest:]
					}
					if err != nil || !slices.Equal(got, other) {
						t.Errorf("%s fetches %q, %v, want %q", name, got, err, other)
					}
				}
			}

			received := make(chan string, 10)
			for _, name := range []string{"leaf", "hub"} {
				if err := logs[name].Receive(name, func(data []byte) { received <- name + " " + string(data) }); err != nil {
					t.Fatal(err)
				}
			}
			eventually.Holds(t, "messages between the nodes pass the leaf node", func() (bool, string) {
				for _, send := range [][2]string{{"leaf", "hub"}, {"hub", "leaf"}} {
					if err := logs[send[0]].Send(send[1], []byte("hello")); err != nil {
						t.Fatal(err)
					}
				}
				var got []string
				for timeout := time.After(time.Second); len(got) < 2; {
					select {
					case text := <-received:
						if !slices.Contains(got, text) {
							got = append(got, text)
						}
					case <-timeout:
						return false, fmt.Sprint(got)
					}
				}
				return true, ""
			})
			created := 0
			for _, text := range texts {
				created += strings.Count(text.String(), "created the stream")
				if strings.Contains(text.String(), "level=ERROR") {
					t.Error(text)
				}
			}
			if created != 1 {
				t.Errorf("%d streams were created", created)
			}
		})
	}
}

// TestDomainMissing: what a node at a leaf node says if natsDomain is missing or wrong.
func TestDomainMissing(t *testing.T) {
	hub, leaf := natstest.StartLeaf(t, "domain: leaf")
	open(t, Options{URL: hub.URL()})
	// The leaf node has a JetStream: a second log would begin there.
	refused(t, Options{URL: leaf.URL()}, "natsStream fanfare: the stream fanfare in another JetStream domain has the subjects ff.0.>: set natsDomain to that domain")
	refused(t, Options{URL: leaf.URL(), Domain: "hubs", domainWait: time.Second}, `natsStream fanfare: no JetStream answers STREAM.INFO.fanfare in the domain "hubs" (natsDomain): check the name`)
	refused(t, Options{URL: leaf.URL(), Domain: "a.b"}, `natsDomain: "a.b" is not a valid name`)
	// Another log of its own is fine.
	own, _ := open(t, Options{URL: leaf.URL(), Stream: "own"})
	if r := appendAll(t, own, event("news", "hello"))[0]; r.Seq != 1 {
		t.Errorf("%+v", r)
	}

	_, without := natstest.StartLeaf(t, "")
	refused(t, Options{URL: without.URL()}, "natsStream fanfare: no JetStream answers STREAM.INFO.fanfare: enable JetStream on the server, and for this account; "+
		"if the server is a leaf node, set natsDomain")
}

// TestDomainComesLater: a node that starts while the leaf node has no connection waits for it.
func TestDomainComesLater(t *testing.T) {
	hub, leaf := natstest.Leaf(t, "domain: leaf")
	leaf.Start()
	done := make(chan error, 1)
	var text proctest.Log
	go func() {
		l, err := Open(patient(t), Options{URL: leaf.URL(), Domain: "hub", domainWait: eventually.Patience, Logger: slog.New(slog.NewTextHandler(&text, nil))})
		if err == nil {
			l.Close()
		}
		done <- err
	}()
	eventually.Holds(t, "it waits, and says so", func() (bool, string) {
		return strings.Contains(text.String(), "JetStream is not ready"), text.String()
	})
	hub.Start()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestOtherDomainStoresTheSame: the acknowledgment of a stream in another domain is not that of the log.
func TestOtherDomainStoresTheSame(t *testing.T) {
	_, leaf := natstest.StartLeaf(t, "domain: leaf")
	l, text := open(t, Options{URL: leaf.URL(), Domain: "hub"})
	appendAll(t, l, event("news", "1"), event("news", "2"), event("news", "3"))
	js, err := jetstream.New(client(t, leaf.URL()))
	if err != nil {
		t.Fatal(err)
	}
	copied, err := js.CreateStream(patient(t), jetstream.StreamConfig{Name: "copy", Subjects: []string{"ff.>"}})
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(4); seq < 50; seq++ {
		if r := appendAll(t, l, event("news", "more"))[0]; r.Seq != seq {
			t.Fatalf("%+v, want sequence %d", r, seq)
		}
	}
	eventually.Equal(t, "messages of the copy", 46, func() uint64 {
		info, err := copied.Info(patient(t))
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Msgs
	})
	if r := text.Find("a stream of another JetStream domain stores events of this log as well: delete that stream; its acknowledgments are ignored"); r == nil || r["domain"] != "leaf" {
		t.Errorf("%v in %s", r, text)
	}
}

// TestHubIsAway: a node at a leaf node goes on when the hub is back.
func TestHubIsAway(t *testing.T) {
	hub, leaf := natstest.StartLeaf(t, "domain: leaf")
	l, _ := open(t, Options{URL: leaf.URL(), Domain: "hub"})
	appendAll(t, l, event("news", "before"))
	hub.Kill()
	short, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if r := appendOne(short, l, event("news", "lost")); !errors.Is(r.Err, cluster.ErrAway) && !errors.Is(r.Err, cluster.ErrUnknown) {
		t.Errorf("without the hub: %+v", r)
	}
	late := event("news", "after")
	late.ID = "an-id"
	done := make(chan cluster.Result, 1)
	go func() { done <- appendOne(patient(t), l, late) }()
	hub.Start()
	r := <-done
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if got := readTo(t, l, 0, 0, r.Seq); got[0] != `1 "news" "data: before\n\n"` || !strings.HasSuffix(got[len(got)-1], `"news" "data: after\n\n"`) {
		t.Errorf("%q", got)
	}
}

// TestOpenAtTheSameTime: of nodes that start together, each finds or makes the streams, and takes none for that of another domain.
func TestOpenAtTheSameTime(t *testing.T) {
	c := natstest.StartCluster(t, 3, "")
	failed := make(chan error, 8)
	for range cap(failed) {
		go func() {
			l, err := Open(patient(t), Options{URL: c.URL(), Replicas: 3, Partitions: 4})
			if err == nil {
				l.Close()
			}
			failed <- err
		}()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}
