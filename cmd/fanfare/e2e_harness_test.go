package main_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"fanfare/internal/test/proctest"
	"fanfare/internal/test/race"
)

// The tests of e2e_*_test.go run the real binary as a process of its own and look at it from outside: with a browser,
// with other people's clients, with the shell.

// binary is the server under test, built once by TestMain, with the race detector if the tests are.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	for _, name := range []string{"http_proxy", "https_proxy", "all_proxy"} { // the way to loopback leads through no proxy
		_, _ = os.Unsetenv(name), os.Unsetenv(strings.ToUpper(name))
	}
	var flags []string
	if race.Enabled {
		flags = append(flags, "-race")
	}
	defer closeBrowser()
	return proctest.Main(m, &binary, "../fanfare", flags...)
}

// server is a running fanfare.
type server struct{ *proctest.Server }

// start runs fanfare with flags, on free addresses, until the end of the test.
func start(t testing.TB, args ...string) server {
	t.Helper()
	return startWith(proctest.Server{T: t, Args: args})
}

// startWith runs fanfare as o says.
func startWith(o proctest.Server) server {
	o.T.Helper()
	o.Binary = binary
	return server{o.Start()}
}

// publishBatch publishes the data texts to key in one request.
func (s server) publishBatch(key string, data []string) {
	s.T.Helper()
	var body bytes.Buffer
	for _, d := range data {
		_ = json.NewEncoder(&body).Encode(map[string]string{"key": key, "data": d})
	}
	if _, out := s.Do(http.MethodPost, "/batch", "application/x-ndjson", body.String()); strings.Count(out, "\n") != len(data) || strings.Contains(out, `"error"`) {
		s.T.Fatalf("batch: %s", out)
	}
}
