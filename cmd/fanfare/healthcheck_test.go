package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fanfare/cmd/fanfare/config"
)

func TestHealthcheck(t *testing.T) {
	status := http.StatusOK
	asked := ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path
		w.WriteHeader(status)
	}))
	defer srv.Close()
	addr := strings.TrimPrefix(srv.URL, "http://")
	_, port, _ := strings.Cut(addr, ":")

	for _, c := range []*config.Config{
		{Listen: ":1", Admin: addr},
		{Listen: ":1", Admin: "0.0.0.0:" + port},
		{Listen: ":" + port, Admin: config.Off},
	} {
		asked = ""
		if err := healthcheck(c); err != nil || asked != "/healthz" {
			t.Errorf("%s, %s: %v, asked %q", c.Listen, c.Admin, err, asked)
		}
	}
	status = http.StatusServiceUnavailable
	if err := healthcheck(&config.Config{Admin: addr}); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("an unwell server: %v", err)
	}
	srv.Close()
	if err := healthcheck(&config.Config{Admin: addr}); err == nil || !strings.Contains(err.Error(), "admin") {
		t.Errorf("no server: %v", err)
	}
}
