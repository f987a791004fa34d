package docs_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// prepareNginx makes a clone of which only deploy/nginx.conf is needed, with ports and paths of the test's own, and a certificate.
// curl finds live.example.com there.
func prepareNginx(k *kitchen) {
	k.t.Helper()
	http, https := proctest.FreeAddr(k.t), proctest.FreeAddr(k.t)
	cert := certtest.New(k.t, "live.example.com")
	k.ports["443"] = proctest.Port(https)
	k.listens["nginx"] = "443"
	k.paths = []string{"/var/log/nginx/", k.dir + "/"}
	text := read(k.t, "../deploy/nginx.conf")
	for _, edit := range [][2]string{
		{"/run/nginx.pid", k.dir + "/nginx.pid"}, {"/etc/ssl/fanfare/cert.pem", cert.Cert}, {"/etc/ssl/fanfare/key.pem", cert.Key},
		{"listen 80;", "listen " + http + ";"}, {"listen 443 ", "listen " + https + " "},
	} {
		if !strings.Contains(text, edit[0]) {
			k.t.Fatalf("deploy/nginx.conf has no %q any more: the test must follow", edit[0])
		}
		text = strings.ReplaceAll(text, edit[0], edit[1])
	}
	k.write(map[string]string{
		"deploy/nginx.conf": text,
		".curlrc":           fmt.Sprintf("no-buffer\nconnect-to = \"live.example.com:443:%s\"\n", https),
	})
	k.env = append(k.env, "CURL_CA_BUNDLE="+cert.Cert)
}

// checkNginx: no log has a token, also when Fanfare is away; a client that invents addresses does not pass its limit; and without
// trustedProxies it would.
func checkNginx(t *testing.T, k *kitchen) {
	const stream = `curl "https://live.example.com/stream?connectKey=news&token=$token"`
	eventually.True(t, "nginx has logged the stream", func() bool {
		return strings.Contains(read(t, filepath.Join(k.dir, "access.log")), `"GET /stream HTTP/2.0" 200`)
	})

	awaitSubscribers(t, k, "news", 0)
	clients := make([]*proctest.Process, 50)
	for i := range clients {
		clients[i] = proctest.Start(t, k.shell(stream+fmt.Sprintf(" -H 'X-Forwarded-For: 192.0.2.%d'", i)))
	}
	awaitSubscribers(t, k, "news", len(clients))
	over := step{command: stream + " -H 'X-Forwarded-For: 192.0.2.77'", prints: []string{"retry: …"}, endless: true}
	if text := k.run(over); text != "" {
		t.Errorf("one stream more than maxConnectionsPerAddress: %s", text)
	}
	k.write(map[string]string{"fanfare.yaml": strings.Replace(k.files["fanfare.yaml"], "trustedProxies: ", "# ", 1)})
	k.programs["fanfare"].Signal(syscall.SIGHUP)
	eventually.True(t, "without trustedProxies nobody is refused", func() bool { return k.run(over) != "" })
	for _, c := range clients {
		c.Kill()
	}

	k.programs["fanfare"].Kill()
	away := step{command: stream + " -i | grep -i -e allow-origin -e retry", prints: []string{"access-control-allow-origin: https://app.example.com…", "retry: …"}}
	if text := k.run(away); text != "" {
		t.Errorf("while Fanfare is away: %s", text)
	}
	for _, log := range []string{"access.log", "error.log"} {
		if strings.Contains(read(t, filepath.Join(k.dir, log)), "token") {
			t.Errorf("%s has a token", log)
		}
	}
}
