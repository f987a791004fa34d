package deploy_test

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"fanfare/internal/test/proctest"
)

const productionFile = "production.yaml"

// TestProductionFileIsValid checks the file as its reader is told to, with and without the secrets, which the file must name.
func TestProductionFileIsValid(t *testing.T) {
	text, err := os.ReadFile(productionFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range productionSecrets() {
		if name, _, _ := strings.Cut(secret, "="); !strings.Contains(string(text), name) {
			t.Errorf("%s does not say that %s is needed", productionFile, name)
		}
	}
	for _, env := range [][]string{nil, productionSecrets()} {
		cmd := exec.Command(binary, "config", "check", "--config", productionFile)
		cmd.Env = proctest.Environment(env...)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "ok") {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestProductionFileIsClosed starts the server with the file: what needs a credential is refused without one, and the built-in page
// is off. A server that has not got its secrets refuses subscribers, too.
func TestProductionFileIsClosed(t *testing.T) {
	for name, env := range map[string][]string{"with secrets": productionSecrets(), "without secrets": nil} {
		t.Run(name, func(t *testing.T) {
			fanfare := (&proctest.Server{T: t, Binary: binary, Args: []string{"--config", productionFile, "--max-connections", "100"}, Env: env}).Start()
			for path, want := range map[string]int{
				proctest.StreamPath("news"): http.StatusUnauthorized, proctest.StreamPath("public.a", "news"): http.StatusUnauthorized,
				proctest.StreamPath("public.a"): http.StatusOK, "/": http.StatusNotFound, "/metrics": http.StatusNotFound, "/publish": http.StatusNotFound,
			} {
				resp, err := http.Get(fanfare.Stream + path)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if resp.StatusCode != want {
					t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
				}
			}
			if env == nil {
				return
			}
			for _, path := range []string{"/publish?key=news", "/publishAll", "/closeAll", "/token", "/disconnect?subject=a"} {
				if status, _ := fanfare.Do(http.MethodPost, path, "application/json", `"x"`); status != http.StatusUnauthorized {
					t.Errorf("POST %s without a token: %d", path, status)
				}
			}
		})
	}
}

// TestFreshServerExposes is the table of docs/threat-model.md: what a server without settings answers, and to whom.
func TestFreshServerExposes(t *testing.T) {
	fanfare := startServer(t)
	for _, c := range []struct {
		method, url, origin string
		status              int
	}{
		{http.MethodGet, fanfare.URL("any key"), "https://elsewhere.example", http.StatusOK},
		{http.MethodGet, fanfare.Stream + "/", "", http.StatusOK},
		{http.MethodGet, fanfare.Stream + "/healthz", "", http.StatusOK},
		{http.MethodGet, fanfare.Stream + "/readyz", "", http.StatusOK},
		{http.MethodGet, fanfare.Stream + "/metrics", "", http.StatusNotFound},
		{http.MethodPost, fanfare.Stream + "/publish?key=a", "", http.StatusNotFound},
		{http.MethodPost, fanfare.Admin + "/publish?key=a", "", http.StatusOK},
		{http.MethodPost, fanfare.Admin + "/publish?key=a", "https://elsewhere.example", http.StatusForbidden},
		{http.MethodPost, fanfare.Admin + "/close?key=a", "", http.StatusOK},
		{http.MethodGet, fanfare.Admin + "/metrics", "", http.StatusOK},
		{http.MethodGet, fanfare.Admin + "/debug/pprof/", "", http.StatusNotFound},
		{http.MethodPost, fanfare.Admin + "/token", "", http.StatusNotFound},
	} {
		req, err := http.NewRequest(c.method, c.url, strings.NewReader(`"x"`))
		if err != nil {
			t.Fatal(err)
		}
		if c.method == http.MethodGet {
			req.Body, req.ContentLength = http.NoBody, 0
		}
		req.Header.Set("Content-Type", "application/json")
		if c.origin != "" {
			req.Header.Set("Origin", c.origin)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s %s, origin %q: %d, want %d", c.method, c.url, c.origin, resp.StatusCode, c.status)
		}
		if c.url == fanfare.URL("any key") && resp.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("a stream's Access-Control-Allow-Origin: %q", resp.Header.Get("Access-Control-Allow-Origin"))
		}
	}
	cmd := fanfare.Command("config", "print")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`listen: ":8080"`, `admin: "127.0.0.1:8081"`} {
		if !strings.Contains(string(out), line) {
			t.Errorf("config print has no %s:\n%.500s", line, out)
		}
	}
}

func productionSecrets() []string {
	return []string{"FANFARE_PUBLISH_TOKEN=" + strings.Repeat("p", 32), "FANFARE_TOKEN_SECRET=" + strings.Repeat("s", 32)}
}
