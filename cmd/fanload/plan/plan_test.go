package plan_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"bufio"
	"io"

	"fanfare/cmd/fanload/plan"
)

func request(t *testing.T, r plan.Request, v *plan.Vars, more ...*plan.Vars) (*http.Request, string) {
	t.Helper()
	c, err := r.Compile("publish")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.Append(nil, v, more...)
	if err != nil {
		t.Fatal(err)
	}
	q, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(raw))))
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		t.Fatal(err)
	}
	return q, string(body)
}

func TestPresetsRender(t *testing.T) {
	t.Setenv("MERCURE_PUBLISHER_JWT", "token")
	t.Setenv("CENTRIFUGO_HTTP_API_KEY", "secret")
	for _, p := range plan.Presets {
		v := &plan.Vars{Base: p.Base, PublishBase: p.PublishBase, Key: `k"ä& 1`, Payload: `{"seq":7}`, LastEventID: "e-1"}
		if p.Subscribe.URL != "" {
			q, _ := request(t, p.Subscribe, v)
			if q.Header.Get("Last-Event-ID") != "e-1" || q.Header.Get("Accept") != "text/event-stream" {
				t.Errorf("%s: header %v", p.Name, q.Header)
			}
			found := strings.Contains(q.URL.Path, v.Key)
			for _, values := range q.URL.Query() {
				quoted, _ := json.Marshal(v.Key)
				found = found || values[0] == v.Key || strings.Contains(values[0], string(quoted))
			}
			if !found {
				t.Errorf("%s: the key is not in %s", p.Name, q.URL)
			}
		}
		if p.Publish.URL != "" {
			_, body := request(t, p.Publish, v)
			if form, err := url.ParseQuery(body); p.Name == "mercure" && (err != nil || form.Get("data") != v.Payload || form.Get("topic") != v.Key) {
				t.Errorf("%s: body %q", p.Name, body)
			}
			if strings.HasPrefix(body, "{") && !json.Valid([]byte(body)) {
				t.Errorf("%s: body %q", p.Name, body)
			}
			if _, _, _, ok := plan.ParsePayload([]byte(body), "", 0); ok {
				t.Errorf("%s: a payload without run and ts was taken", p.Name)
			}
		}
		if !json.Valid([]byte(p.JSON())) {
			t.Errorf("%s: JSON %s", p.Name, p.JSON())
		}
	}
	if _, err := plan.FindPreset("nothing"); err == nil || !strings.Contains(err.Error(), "mercure") {
		t.Errorf("error %v", err)
	}
}

func TestRequestTemplates(t *testing.T) {
	r := plan.Request{
		Method: "POST", URL: "{{.Base}}/p/{{urlquery .Key}}?n={{.Seq}}&s={{.Subscriber}}#x",
		Headers: []string{"X-Empty: {{.LastEventID}}", "X-At: {{.TS}}", "X: 1"}, Body: `{"d":{{json .Payload}}}` + "\n",
	}
	r.SetHeaders([]string{"x: 2"})
	q, body := request(t, r, &plan.Vars{Base: "http://127.0.0.1:80", Key: "ä b", Seq: 3, TS: 9, Payload: "a"}, &plan.Vars{Payload: "b"})
	if q.RequestURI != "/p/%C3%A4+b?n=3&s=0" || q.Host != "127.0.0.1:80" || q.ContentLength != int64(len(body)) {
		t.Errorf("%s at %s, %d bytes", q.RequestURI, q.Host, q.ContentLength)
	}
	if _, has := q.Header["X-Empty"]; has || q.Header.Get("X-At") != "9" || q.Header.Get("X") != "2" {
		t.Errorf("header %v", q.Header)
	}
	if body != "{\"d\":\"a\"}\n{\"d\":\"b\"}\n" {
		t.Errorf("body %q", body)
	}
}

func TestBadRequests(t *testing.T) {
	good := plan.Request{Method: "GET", URL: "http://127.0.0.1/"}
	for want, change := range map[string]func(*plan.Request){
		"--publish-method":      func(r *plan.Request) { r.Method = "GET /" },
		"function \"nothing\"":  func(r *plan.Request) { r.URL = "{{nothing}}" },
		"--publish-header":      func(r *plan.Request) { r.Headers = []string{"novalue"} },
		"line break":            func(r *plan.Request) { r.Headers = []string{"X: {{.Key}}"} },
		"white space":           func(r *plan.Request) { r.URL = "http://127.0.0.1/a b" },
		"http://host:port/path": func(r *plan.Request) { r.URL = "ftp://127.0.0.1:80/" },
		"UNSET_FANLOAD_TEST":    func(r *plan.Request) { r.Headers = []string{`X: {{env "UNSET_FANLOAD_TEST"}}`} },
		"same host and port":    func(r *plan.Request) { r.URL = "http://127.0.0.{{.Seq}}/" },
	} {
		r := good
		change(&r)
		c, err := r.Compile("publish")
		if err == nil {
			_, err = c.Append(nil, &plan.Vars{Key: "a\r\nb", Seq: 1})
			if want == "same host and port" && err == nil {
				_, err = c.Append(nil, &plan.Vars{Seq: 2})
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestPayload(t *testing.T) {
	for _, size := range []int{0, 64, 65, 200, 4096} {
		b := plan.AppendPayload(nil, "run1", 12, 345, 678_901, size)
		if !json.Valid(b) || size >= 64 && len(b) != size {
			t.Errorf("size %d: %d bytes %s", size, len(b), b)
		}
		text, _ := json.Marshal(string(b))
		for _, wrapped := range []string{
			string(b), `{"channel":"x","pub":{"data":` + string(b) + `,"offset":3}}`, `{"data":` + string(text) + `}`,
		} {
			key, seq, ts, ok := plan.ParsePayload([]byte(wrapped), "run1", size)
			if !ok || key != 12 || seq != 345 || ts != 678_901 {
				t.Errorf("%s: %d %d %d %v", wrapped, key, seq, ts, ok)
			}
		}
		for n := 1; n < len(b); n++ {
			if _, _, _, ok := plan.ParsePayload(b[:n], "run1", size); ok {
				t.Errorf("%s was taken for whole", b[:n])
			}
			key, seq, cut := plan.CutPayload(b[:n], "run1")
			if !cut || seq != 0 && seq != 345 || key != -1 && key != 12 || n > len(`{"seq":345,"ts":6`) && seq != 345 {
				t.Errorf("%s: cut %v, key %d, sequence %d", b[:n], cut, key, seq)
			}
		}
		escaped := text[1 : len(text)-1]
		for _, n := range []int{30, len(escaped) / 2, len(escaped) - 1} {
			if _, _, _, ok := plan.ParsePayload(escaped[:n], "run1", size); ok {
				t.Errorf("%s was taken for whole", escaped[:n])
			}
		}
		if at := bytes.Index(b, []byte("xx")); at >= 0 {
			garbled := bytes.Clone(b)
			garbled[at+1] = '#' // of another event, say
			_, _, _, ok := plan.ParsePayload(garbled, "run1", size)
			if key, seq, cut := plan.CutPayload(garbled, "run1"); ok || !cut || key != 12 || seq != 345 {
				t.Errorf("%s: taken for whole %v, for damaged %v, key %d, sequence %d", garbled, ok, cut, key, seq)
			}
		}
		if _, _, _, ok := plan.ParsePayload(b, "run", size); ok {
			t.Error("another run's payload was taken")
		}
	}
	for _, foreign := range []string{"", "{}", "{seq", "x", `{"seq":1,"ts":2,"run":"s`, `{"seq":x}`, `{"seq":1,"ts":2,"run":"r"}`} {
		if _, _, cut := plan.CutPayload([]byte(foreign), "r"); cut {
			t.Errorf("%q was taken for the beginning of a payload", foreign)
		}
	}
	for _, foreign := range []string{"", "{}", `"seq`, `{"seq":`, `{"seq":0,"ts":1,"run":"r.0"}`, `{"seq":x}`, `{"seq":1,"ts":2,"run":"r"}`} {
		if _, _, _, ok := plan.ParsePayload([]byte(foreign), "r", 0); ok {
			t.Errorf("%q was taken", foreign)
		}
	}
}

func TestStallsAreSpread(t *testing.T) {
	p := plan.Plan{StallPercent: 12.5}
	n, first := 0, 0
	for i := range 1000 {
		if p.Stalls(i) {
			if n++; i < 500 {
				first++
			}
		}
	}
	if n != 125 || first < 60 || first > 65 {
		t.Errorf("%d of 1000, %d of the first 500", n, first)
	}
}

func TestResolveIsLoopbackOnly(t *testing.T) {
	for origin, want := range map[string][2]string{
		"http://127.3.2.1:99": {"127.3.2.1:99"}, "http://[::1]:8": {"[::1]:8"}, "http://127.0.0.1": {"127.0.0.1:80"},
		"https://127.3.2.1": {"127.3.2.1:443", "127.3.2.1"}, "https://[::1]:8": {"[::1]:8", "::1"},
	} {
		if got, certified, err := plan.Resolve("--subscribe", origin, false); err != nil || got != want[0] || certified != want[1] {
			t.Errorf("%s: %s, %q, %v", origin, got, certified, err)
		}
	}
	if _, _, err := plan.Resolve("--subscribe", "https://192.0.2.7", false); err == nil || !strings.Contains(err.Error(), "--allow-remote") {
		t.Errorf("error %v", err)
	}
	if got, _, err := plan.Resolve("--subscribe", "http://192.0.2.7", true); err != nil || got != "192.0.2.7:80" {
		t.Errorf("%s, %v", got, err)
	}
}
