package abuse_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// victim is a server under attack.
type victim struct {
	*proctest.Server
	stream, admin string      // host:port
	secure        *tls.Config // of clients, nil without TLS
}

// publishToken is of every server here.
const publishToken = "abuse-token-of-the-tests"

// startVictim starts a server with short timeouts, so that an attack ends soon after it has stopped.
func startVictim(t *testing.T, args ...string) *victim {
	t.Helper()
	s := &proctest.Server{T: t, Binary: binary, Token: publishToken, Env: []string{"FANFARE_PUBLISH_TOKEN=" + publishToken}, Args: append([]string{
		"--pprof", "--idle-timeout", "1m", "--write-timeout", "3s", "--ping-interval", "1s", "--history", "8192", "--log-format", "json",
	}, args...)}
	s.Start()
	v := &victim{Server: s, stream: proctest.Addr(s.Stream), admin: proctest.Addr(s.Admin)}
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		for _, secret := range []string{publishToken, "cookie-of-the-tests"} {
			if strings.Contains(s.Log.String(), secret) {
				t.Errorf("the log has the credential %q:\n%s", secret, s.Log)
			}
		}
	})
	return v
}

// footprint is what a server takes.
type footprint struct {
	streams, keys, bodyBytes, pinned int
	idle, adminConns                 int
	files, goroutines, heap          int
	workers                          int // goroutines that wait for the next connection: each listener keeps up to 256
	panics                           int
}

// direct is a client that opens a connection for each request: a connection that is kept would count.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: eventually.Patience}

// page gets a page of the admin listener. It is an error if that needs a second attempt: the server serves through every attack.
func (v *victim) page(path string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, v.Admin+path, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+publishToken)
	resp, err := direct.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s: %s", path, resp.Status))
	}
	return string(b), err
}

// measure looks at the server after a garbage collection.
func (v *victim) measure() (f footprint, err error) {
	for range 2 { // what a finalizer or a pool holds goes with the second one
		if _, err := v.page("/debug/pprof/heap?gc=1"); err != nil {
			return f, err
		}
	}
	text, err := v.page("/metrics")
	if err != nil {
		return f, err
	}
	for name, at := range map[string]*int{
		"fanfare_connections": &f.streams, "fanfare_keys": &f.keys, "fanfare_admin_body_bytes": &f.bodyBytes, "fanfare_pinned_bytes": &f.pinned,
		"fanfare_idle_connections": &f.idle, "fanfare_admin_connections": &f.adminConns, "go_memstats_heap_alloc_bytes": &f.heap, "fanfare_panics_total": &f.panics,
	} {
		n, err := metric(text, name)
		if err != nil {
			return f, err
		}
		*at = int(n)
	}
	if text, err = v.page("/debug/pprof/goroutine?debug=1"); err != nil {
		return f, err
	}
	if f.goroutines, f.workers, err = goroutines(text); err != nil {
		return f, err
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", v.Cmd.Process.Pid))
	f.files = len(files)
	return f, err
}

// goroutines reads /debug/pprof/goroutine?debug=1. Each stack begins with the number of goroutines that have it.
func goroutines(text string) (working, waiting int, err error) {
	for stack := range strings.SplitSeq(text, "\n\n") {
		n := 0
		first, frames, _ := strings.Cut(strings.TrimSpace(stack), "\n")
		if strings.HasPrefix(first, "goroutine profile:") {
			first, frames, _ = strings.Cut(frames, "\n")
		}
		if first == "" {
			continue // after the last one
		}
		if _, err := fmt.Sscanf(first, "%d @", &n); err != nil {
			return 0, 0, fmt.Errorf("stack %q: %w", first, err)
		}
		top := ""
		for frame := range strings.Lines(frames) { // the first one outside the runtime
			if top = frame; !strings.Contains(frame, "\truntime.") {
				break
			}
		}
		if strings.Contains(top, "transport.(*acceptor).work+") {
			waiting += n
		} else {
			working += n
		}
	}
	return working, waiting, nil
}

// metric reads a value of /metrics.
func metric(text, name string) (float64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}

// count is a metric's value now.
func (v *victim) count(t testing.TB, name string) int {
	t.Helper()
	text, err := v.page("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	n, err := metric(text, name)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// back says what the server has not given back since f. Some workers and buffers stay for the next clients.
func (f footprint) back(now footprint, a attack) error {
	for what, c := range map[string]struct{ was, is, spare int }{
		"streams": {f.streams, now.streams, 0}, "keys": {f.keys, now.keys, 1 + a.keys}, "bytes of bodies": {f.bodyBytes, now.bodyBytes, 0},
		"pinned bytes": {f.pinned, now.pinned, 0}, "idle connections": {f.idle, now.idle, 1}, "connections of the admin listener": {f.adminConns, now.adminConns, 1},
		"descriptors": {f.files, now.files, 4}, "goroutines": {f.goroutines, now.goroutines, 12}, "goroutines that wait": {0, now.workers, 2 * 256}, "bytes of the heap": {f.heap, now.heap, (8 + a.heap) << 20},
		"panics": {f.panics, now.panics, 0},
	} {
		if c.is > c.was+c.spare {
			return fmt.Errorf("%d %s, %d before", c.is, what, c.was)
		}
	}
	return nil
}

var statusLine = regexp.MustCompile(`(?m)^(VmHWM|VmRSS):\s+(\d+) kB`)

// resident is the resident memory, and its highest value since resetPeak, in bytes.
func (v *victim) resident(t testing.TB) (now, peak int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range statusLine.FindAllStringSubmatch(string(text), -1) {
		n, _ := strconv.Atoi(m[2])
		if m[1] == "VmHWM" {
			peak = n << 10
		} else {
			now = n << 10
		}
	}
	return now, peak
}

// resetPeak lets the highest value begin anew (proc(5), clear_refs).
func (v *victim) resetPeak(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", v.Cmd.Process.Pid), []byte("5"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// endure runs an attack beside clients that behave well, and checks what is left of it.
func (v *victim) endure(t *testing.T, a attack) {
	t.Helper()
	b := v.bystanders(t)
	b.await(20) // what the first events need is there
	var before footprint
	eventually.NoError(t, "a look at the server before", func() (err error) { before, err = v.measure(); return err })
	v.resetPeak(t)
	rss, _ := v.resident(t)
	start := time.Now()

	a.run(t, v)

	took := time.Since(start)
	_, peak := v.resident(t)
	if v.Ended() {
		t.Fatalf("the server has ended: %s", v.Cmd.ProcessState)
	}
	// Who comes now is served.
	b.fresh(t)
	var after footprint
	eventually.NoError(t, "the server is as it was", func() (err error) {
		if after, err = v.measure(); err != nil {
			return err
		}
		return before.back(after, a)
	})
	events, again := b.end()
	limit := a.peak
	if limit == 0 {
		limit = 48
	}
	grown := (peak - rss) >> 20
	if grown > limit && !raceBinary { // the race detector has memory of its own for each byte
		t.Errorf("the server's memory has grown by %d MiB, more than %d", grown, limit)
	}
	t.Logf("%.1f s; %d events delivered, %d sent again; memory +%d MiB at the most, heap %+d kB after; descriptors %+d, goroutines %+d",
		took.Seconds(), events, again, grown, (after.heap-before.heap)>>10, after.files-before.files, after.goroutines-before.goroutines)
}

// open connects to the stream listener, as the victim speaks there. The connection ends with the test.
func (v *victim) open(t testing.TB) net.Conn {
	t.Helper()
	c := dial(t, v.stream)
	if v.secure != nil {
		return tls.Client(c, v.secure)
	}
	return c
}

// dial connects to a listener. The connection ends with the test.
func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, eventually.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(eventually.Patience))
	return c
}
