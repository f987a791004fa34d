package main_test

import (
	"net"
	"net/url"
	"os/exec"
	"testing"
)

// TestHealthcheckAddresses: whatever an admin listener can be given, the check finds it, as the server binds it.
func TestHealthcheckAddresses(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "127.0.0.9:0", "[::1]:0", "[::ffff:127.0.0.1]:0", "localhost:0", "0.0.0.0:0", "[::]:0", ":0"} {
		t.Run(address, func(t *testing.T) {
			args := []string{"--admin", address}
			if host, _, _ := net.SplitHostPort(address); host == "" || host == "0.0.0.0" || host == "::" {
				args = append(args, "--publish-token", "open-sesame-1234")
			}
			s := start(t, args...)
			u, err := url.Parse(s.Admin)
			if err != nil {
				t.Fatal(err)
			}
			host, _, _ := net.SplitHostPort(address)
			args[1] = net.JoinHostPort(host, u.Port())
			out, err := exec.Command(binary, append([]string{"healthcheck"}, args...)...).CombinedOutput()
			if err != nil || string(out) != "ok\n" {
				t.Errorf("%s: %v: %s", args[1], err, out)
			}
		})
	}
}
