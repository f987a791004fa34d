package pub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanfare/cmd/fanfare/remote"
	"fanfare/internal/test/eventually"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api stands for the admin listener: it records requests, and answers as that does.
type api struct {
	mu       sync.Mutex
	requests []string // "PATH BODY"
	lines    []string // of batches
	batches  int
	auth     string
	got      chan string   // gets each line
	gate     chan struct{} // if set, a batch waits for a token
	maxBody  int           // bytes; 0: no limit
	fail     int           // so many requests are answered 503
	durable  bool          // it has a backplane
	away     int           // so many batches fail from their second line on
	keys     []string      // Idempotency-Keys, of requests and lines that were published
}

// keyMember is the Idempotency-Key of a line.
var keyMember = regexp.MustCompile(`"idempotencyKey":"([^"]*)",?`)

func (a *api) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	if req.URL.Path == "/healthz" {
		fmt.Fprintln(w, "ok")
		if a.durable {
			fmt.Fprintln(w, "node: a\nbroker: connected")
		}
		return
	}
	if a.gate != nil {
		<-a.gate
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.auth = req.Header.Get("Authorization")
	switch {
	case a.fail > 0:
		a.fail--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case a.maxBody > 0 && len(body) > a.maxBody:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		fmt.Fprintln(w, `{"error":"the body is too large (maxBodyBytes)","field":"maxBodyBytes"}`)
		return
	case req.URL.Path != "/batch":
		a.requests = append(a.requests, req.URL.RequestURI()+" "+string(body))
		a.keys = append(a.keys, req.Header.Get("Idempotency-Key"))
		fmt.Fprintln(w, `{"id":"e-1","subscribers":3}`)
		return
	}
	a.batches++
	away := false
	if a.away > 0 && strings.Count(string(body), "\n") > 1 {
		a.away--
		away = true
	}
	i := -1
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSuffix(line, "\n")
		if i++; away && i == 1 {
			fmt.Fprintln(w, `{"error":"not confirmed","code":"unconfirmed"}`)
			continue
		} else if away && i > 1 {
			fmt.Fprintln(w, `{"error":"an earlier line is not stored"}`)
			continue
		}
		if m := keyMember.FindStringSubmatch(line); m != nil {
			a.keys = append(a.keys, m[1])
		}
		line = strings.ReplaceAll(keyMember.ReplaceAllString(line, ""), ",}", "}")
		a.lines = append(a.lines, line)
		if strings.Contains(line, "refuse me") {
			fmt.Fprintln(w, `{"error":"data: is not to my taste","field":"data","line":1}`)
		} else {
			fmt.Fprintf(w, "{\"id\":\"e-%d\",\"subscribers\":2}\n", len(a.lines))
		}
		if a.got != nil {
			a.got <- line
		}
	}
}

// publish runs the command against a, and returns what it printed.
func publish(t *testing.T, a *api, o Options, in string) (out, errs string, err error) {
	t.Helper()
	srv := httptest.NewServer(a)
	defer srv.Close()
	o.Server = srv.URL
	var outText, errText bytes.Buffer
	err = Run(t.Context(), defaults(o), strings.NewReader(in), &outText, &errText)
	return outText.String(), errText.String(), err
}

// defaults are those of the flags.
func defaults(o Options) Options {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 16 << 20
	}
	return o
}

func TestSingleEvent(t *testing.T) {
	for _, test := range []struct {
		o    Options
		in   string
		want string
	}{
		{Options{Key: "k", Data: "x", HasData: true}, "unread", `/publish?key=k {"data":"x"}`},
		{Options{Key: "a b&c", Data: "<é>\n", HasData: true, Event: "e", ID: "7", Retry: 3 * time.Second}, "", `/publish?key=a+b%26c {"event":"e","id":"7","retry":3000,"data":"<é>\n"}`},
		{Options{Key: "k", HasData: true}, "", `/publish?key=k {"data":""}`},
		{Options{Key: "k"}, "one\ntwo\r\n", `/publish?key=k {"data":"one\ntwo"}`},
		{Options{Key: "k"}, "\n", `/publish?key=k {"data":""}`},
		{Options{All: true, Key: "x"}, "", `/publishAll {"data":"x"}`},
		{Options{All: true}, "x", `/publishAll {"data":"x"}`},
	} {
		a := new(api)
		test.o.Token, test.o.Verbose = "t0ken", true
		out, errs, err := publish(t, a, test.o, test.in)
		if err != nil || errs != "" || out != "e-1 3\n" || !slices.Equal(a.requests, []string{test.want}) || a.auth != "Bearer t0ken" {
			t.Errorf("%+v: %q (%s), %q, %q, %v; want %q", test.o, a.requests, a.auth, out, errs, err, test.want)
		}
	}
}

func TestUsage(t *testing.T) {
	for want, o := range map[string]Options{
		"no key is given":                    {},
		"remove the key":                     {All: true, Key: "k", Data: "x", HasData: true},
		"remove the data":                    {Key: "k", Data: "x", HasData: true, Lines: true},
		"--id is for a single":               {Key: "k", Lines: true, ID: "7"},
		"whole number of millisec":           {Key: "k", Retry: 5},
		"--timeout is -1ns and must":         {Key: "k", Timeout: -1},
		"--wait is -1ns and must":            {Key: "k", Wait: -1},
		"--max-bytes":                        {Key: "k", MaxBytes: -1},
		"valid UTF-8":                        {Key: "k\xff"},
		"--token or FANFARE_PUBLISH":         {Key: "k", Token: "a\n"},
		"is not a valid URL":                 {Key: "k", Server: "localhost:8081"},
		"must not have a query":              {Key: "k", Server: "http://a/?b"},
		"must not have a fragment":           {Key: "k", Server: "http://a/#b"},
		"no key is given: write fanfare pub": {Lines: true},
	} {
		var usage *remote.UsageError
		o = defaults(o)
		o.Environ(func(string) string { return "" })
		if err := Run(t.Context(), o, strings.NewReader(""), io.Discard, io.Discard); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", o, err, want)
		}
	}
}

func TestWhatIsNotPublished(t *testing.T) {
	for _, test := range []struct {
		o        Options
		in, want string
	}{
		{Options{Key: "k"}, "", "standard input is empty"},
		{Options{Key: "k"}, "ab\xff", "not valid UTF-8 (byte 2)"},
		{Options{Key: "k", Data: "\xffx", HasData: true}, "", "not valid UTF-8 (byte 0)"},
		{Options{Key: "k", MaxBytes: 3}, "four", "more than 3 bytes"},
	} {
		a := new(api)
		if _, _, err := publish(t, a, test.o, test.in); err == nil || !strings.Contains(err.Error(), test.want) || a.requests != nil {
			t.Errorf("%+v %q: %v, %q", test.o, test.in, err, a.requests)
		}
	}
	if _, _, err := publish(t, new(api), Options{Key: "k", MaxBytes: 3}, "abc\r\n"); err != nil {
		t.Errorf("the line end counts: %v", err)
	}
}

func TestLines(t *testing.T) {
	a := new(api)
	out, errs, err := publish(t, a, Options{Key: "k", Lines: true, Event: "e", JSON: true, MaxBytes: 20},
		"one\r\n\n  two \"<\nrefuse me\n"+strings.Repeat("x", 100_000)+"\nbad \xff\nlast")
	want := []string{
		`{"key":"k","event":"e","data":"one"}`, `{"key":"k","event":"e","data":""}`, `{"key":"k","event":"e","data":"  two \"<"}`,
		`{"key":"k","event":"e","data":"refuse me"}`, `{"key":"k","event":"e","data":"last"}`,
	}
	if !slices.Equal(a.lines, want) {
		t.Errorf("sent %q", a.lines)
	}
	if wantOut := `{"line":1,"id":"e-1","subscribers":2}` + "\n" + `{"line":2,"id":"e-2","subscribers":2}` + "\n" +
		`{"line":3,"id":"e-3","subscribers":2}` + "\n" + `{"line":7,"id":"e-5","subscribers":2}` + "\n"; out != wantOut {
		t.Errorf("printed %q", out)
	}
	for _, line := range []string{
		"fanfare: line 4: data: is not to my taste\n", "fanfare: line 5: is longer than 20 bytes: raise --max-bytes, or split the line\n",
		"fanfare: line 6: the line is not valid UTF-8 (byte 4): send binary data as base64\n",
	} {
		if !strings.Contains(errs, line) {
			t.Errorf("errors %q lack %q", errs, line)
		}
	}
	if err == nil || err.Error() != "3 of 7 lines were refused" {
		t.Error(err)
	}
}

func TestManyRefusalsAreNotAllListed(t *testing.T) {
	_, errs, err := publish(t, new(api), Options{Key: "k", Lines: true}, strings.Repeat("refuse me\n", 1000))
	if n := strings.Count(errs, "\n"); n != maxRefusals+1 || err == nil || err.Error() != "1000 of 1000 lines were refused" {
		t.Errorf("%d lines, %v", n, err)
	}
}

func TestNDJSON(t *testing.T) {
	a := new(api)
	in := ` "text" ` + "\n\n" + `{"data":{"a":12345678901234567890}}` + "\n" + `{"key":"own", "data":"x","event":"f"}` + "\n" + `{ }` + "\n" +
		`{"op":"close","key":"z"}` + "\n" + `{"data":` + "\n" + `[1]` + "\n" + `5` + "\n" + `{"a":1} {"b":2}` + "\n"
	_, errs, err := publish(t, a, Options{Key: "k", NDJSON: true, Event: "e"}, in)
	want := []string{
		`{"key":"k","event":"e","data":"text"}`, `{"key":"k","event":"e","data":{"a":12345678901234567890}}`,
		`{"key":"k","event":"e","key":"own", "data":"x","event":"f"}`, `{"key":"k","event":"e"}`, `{"key":"k","event":"e","op":"close","key":"z"}`,
	}
	if !slices.Equal(a.lines, want) {
		t.Errorf("sent %q", a.lines)
	}
	for _, line := range a.lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("%s is no JSON", line)
		}
	}
	for _, line := range []string{"line 7: is not valid JSON: ", "line 8: must be a string or an object", "line 9: must be", "line 10: is not valid JSON: "} {
		if !strings.Contains(errs, line) {
			t.Errorf("errors %q lack %q", errs, line)
		}
	}
	if err == nil || err.Error() != "4 of 9 lines were refused" {
		t.Error(err)
	}

	a = new(api)
	_, errs, err = publish(t, a, Options{NDJSON: true}, `"x"`+"\n"+`{"data":1}`+"\n"+`{"key":"a","data":1}`+"\n"+`{"op":"publishAll","data":1}`+"\n")
	if !slices.Equal(a.lines, []string{`{"key":"a","data":1}`, `{"op":"publishAll","data":1}`}) || err == nil ||
		!strings.Contains(errs, "line 1: is a string, which has no key") || !strings.Contains(errs, "line 2: has no key") {
		t.Errorf("without a key: %q, %q, %v", a.lines, errs, err)
	}
	a = new(api)
	if _, _, err := publish(t, a, Options{NDJSON: true, All: true}, `"x"`); err != nil || !slices.Equal(a.lines, []string{`{"op":"publishAll","data":"x"}`}) {
		t.Errorf("--all: %q, %v", a.lines, err)
	}
}

// TestEachLineAtOnce: a pipe that pauses, as that of tail -f, is not waited for.
func TestEachLineAtOnce(t *testing.T) {
	a := &api{got: make(chan string, 10)}
	srv := httptest.NewServer(a)
	defer srv.Close()
	in, feed := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- Run(t.Context(), defaults(Options{Key: "k", Lines: true, Server: srv.URL}), in, io.Discard, io.Discard)
	}()
	for i := range 5 {
		fmt.Fprintf(feed, "%d\n", i)
		select {
		case line := <-a.got:
			if want := fmt.Sprintf(`{"key":"k","data":"%d"}`, i); line != want {
				t.Fatalf("%s, want %s", line, want)
			}
		case <-time.After(eventually.Patience):
			t.Fatalf("line %d is held back", i)
		}
	}
	_ = feed.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestBatchesGather: while a request is under way the lines behind it gather, up to a limit.
func TestBatchesGather(t *testing.T) {
	const n = 5000
	a := &api{gate: make(chan struct{})}
	srv := httptest.NewServer(a)
	defer srv.Close()
	var in bytes.Buffer
	for i := range n {
		fmt.Fprintln(&in, i)
	}
	done := make(chan error, 1)
	go func() {
		done <- Run(t.Context(), defaults(Options{Key: "k", Lines: true, Server: srv.URL}), &in, io.Discard, io.Discard)
	}()
	for ended := false; !ended; {
		select {
		case a.gate <- struct{}{}:
		case err := <-done:
			ended = true
			if err != nil {
				t.Error(err)
			}
		}
	}
	if len(a.lines) != n || a.batches > n/100 || a.batches < n/(batchLines+1) {
		t.Errorf("%d lines in %d batches", len(a.lines), a.batches)
	}
	for i, line := range a.lines {
		if want := fmt.Sprintf(`{"key":"k","data":"%d"}`, i); line != want {
			t.Fatalf("line %d: %s", i, line)
		}
	}
}

func TestBodiesThatAreTooLargeAreHalved(t *testing.T) {
	a := &api{maxBody: 100}
	_, errs, err := publish(t, a, Options{Key: "k", Lines: true}, strings.Repeat("0123456789\n", 50)+strings.Repeat("x", 200)+"\nend\n")
	if len(a.lines) != 51 || a.lines[50] != `{"key":"k","data":"end"}` {
		t.Errorf("%d lines: %q", len(a.lines), a.lines)
	}
	if err == nil || err.Error() != "1 of 52 lines were refused" || !strings.Contains(errs, "line 51: the body is too large (maxBodyBytes)") {
		t.Errorf("%q, %v", errs, err)
	}
}

func TestWait(t *testing.T) {
	a := &api{fail: 3}
	_, errs, err := publish(t, a, Options{Key: "k", Lines: true, Wait: time.Minute}, "x\ny\n")
	if err != nil || len(a.lines) != 2 || strings.Count(errs, "trying again") != 1 {
		t.Errorf("%q, %q, %v", a.lines, errs, err)
	}
	a = &api{fail: 3}
	if _, _, err := publish(t, a, Options{Key: "k", Lines: true}, "x\ny\n"); err == nil || !strings.Contains(err.Error(), "were not published: ") || len(a.lines) != 0 {
		t.Errorf("without --wait: %v, %q", err, a.lines)
	}
	begin := time.Now()
	if _, _, err := publish(t, &api{fail: 1000}, Options{Key: "k", Data: "x", HasData: true, Wait: 300 * time.Millisecond}, ""); err == nil || time.Since(begin) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(begin))
	}
}

// TestInterrupt: what was read is published, and the rest of an endless pipe is not waited for.
func TestInterrupt(t *testing.T) {
	for _, lines := range []bool{true, false} {
		a := &api{got: make(chan string, 10)}
		srv := httptest.NewServer(a)
		in, feed := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- Run(ctx, defaults(Options{Key: "k", Lines: lines, Server: srv.URL}), in, io.Discard, io.Discard)
		}()
		fmt.Fprintln(feed, "x")
		if lines {
			<-a.got
		}
		cancel()
		select {
		case err := <-done:
			if lines != (err == nil) {
				t.Errorf("lines %v: %v", lines, err)
			}
		case <-time.After(eventually.Patience):
			t.Errorf("lines %v: it goes on", lines)
		}
		_ = feed.Close()
		srv.Close()
	}
}

func TestErrorsOfReading(t *testing.T) {
	in := io.MultiReader(strings.NewReader("x\n"), errorReader{})
	srv := httptest.NewServer(new(api))
	defer srv.Close()
	for _, o := range []Options{{Key: "k", Lines: true}, {Key: "k"}} {
		o.Server = srv.URL
		if err := Run(t.Context(), defaults(o), in, io.Discard, io.Discard); err == nil || err.Error() != "standard input: the disk is on fire" {
			t.Error(err)
		}
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("the disk is on fire") }

func TestOtherServers(t *testing.T) {
	for answer, want := range map[string]string{
		"404 no": "answered 404 Not Found: is this the admin listener of fanfare?",
		"302 x":  "answered 302 Found",
		`401 {"error":"this needs the publish token"}`: "this needs the publish token (set it by --token or FANFARE_PUBLISH_TOKEN)",
		"200 <html>": "is not that of a publish API",
	} {
		status, body, _ := strings.Cut(answer, " ")
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			var code int
			_, _ = fmt.Sscan(status, &code)
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		}))
		err := Run(t.Context(), defaults(Options{Key: "k", Data: "x", HasData: true, Server: srv.URL}), nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", answer, err, want)
		}
		err = Run(t.Context(), defaults(Options{Key: "k", Lines: true, Server: srv.URL}), strings.NewReader("x\ny\n"), io.Discard, io.Discard)
		if err == nil {
			t.Errorf("%s: lines are taken for published", answer)
		}
		srv.Close()
	}
}

// FuzzLines: whatever the input and however it is cut, each line comes as bytes.Split has it.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\r\nb\n\nc"), 3)
	f.Add([]byte("\r\n\r"), 1)
	f.Fuzz(func(t *testing.T, in []byte, most int) {
		most = min(max(most, 1), 1000)
		var want []string
		if parts := bytes.Split(in, []byte("\n")); len(in) > 0 {
			if len(parts[len(parts)-1]) == 0 {
				parts = parts[:len(parts)-1]
			}
			for _, p := range parts {
				p = bytes.TrimSuffix(p, []byte("\r"))
				if len(p) > most {
					p = []byte("too long")
				}
				want = append(want, string(p))
			}
		}
		var got []string
		for l := newLines(iotestOneByte{bytes.NewReader(in)}, most); ; {
			text, err := l.next()
			if errors.Is(err, errTooLong) {
				text = []byte("too long")
			} else if err != nil {
				break
			}
			got = append(got, string(text))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q up to %d: %q, want %q", in, most, got, want)
		}
	})
}

// iotestOneByte gives one byte at a time.
type iotestOneByte struct{ r io.Reader }

func (o iotestOneByte) Read(b []byte) (int, error) { return o.r.Read(b[:min(1, len(b))]) }
