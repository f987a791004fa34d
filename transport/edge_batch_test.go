package transport

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// TestMaxBatchLines: the lines of a batch and the events of a body are counted before any of them is published.
func TestMaxBatchLines(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxBatchLines: 100}})
	line, event := `{"key":"k","data":"x"}`+"\n", "data: x\n\n"
	for _, test := range []struct {
		path, contentType, body string
		status                  int
	}{
		{"/batch", "", strings.Repeat(line, 100), 200},
		{"/batch", "", strings.TrimSpace(strings.Repeat(line, 100)), 200},
		{"/batch", "", strings.Repeat(line, 101), 413},
		{"/batch", "", strings.Repeat(line, 100) + strings.TrimSpace(line), 413},
		{"/batch", "", strings.Repeat("\n", 101), 413},
		{"/publish?key=k", "text/event-stream", strings.Repeat(event, 100), 200},
		{"/publish?key=k", "text/event-stream", strings.Repeat(event, 101), 413},
		{"/publish?key=k", "text/event-stream", strings.Repeat("data: x\r\n\r\n", 100), 200},
		{"/publish?key=k", "text/event-stream", strings.Repeat("data: x\r\r", 101), 413},
		{"/publishAll", "text/event-stream", strings.Repeat(":\n\n", 101), 413},
	} {
		before, refused := r.metric("fanfare_events_total"), r.metric(`fanfare_rejected_total{limit="maxBatchLines"}`)
		a := r.call("POST", test.path, test.body, "Content-Type: "+test.contentType)
		events, counted := r.metric("fanfare_events_total")-before, r.metric(`fanfare_rejected_total{limit="maxBatchLines"}`)-refused
		switch {
		case a.status != test.status:
			t.Errorf("%s %q: %d %s", test.path, wiretest.Clip(test.body), a.status, wiretest.Clip(a.body))
		case test.status == 200 && (events != 100 || counted != 0):
			t.Errorf("%s %q: %v events, %v refused", test.path, wiretest.Clip(test.body), events, counted)
		case test.status == 413 && (events != 0 || counted != 1 || a.failed(t).Field != "maxBatchLines" || !strings.Contains(a.body, "100")):
			t.Errorf("%s %q: %v events, %v refused: %s", test.path, wiretest.Clip(test.body), events, counted, a.body)
		}
	}
}

// liveHeap is what a garbage collection leaves.
func liveHeap() uint64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// TestBatchAnswersAreStreamed: a batch costs a small multiple of its length, whatever it makes the server answer.
func TestBatchAnswersAreStreamed(t *testing.T) {
	const lines = 1 << 18
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxBatchLines: lines}})
	start := liveHeap()
	resp, err := http.Post("http://"+r.admin+"/batch", "application/x-ndjson", strings.NewReader(strings.Repeat("x\n", lines)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	most, n, length := uint64(0), 0, 0
	in := bufio.NewScanner(resp.Body)
	for in.Scan() {
		if n++; n%(lines/16) == 1 {
			most = max(most, liveHeap())
		}
		if length += len(in.Bytes()) + 1; n == lines && !strings.Contains(in.Text(), fmt.Sprintf(`"line":%d}`, lines)) {
			t.Errorf("the last answer: %s", in.Text())
		}
	}
	if in.Err() != nil || n != lines {
		t.Fatalf("%d answers: %v", n, in.Err())
	}
	if length < 40*2*lines {
		t.Errorf("%d bytes of answers: this tests nothing", length)
	}
	if by := most - min(most, start); by > 8*2*lines {
		t.Errorf("%d bytes more are live, for a body of %d and answers of %d", by, 2*lines, length)
	}
}

// TestPublishCostsItsBody: data that would become a long frame is not encoded if it is too large already.
func TestPublishCostsItsBody(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	const length = 15 << 20
	body := strings.Repeat("\n", length) // each of them would need a field of its own
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	a := r.call("POST", "/publish?key=k", body, "Content-Type: text/plain")
	runtime.ReadMemStats(&after)
	if a.status != 413 || a.failed(t).Field != "maxEventBytes" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if by := after.TotalAlloc - before.TotalAlloc; by > 3*length { // the buffer grows by doubling
		t.Errorf("%d bytes for a body of %d", by, length)
	}
}

// TestBatchRunsToItsEnd: what arrived is published, whether or not the client reads the answers, and nothing is left of it.
func TestBatchRunsToItsEnd(t *testing.T) {
	const lines = 1000
	r := startRig(t, viaFast, rigOptions{})
	line := `{"key":"k","data":"x"}` + "\n"
	// The answers to what is between the first event and the others are more than the sockets hold.
	body := line + strings.Repeat("x\n", 45_000) + strings.Repeat(line, lines-1)
	for name, leave := range map[string]func(w *wiretest.Conn){
		"closes":         func(w *wiretest.Conn) { w.Close() },
		"resets":         func(w *wiretest.Conn) { w.Reset() },
		"does not read":  func(*wiretest.Conn) {},
		"reads a little": func(w *wiretest.Conn) { w.ReadHead(); w.Read(100); w.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			before := r.metric("fanfare_events_total")
			w := wiretest.Dial(t, r.admin)
			defer w.Close()
			w.Send(wiretest.Request("POST", "/batch", fmt.Sprint("Content-Length: ", len(body))) + body)
			if name == "resets" || name == "closes" { // not before it has arrived
				eventually.True(t, "the batch runs", func() bool { return r.metric("fanfare_events_total") > before })
			}
			leave(w)
			eventually.True(t, "all lines have run", func() bool { return r.metric("fanfare_events_total") == before+lines })
			eventually.True(t, "the body is given back", func() bool { return r.srv.api.BodyBytes() == 0 })
		})
	}
}

// TestBatchOfOldClients: HTTP/1.0 has no chunks, and the answer is whole as well.
func TestBatchOfOldClients(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	body := strings.Repeat(`{"key":"k","data":"x"}`+"\n", 5000)
	w := wiretest.Dial(t, r.admin)
	defer w.Close()
	w.Send(fmt.Sprintf("POST /batch HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	w.ReadHead()
	if w.Status != 200 || w.Header.Get("Transfer-Encoding") != "" {
		t.Fatalf("%d %v", w.Status, w.Header)
	}
	_ = w.NetConn().SetReadDeadline(time.Now().Add(eventually.Patience))
	text, err := io.ReadAll(w.Body)
	if n := strings.Count(string(text), "\n"); err != nil || n != 5000 {
		t.Errorf("%d answers, %v", n, err)
	}
}
