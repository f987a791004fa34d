package clients_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// sameOrigin stands for the origin of the stream itself.
const sameOrigin = "same"

// pageServer serves the page that runs a client in a browser, with the libraries, and takes its reports. Each connection
// carries one request, so that a front can tell by the first whom a connection is for.
var pageServer struct {
	once sync.Once
	addr string // host:port

	mu       sync.Mutex
	sessions map[string]*session
}

func startPageServer(t *testing.T) {
	t.Helper()
	pageServer.once.Do(func() {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pageServer.addr = ln.Addr().String()
		pageServer.sessions = make(map[string]*session)
		mux := http.NewServeMux()
		mux.HandleFunc("POST /report/{id}", takeReport)
		mux.Handle("GET /page/", http.StripPrefix("/page/", http.FileServer(http.Dir("browser"))))
		mux.Handle("GET /node_modules/", modules{http.StripPrefix("/node_modules/", http.FileServer(http.Dir(filepath.Join("node", "node_modules"))))})
		s := &http.Server{Handler: mux}
		s.SetKeepAlivesEnabled(false)
		go func() { _ = s.Serve(ln) }()
	})
}

// modules serves modules whose imports leave out the names' ends, as bundlers allow.
type modules struct{ files http.Handler }

func (m modules) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if filepath.Ext(r.URL.Path) == "" {
		r.URL.Path += ".js"
	}
	m.files.ServeHTTP(w, r)
}

func takeReport(w http.ResponseWriter, r *http.Request) {
	line, err := io.ReadAll(r.Body)
	pageServer.mu.Lock()
	s := pageServer.sessions[r.PathValue("id")]
	pageServer.mu.Unlock()
	if err != nil || s == nil {
		http.Error(w, "no such run", http.StatusNotFound)
		return
	}
	if n, err := strconv.Atoi(r.URL.Query().Get("n")); err != nil || n >= s.reports { // not yet reported
		s.reports = n + 1
		s.say(string(line))
	}
	w.WriteHeader(http.StatusNoContent)
}

// page makes the URL of the page for a session.
func page(t *testing.T, s *session, lib string) string {
	t.Helper()
	startPageServer(t)
	pageServer.mu.Lock()
	defer pageServer.mu.Unlock()
	id := strconv.Itoa(len(pageServer.sessions))
	pageServer.sessions[id] = s
	origin := s.target.origin
	if origin == "" {
		origin = "http://" + pageServer.addr
	}
	return origin + "/page/page.html?" + url.Values{
		"lib": {lib}, "url": {s.target.url}, "report": {"/report/" + id},
	}.Encode()
}

// chromium runs a client in a headless Chromium of its own.
func chromium(lib string) func(*testing.T, *session) {
	return func(t *testing.T, s *session) {
		args := []string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server",
			"--disable-quic", "--disable-component-update", "--disable-background-networking", "--disable-sync",
			"--user-data-dir=" + profileDir(t),
		}
		if s.target.trust != nil {
			args = append(args, "--ignore-certificate-errors-spki-list="+s.target.trust.fingerprint)
		}
		start(t, nil, nil, proctest.Tool(t, "chromium"), append(args, page(t, s, lib))...)
	}
}

const firefoxPreferences = `user_pref("network.proxy.type", 0);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "http://127.0.0.1:9/");
user_pref("extensions.getAddons.cache.enabled", false);
user_pref("browser.safebrowsing.downloads.remote.enabled", false);
`

// firefox runs a client in a headless Firefox of its own.
func firefox(lib string) func(*testing.T, *session) {
	return func(t *testing.T, s *session) {
		profile := profileDir(t)
		write(t, filepath.Join(profile, "user.js"), firefoxPreferences)
		if tr := s.target.trust; tr != nil {
			u, err := url.Parse(s.target.url)
			if err != nil {
				t.Fatal(err)
			}
			// A certificate that the user has accepted for this port: host:port:attributes, the digest's OID, the digest.
			write(t, filepath.Join(profile, "cert_override.txt"), fmt.Sprintf("%s:\tOID.2.16.840.1.101.3.4.2.1\t%s\t\n", u.Host, tr.digest))
		}
		start(t, nil, []string{"HOME=" + profile, "MOZ_CRASHREPORTER_DISABLE=1"},
			proctest.Tool(t, "firefox-esr"), "--headless", "--no-remote", "--profile", profile, page(t, s, lib))
	}
}

// profileDir is a folder that is removed when its browser has ended, as far as its last children allow.
func profileDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fanfare-browser-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually.NoError(t, "the browser's profile is removed", func() error { return os.RemoveAll(dir) })
	})
	return dir
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
