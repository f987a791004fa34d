package transport

import (
	"fmt"
	"strings"
	"testing"

	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// TestRefusalsAreLogged: each refusal has a line that says what, where and what to do, without a credential and without the
// query; a flood of one kind has one.
func TestRefusalsAreLogged(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{
		Options: Options{PublishToken: "s3cret-token-of-the-test", MaxEventBytes: 100, MaxKeyBytes: 20},
		Engine:  engine.Options{Key: engine.KeyOptions{MaxSubscribers: 1}},
	})
	first := r.stream("connectKey=k")
	defer first.Close()
	r.waitCount("k", 1)
	auth := "Authorization: Bearer s3cret-token-of-the-test"
	for _, c := range []struct {
		name string
		do   func()
		want []string
	}{
		{"a stream over maxClients", func() { r.stream("connectKey=k").Rest() }, []string{"listener=streams", "maxClients", "overLimit"}},
		{"a key that is too long", func() { w := r.dial(); w.Send(r.get("connectKey=" + strings.Repeat("q", 30))); w.ReadHead(); w.Rest() }, []string{"status=400", "maxKeyBytes"}},
		{"no such path", func() {
			w := r.dial()
			w.Send(wiretest.Request("GET", "/stream/x?password=hunter2"))
			w.ReadHead()
			w.Close()
		}, []string{"status=404", "path=/stream/x"}},
		{"no method", func() { w := r.dial(); w.Send(wiretest.Request("PUT", r.path)); w.ReadHead(); w.Close() }, []string{"status=405", "method=PUT"}},
		{"no token", func() { r.call("POST", "/publish?key=k", "x", "Authorization: Bearer wrong-t0ken") }, []string{"listener=admin", "status=401", "publish token"}},
		{"a bad body", func() { r.call("POST", "/publish?key=k", "[", auth, "Content-Type: application/json") }, []string{"status=400", "body"}},
		{"a large event", func() { r.call("POST", "/publish?key=k", strings.Repeat("x", 200), auth, "Content-Type: text/plain") }, []string{"status=413", "maxEventBytes"}},
		{"another type", func() { r.call("POST", "/publish?key=k", "x", auth, "Content-Type: image/png") }, []string{"status=415", "image/png"}},
		{"lines of a batch", func() { r.call("POST", "/batch", `{"key":"k","data":"x"}`+"\n"+`{"op":"x"}`+"\n[", auth) }, []string{"path=/batch", "lines refused: 2", "line 2: op: "}},
		{"a parameter", func() { r.call("POST", "/publish?ky=k", "x", auth, "Content-Type: text/plain") }, []string{"status=400", "ky"}},
	} {
		before := len(r.log.String())
		c.do()
		eventually.True(t, "the log tells of "+c.name, func() bool { return strings.Contains(r.log.String()[before:], "a request was refused") })
		line := r.log.String()[before:]
		for _, want := range c.want {
			if !strings.Contains(line, want) {
				t.Errorf("%s: %q is not in %s", c.name, want, line)
			}
		}
	}
	before := len(r.log.String())
	r.stream("key=zz").Close()
	eventually.True(t, "the log tells of the parameter", func() bool { return strings.Contains(r.log.String()[before:], "parameter=key") })
	before = len(r.log.String())
	for i := range 200 { // the name of the parameter is the client's
		w := r.dial()
		w.Send(r.get(fmt.Sprint("p", i, "=x")))
		w.ReadHead()
		w.Close()
	}
	if n := strings.Count(r.log.String()[before:], "not understood"); n > 100 {
		t.Errorf("%d lines for 200 parameters", n)
	}
	before = len(r.log.String())
	for range 200 {
		r.call("POST", "/publish?key=k", "x", "Authorization: Bearer wrong-t0ken")
	}
	if n := strings.Count(r.log.String()[before:], "a request was refused"); n > 100 {
		t.Errorf("%d lines for 200 refusals", n)
	}
	for _, secret := range []string{"s3cret", "t0ken", "hunter2"} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}
