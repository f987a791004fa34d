package clients_test

import (
	"net"
	"time"
)

// full lets the client lose its connection and finds its place taken when it comes back. It returns what frees the place.
func (w *world) full(args ...string) (free func()) {
	w.t.Helper()
	w.begin(append([]string{"--max-clients", "1"}, args...)...)
	w.front.hold()
	w.front.cut(false)
	w.left(w.server)
	conn, err := net.Dial("tcp", w.server.addr())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write([]byte("GET /stream?connectKey=" + key + " HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		w.t.Fatal(err)
	}
	if !w.subscribed(w.server, patience) {
		w.t.Fatal("the place isn't taken")
	}
	w.front.release()
	if !w.asked(2, patience) {
		w.fact(factGone)
	}
	return func() {
		_ = conn.Close()
		w.within(comesBack, func() bool { return w.server.count() == 0 })
	}
}

// asked waits until the client has asked for a stream n times.
func (w *world) asked(n int, limit time.Duration) bool {
	return w.within(limit, func() bool {
		requests, _ := w.front.seen()
		return len(requests) >= n
	})
}

// limitRetry: over a limit the server answers with a retry: and the end, overLimit's default. The client comes back then, and
// not before; some spread the time by half of it.
func limitRetry(w *world) {
	const retry = 4 * time.Second
	free := w.full("--retry-min", "4s", "--retry-max", "4s")
	if !w.asked(3, comesBack) {
		w.fact(factGone)
		return
	}
	requests, _ := w.front.seen()
	if pause := requests[2].at.Sub(requests[1].at); pause < retry*9/20 && !w.client.again {
		w.t.Logf("back after %s", pause)
		w.fact(factEarly)
	}
	free()
	w.getsIn()
}

// limit503: over a limit the server answers 503.
func limit503(w *world) {
	free := w.full("--over-limit", "503", "--retry-min", "1s", "--retry-max", "1s")
	if !w.asked(3, comesBack) {
		w.fact(factGone)
		return
	}
	free()
	w.getsIn()
}

// getsIn waits until the client has the place, and an event.
func (w *world) getsIn() {
	if !w.subscribed(w.server, 2*comesBack) {
		w.fact(factGone)
		return
	}
	w.arrive(w.publish(event{Data: "in"}))
	w.reconcile()
}

// limit204: 204 tells an EventSource to stop for good.
func limit204(w *world) {
	w.full("--over-limit", "204")
	if w.asked(3, 15*time.Second) {
		w.fact(factKeepsOn)
	}
}
