package main_test

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

// TestNATSDocument runs the example of docs/nats.md, as it stands there but for the port and the client.
func TestNATSDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/nats.md")
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`\n\$ fanfare --nats-url (nats://127\.0\.0\.1:4222) --nats-subjects '([^']+)'\n`).FindStringSubmatch(string(text))
	publishes := regexp.MustCompile(`\n\$ nats pub (\S+) ('[^']+'|\S+) *`).FindAllStringSubmatch(string(text), -1)
	if flags == nil || len(publishes) != 3 {
		t.Fatalf("docs/nats.md has no example: %q %q", flags, publishes)
	}
	broker := (&natstest.Server{T: t}).Start()
	s := start(t, "--nats-url", broker.URL(), "--nats-subjects", flags[2])
	eventually.True(t, "the bridge is connected", func() bool {
		_, metrics := s.Get("/metrics")
		return strings.Contains(metrics, "fanfare_nats_connected 1\n")
	})
	nc, err := natsgo.Connect(broker.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	events := map[string]*wiretest.Events{}
	for _, key := range []string{"news", "prices.eur", "shop/orders"} {
		events[key] = wiretest.Subscribe(t, proctest.Addr(s.Stream), proctest.StreamPath(key))
	}
	for _, p := range publishes {
		if err := nc.Publish(p[1], []byte(strings.Trim(p[2], "'"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][2]string{"news": {"message", "hello"}, "prices.eur": {"price", `{"eur":12}`}, "shop/orders": {"message", "paid"}} {
		if m := events[key].Next(); m.Type != want[0] || m.Data != want[1] {
			t.Errorf("%s: %v, want %v", key, m, want)
		}
	}
	if code := s.Stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
