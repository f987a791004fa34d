package deploy_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// TestVarnish runs the shipped file, and Varnish's own defaults, in front of Fanfare. Varnish speaks no TLS.
func TestVarnish(t *testing.T) {
	t.Parallel()
	fanfare := startServer(t, "--ping-interval", "500ms", "--access-log", "--trusted-proxies", "127.0.0.1")
	host, backendPort, err := net.SplitHostPort(fanfare.addr())
	if err != nil {
		t.Fatal(err)
	}
	run := func(vcl string, args ...string) string {
		dir := t.TempDir()
		file := filepath.Join(dir, "f.vcl")
		if err := os.WriteFile(file, []byte(vcl), 0o600); err != nil {
			t.Fatal(err)
		}
		addr := proctest.FreeAddr(t)
		varnishd := start(t, nil, "varnishd", append([]string{"-F", "-j", "none", "-a", addr, "-f", file, "-s", "malloc,1m", "-n", filepath.Join(dir, "n")}, args...)...)
		varnishd.Await("varnish answers", func() error {
			res, err := http.Get("http://" + addr + "/healthz")
			if err != nil {
				return err
			}
			return res.Body.Close()
		})
		return "http://" + addr
	}

	shipped, err := os.ReadFile("varnish.vcl")
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.NewReplacer(`"127.0.0.1"`, fmt.Sprintf("%q", host), `"8080"`, fmt.Sprintf("%q", backendPort)).Replace(string(shipped))
	if edited == string(shipped) {
		t.Fatal("varnish.vcl has no backend address any more: the test must follow")
	}
	varnish := run(edited)
	client := &http.Client{}
	t.Cleanup(client.CloseIdleConnections)
	s := subscribe(t, client, varnish, "varnish", "")
	s.expect(t, "event: position")
	s.expect(t, ":") // the heartbeat comes through at once
	fanfare.PublishText("varnish", "through varnish")
	s.expect(t, "data: through varnish")
	s.cancel()
	fanfare.AwaitCount("varnish", 0) // the client's end comes through

	// With Varnish's own rules a stream has a body: they take Connection: keep-alive without a length for none.
	bare := run(fmt.Sprintf("vcl 4.1;\nbackend b { .host = %q; .port = %q; }\nsub vcl_backend_response { set beresp.do_stream = true; set beresp.uncacheable = true; }\n", host, backendPort))
	s = subscribe(t, client, bare, "bare", "")
	s.expect(t, "event: position")
	fanfare.PublishText("bare", "by the defaults")
	s.expect(t, "data: by the defaults")
	s.cancel()

	checkAddresses(t, fanfare, func(last int) *http.Client {
		transport := &http.Transport{}
		dialFrom(transport, last, strings.TrimPrefix(varnish, "http://"))
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}, varnish)

	// While Fanfare is away an EventSource is told to come back, pages of other origins too.
	fanfare.Kill()
	eventually.NoError(t, "the answer of a proxy whose server is away", func() error {
		res, err := client.Get(varnish + "/stream?connectKey=varnish")
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != 200 || res.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
			return fmt.Errorf("%s %v", res.Status, res.Header)
		}
		return nil
	})
	checkAwayCORS(t, client, varnish)
}
