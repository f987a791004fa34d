package transport

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fanfare/internal/test/wiretest"
)

// onFleets runs a test with the servers of each kind, on a log of one partition and of several.
func onFleets(t *testing.T, o fleetOptions, test func(t *testing.T, f *fleet)) {
	t.Helper()
	for _, via := range []string{viaFast, viaStd} {
		for _, partitions := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s/%d", via, partitions), func(t *testing.T) {
				o := o
				o.via, o.partitions = via, partitions
				test(t, startFleet(t, o))
			})
		}
	}
}

// TestFleetDelivers: what is published at one server arrives at all, under the same id, and a client that loses its server goes
// on at another one without a hole.
func TestFleetDelivers(t *testing.T) {
	onFleets(t, fleetOptions{nodes: 3}, func(t *testing.T, f *fleet) {
		var all []*wiretest.Events
		for _, n := range f.nodes {
			all = append(all, n.subscribe("connectKey=k"))
		}
		var ids []string
		for i := range 9 {
			ids = append(ids, f.nodes[i%3].publish("k", fmt.Sprint(i)))
		}
		var last wiretest.Message
		for _, e := range all {
			for i := range 9 {
				m := e.Next()
				if m.Data != fmt.Sprint(i) || !strings.Contains(m.ID, ids[i]) {
					t.Errorf("%v in place of event %d, %s", m, i, ids[i])
				}
				if i == 4 {
					if last.ID != "" && last.ID != m.ID {
						t.Errorf("one client has the id %s, another %s", last.ID, m.ID)
					}
					last = m
				}
			}
		}
		for i, n := range f.nodes {
			for name, header := range map[string]string{"header": "Last-Event-ID: " + last.ID, "header of the publisher's id": "Last-Event-ID: " + ids[4]} {
				e := n.subscribe("connectKey=k", header)
				e.WantData("5", "6", "7", "8")
				if e.Position() == "" {
					t.Errorf("node %d, %s: no position", i, name)
				}
				e.Close()
			}
		}
	})
}

// TestFleetKeysAndBroadcasts: a client of several keys gets the events of each key and those of all keys once, in order, at
// whichever server, and one id resumes all of them.
func TestFleetKeysAndBroadcasts(t *testing.T) {
	onFleets(t, fleetOptions{}, func(t *testing.T, f *fleet) {
		const query = "connectKey=a&connectKey=b&connectKey=c"
		e := f.nodes[1].subscribe(query)
		one := f.nodes[0].subscribe("connectKey=b")
		quiet := f.nodes[1].subscribe("connectKey=quiet")
		var messages []wiretest.Message
		publish := func(round int) {
			for _, key := range []string{"a", "b", "c"} {
				f.nodes[round%2].publish(key, fmt.Sprint(key, round))
			}
			if a := f.nodes[1-round%2].call("POST", "/publishAll", fmt.Sprint("all", round), "Content-Type: text/plain"); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			f.nodes[round%2].publish("unrelated", "x")
		}
		const rounds = 4
		for round := range rounds {
			publish(round)
		}
		for range 4 * rounds {
			messages = append(messages, e.Next())
		}
		for _, key := range []string{"a", "b", "c", "all"} {
			var got, want []string
			for _, m := range messages {
				if strings.HasPrefix(m.Data, key) && (key == "all" || m.Data[:1] == key && !strings.HasPrefix(m.Data, "all")) {
					got = append(got, m.Data)
				}
			}
			for round := range rounds {
				want = append(want, fmt.Sprint(key, round))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q", key, got)
			}
		}
		quiet.WantData("all0", "all1", "all2", "all3")
		for round := range rounds {
			got := []string{one.Next().Data, one.Next().Data}
			if slices.Sort(got); got[0] != fmt.Sprint("all", round) && f.nodes[0].log.Partitions() == 1 {
				t.Errorf("%q", got)
			}
		}
		// From every id on, the other server sends the rest.
		for i, m := range messages[:len(messages)-1] {
			back := f.nodes[0].subscribe(query, "Last-Event-ID: "+m.ID)
			var got, want []string
			for _, later := range messages[i+1:] {
				got, want = append(got, back.Next().Data), append(want, later.Data)
			}
			slices.Sort(got)
			if slices.Sort(want); !slices.Equal(got, want) {
				t.Errorf("after %s: %q, want %q", m.ID, got, want)
			}
			if more := back.Take(); len(more) > 0 {
				t.Errorf("after %s came %v in addition", m.ID, more)
			}
			back.Close()
		}
		f.nodes[1].publish("a", "end")
		e.WantData("end")
	})
}

// TestFleetOwnIDs: publishers' own ids are kept on streams of one key, and resume at another server.
func TestFleetOwnIDs(t *testing.T) {
	onFleets(t, fleetOptions{}, func(t *testing.T, f *fleet) {
		e, several := f.nodes[1].subscribe("connectKey=k"), f.nodes[1].subscribe("connectKey=k&connectKey=other&envelope=key")
		f.nodes[0].post("k", "application/json", `{"data":"one","id":"own-1"}`)
		f.nodes[0].post("k", "application/json", `{"data":"two"}`)
		m, n := e.Next(), e.Next()
		if m.Data != "one" || m.ID != "own-1" || n.Data != "two" {
			t.Errorf("%v, %v", m, n)
		}
		f.waitApplied()
		f.nodes[0].subscribe("connectKey=k", "Last-Event-ID: own-1").WantData("two")
		first := several.Next()
		if first.Data != "{\"key\":\"k\"}\none" || first.ID == "own-1" {
			t.Errorf("%v", first)
		}
		f.nodes[0].subscribe("connectKey=k&connectKey=other", "Last-Event-ID: "+first.ID).WantData("two")
		// An event to all keys is one of the first key.
		several.WantData("{\"key\":\"k\"}\ntwo")
		f.nodes[0].call("POST", "/publishAll", "all", "Content-Type: text/plain")
		several.WantData("{\"key\":\"k\"}\nall")
	})
}

// fleetAnswer is an answer with what a fleet adds.
type fleetAnswer struct {
	Count, Closed, Disconnected, Subscribers int
	Subjects                                 []struct {
		Subject string
		Streams int
	}
	Nodes  int
	Silent []string
}

// TestFleetQuestions: counts, closing and presence are those of all servers, over HTTP and in batches.
func TestFleetQuestions(t *testing.T) {
	o := fleetOptions{nodes: 3, rigOptions: rigOptions{Options: Options{Authorize: door}}}
	onFleets(t, o, func(t *testing.T, f *fleet) {
		open := func(n int, key, subject string) *wiretest.Events {
			return f.nodes[n].subscribe("connectKey=" + key + "&token=" + subject + ":" + key)
		}
		ask := func(n int, method, target string) (a fleetAnswer) {
			t.Helper()
			r := f.nodes[n].call(method, target, "")
			r.decode(t, &a)
			if r.status != 200 || a.Nodes != 3 || a.Silent == nil || len(a.Silent) != 0 {
				t.Errorf("%s: %d %s", target, r.status, r.body)
			}
			return a
		}
		streams := []*wiretest.Events{open(0, "k", "ann"), open(1, "k", "ann"), open(1, "k", "bob"), open(2, "other", "ann")}
		if a := ask(2, "GET", "/count?key=k"); a.Count != 3 {
			t.Errorf("%+v", a)
		}
		if a := ask(0, "GET", "/countAll"); a.Count != 4 {
			t.Errorf("%+v", a)
		}
		if a := ask(2, "GET", "/presence?key=k"); a.Subscribers != 3 || len(a.Subjects) != 2 || a.Subjects[0].Streams != 2 || a.Subjects[1].Subject != "bob" {
			t.Errorf("%+v", a)
		}
		if got := f.nodes[0].srv.Presence("k"); got["ann"] != 2 || got["bob"] != 1 {
			t.Errorf("%v", got)
		}
		lines := f.nodes[2].batch(`{"op":"count","key":"k"}` + "\n" + `{"op":"countAll"}`)
		if lines[0]["count"] != 3.0 || lines[0]["nodes"] != 3.0 || len(lines[0]["silent"].([]any)) != 0 || lines[1]["count"] != 4.0 {
			t.Errorf("%v", lines)
		}
		if a := ask(1, "POST", "/disconnect?subject=ann"); a.Disconnected != 3 {
			t.Errorf("%+v", a)
		}
		for _, i := range []int{0, 1, 3} {
			streams[i].ExpectEnd()
		}
		streams = []*wiretest.Events{streams[2], open(0, "k", "ann"), open(2, "other", "ann")}
		if n := f.nodes[1].srv.Disconnect("ann"); n != 2 {
			t.Errorf("%d", n)
		}
		streams[1].ExpectEnd()
		streams[2].ExpectEnd()
		if a := ask(0, "POST", "/close?key=k"); a.Closed != 1 {
			t.Errorf("%+v", a)
		}
		streams[0].ExpectEnd()
	})
}

// TestFleetCloseIsAfterEvents: a close at one server ends the streams of another after everything that was published before,
// within a batch and between requests.
func TestFleetCloseIsAfterEvents(t *testing.T) {
	onFleets(t, fleetOptions{}, func(t *testing.T, f *fleet) {
		for round := range 10 {
			e := f.nodes[1].subscribe("connectKey=k")
			var lines strings.Builder
			for i := range 20 {
				fmt.Fprintf(&lines, "{\"key\":\"k\",\"data\":\"%d\"}\n", i)
			}
			lines.WriteString(`{"op":"close","key":"k"}` + "\n" + `{"op":"count","key":"k"}`)
			answers := f.nodes[0].batch(lines.String())
			if closed := answers[20]; closed["closed"] != 1.0 || answers[21]["count"] != 0.0 {
				t.Fatalf("round %d: %v", round, answers[20:])
			}
			for i := range 20 {
				e.WantData(fmt.Sprint(i))
			}
			e.ExpectEnd()
		}
		e := f.nodes[1].subscribe("connectKey=k")
		f.nodes[0].publish("k", "last")
		f.nodes[0].call("POST", "/closeAll", "")
		e.WantData("last")
		e.ExpectEnd()
	})
}

// TestFleetCloseIsAfterOtherServersEvents: a close at a server that has not read yet what another one has published ends its
// own streams after it, too.
func TestFleetCloseIsAfterOtherServersEvents(t *testing.T) {
	onFleets(t, fleetOptions{}, func(t *testing.T, f *fleet) {
		publisher, asked := f.nodes[0], f.nodes[1]
		for _, close := range []func() string{
			func() string { return asked.call("POST", "/close?key=k", "").body },
			func() string { return asked.call("POST", "/closeAll", "").body },
			func() string { return fmt.Sprint(asked.batch(`{"op":"close","key":"k"}`)[0]["closed"]) },
			func() string { return fmt.Sprint(asked.batch(`{"op":"closeAll"}`)[0]["closed"]) },
		} {
			near, far := asked.subscribe("connectKey=k&connectKey=other"), publisher.subscribe("connectKey=k")
			asked.log.HoldReads(true)
			publisher.publish("k", "one")
			publisher.publish("k", "two")
			answer := make(chan string, 1)
			go func() { answer <- close() }()
			far.WantData("one", "two")
			far.ExpectEnd() // the close has been passed on
			asked.log.HoldReads(false)
			if a := <-answer; a != "2" && !strings.Contains(a, `"closed":2`) {
				t.Errorf("the answer is %s", a)
			}
			near.WantData("one", "two")
			near.ExpectEnd()
		}
	})
}

// TestFleetSilentNode: a node that does not answer is named, and the others' answers count.
func TestFleetSilentNode(t *testing.T) {
	f := startFleet(t, fleetOptions{nodes: 3, node: short})
	var streams []*wiretest.Events
	for _, n := range f.nodes {
		streams = append(streams, n.subscribe("connectKey=k"))
	}
	f.nodes[2].bus.Cut(true)
	var a fleetAnswer
	f.nodes[0].call("GET", "/count?key=k", "").decode(t, &a)
	if a.Count != 2 || a.Nodes != 2 || !slices.Equal(a.Silent, []string{"node-3"}) {
		t.Errorf("%+v", a)
	}
	line := f.nodes[0].batch(`{"op":"close","key":"k"}`)[0]
	if line["closed"] != 2.0 || line["nodes"] != 2.0 || fmt.Sprint(line["silent"]) != "[node-3]" {
		t.Errorf("%v", line)
	}
	streams[0].ExpectEnd()
	streams[1].ExpectEnd()
	f.nodes[0].publish("k", "still there") // the log reaches it
	streams[2].WantData("still there")
}
