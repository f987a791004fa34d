package clients_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"testing"

	"fanfare/internal/test/proctest"
)

// start runs a program until the end of the test. take, if not nil, gets its standard output.
func start(t *testing.T, take *os.File, env []string, name string, args ...string) *proctest.Process {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = proctest.Environment(env...)
	if take != nil {
		cmd.Stdout = take
	}
	return proctest.Start(t, cmd)
}

// server is a running fanfare.
type server struct{ *proctest.Server }

func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	return &server{(&proctest.Server{T: t, Binary: fanfare, Args: args}).Start()}
}

// addr is where its streams are: host:port.
func (s *server) addr() string { return proctest.Addr(s.Stream) }

// event is what a publisher sends and a client hands on.
type event struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	Data string `json:"data"`
}

// publish publishes an event to the key of all tests, and returns it with its id.
func (s *server) publish(e event) event {
	s.T.Helper()
	body, err := json.Marshal(map[string]string{"event": e.Name, "id": e.ID, "data": e.Data})
	if err != nil {
		s.T.Fatal(err)
	}
	e.ID = s.Publish(key, string(body)).ID
	if e.Name == "" {
		e.Name = "message"
	}
	return e
}

// direct is a client without a proxy of the environment.
var direct = &http.Client{Transport: &http.Transport{}, Timeout: patience}

// count is the number of the key's subscribers, -1 if the server doesn't tell.
func (s *server) count() int {
	res, err := direct.Get(s.Admin + "/count?key=" + url.QueryEscape(key))
	if err != nil {
		return -1
	}
	defer res.Body.Close()
	var answer struct{ Count int }
	if json.NewDecoder(res.Body).Decode(&answer) != nil {
		return -1
	}
	return answer.Count
}
