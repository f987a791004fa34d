package main

import (
	"fmt"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/cmd/fanfare/config"
)

// healthTimeout bounds the whole check; Docker's HEALTHCHECK and the like ask
// every few seconds.
const healthTimeout = 2 * time.Second

// healthcheck asks the server that runs with this configuration for /healthz:
// on the admin listener, or on the stream listener where that one is off.
func healthcheck(c *config.Config) error {
	setting, addr := "admin", c.Admin
	if addr == config.Off {
		setting, addr = "listen", c.Listen
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s %s: %w", setting, addr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // a name would be refused there without a token
	}
	url := "http://" + net.JoinHostPort(host, port) + "/healthz"
	status, body, err := fasthttp.GetTimeout(nil, url, healthTimeout)
	if err != nil {
		return fmt.Errorf("%s (%s) does not answer: %w", url, setting, err)
	}
	if status != fasthttp.StatusOK {
		return fmt.Errorf("%s (%s) answers %d: %s", url, setting, status, body)
	}
	return nil
}
