package transport

import (
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// TestSilentConnectionsOfAProxy: connections that are waiting for their header are among those without a request, so as many
// as somebody opens through the proxy take no place from streams.
func TestSilentConnectionsOfAProxy(t *testing.T) {
	plainOnly(t)
	const most, silent = 100, 5000
	r := startRig(t, viaFast, proxied(Options{MaxConnections: 10_000, MaxIdleConnections: most}))
	first := r.from(headerV1("192.0.2.1:4711"))
	r.waitCount("k", 1)
	for i := range silent {
		w := r.dial()
		if i%2 == 0 {
			w.Send("PROXY TCP4 192.")
		}
	}
	eventually.Equal(t, "the oldest are closed", silent-most, func() int { return int(r.metric("fanfare_idle_connections_closed_total")) })
	if n := r.metric("fanfare_idle_connections"); n > most {
		t.Errorf("%v are idle", n)
	}
	r.from(headerV2(t, "192.0.2.2:4711", 0))
	r.waitCount("k", 2)
	r.publish("k", "still here")
	e := wiretest.NewEvents(first)
	e.AwaitPosition()
	e.WantData("still here")
}
