package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"fanfare/cmd/fanfare/config"
	"fanfare/cmd/fanfare/remote"
)

// healthTimeout bounds the whole check. Docker's HEALTHCHECK and similar tools check every few seconds.
const healthTimeout = 2 * time.Second

// healthcheck requests /healthz from the server that runs with this configuration: on the admin listener, or on the stream
// listener if admin is off or needs a client certificate, which this command does not have.
//
// It does not verify the certificate of the server. That is for the names that clients use, and expired ones are what a health
// check must not end a server for: a restart does not help. The address is one of this machine, and no secret is sent.
func healthcheck(c *config.Config) error {
	setting, addr, scheme := "admin", c.Admin, schemeOf(c.AdminTLS())
	if addr == config.Off || c.AdminClientCA != "" {
		setting, addr, scheme = "listen", c.Listen, schemeOf(c.StreamTLS())
	}
	path, unix := config.SocketPath(addr)
	host, port, err := net.SplitHostPort(addr)
	switch {
	case unix:
		host, port, err = "localhost", "80", nil
	case err != nil:
		return fmt.Errorf("%s %s: %w", setting, addr, err)
	case port == "0":
		return fmt.Errorf("%s %s: the system chose the server's port, which this command cannot know: set a port other than 0", setting, addr)
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		// Use no proxy, and try each address of the listener until one answers.
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var conn net.Conn
			var err error
			if unix {
				conn, err = new(net.Dialer).DialContext(ctx, "unix", path)
			} else {
				conn, err = dialFirst(ctx, network, hosts(host), port)
			}
			if err == nil && setting == "listen" {
				err = sendLocal(conn, c)
			}
			return conn, err
		},
	}}
	// The Host of the request is localhost for every address. Without a token the listener refuses other names.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://localhost/healthz", nil)
	if err != nil {
		return err
	}
	at := (&url.URL{Scheme: scheme, Host: net.JoinHostPort(cmp.Or(host, "localhost"), port), Path: "/healthz"}).String()
	if unix {
		at = addr
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s (%s) did not answer: %s", at, setting, remote.Explain(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("%s (%s) did not answer completely: %w", at, setting, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s (%s) answered %d: %s", at, setting, resp.StatusCode, strings.TrimSpace(string(body)))
	}
	return nil
}

func schemeOf(tls bool) string {
	if tls {
		return "https"
	}
	return "http"
}

// hosts are the addresses by which a listener on host can be reached from its own machine. A wildcard is not a destination.
func hosts(host string) []string {
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "", err == nil && ip.Unmap().IsUnspecified() && ip.Is6():
		return []string{"127.0.0.1", "::1"}
	case err == nil && ip.IsUnspecified():
		return []string{"127.0.0.1"}
	}
	return []string{host} // the dialer tries all addresses of a name, IPv4 and IPv6
}

func dialFirst(ctx context.Context, network string, hosts []string, port string) (conn net.Conn, err error) {
	var dialer net.Dialer
	for _, host := range hosts {
		c, dialErr := dialer.DialContext(ctx, network, net.JoinHostPort(host, port))
		if dialErr == nil {
			return c, nil
		}
		err = errors.Join(err, dialErr)
	}
	return nil, err
}
