package scripts_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// runText runs a script that is given as text, and gives what it logged with console.log, and its exit status.
func runText(t *testing.T, text string, env ...string) (notes []string, all string, status int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script.ts")
	if err := os.WriteFile(path, []byte("import { EventSource, open } from 'k6/x/sse';\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	all, status = runScript(t, k6, path, append([]string{"K6_LOG_FORMAT=json"}, env...)...)
	for line := range strings.Lines(all) {
		var entry struct{ Source, Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Source == "console" {
			notes = append(notes, entry.Msg)
		}
	}
	return notes, all, status
}

func wantNotes(t *testing.T, got []string, all string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the script noted\n%s\nwant\n%s\nof\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), all)
	}
}

// TestOptionsOfK6: what k6's own options say of connections holds for streams. The server tells what it saw.
func TestOptionsOfK6(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "before"})
		cookie := ""
		if c, err := r.Cookie("seen"); err == nil {
			cookie = c.Value
		}
		from, _, _ := net.SplitHostPort(r.RemoteAddr)
		name, _, _ := net.SplitHostPort(r.Host)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: "+strings.Join([]string{
			name, from, r.UserAgent(), tls.VersionName(r.TLS.Version), tls.CipherSuiteName(r.TLS.CipherSuite),
			r.TLS.PeerCertificates[0].Issuer.String(), cookie,
		}, "|")+"\n\n")
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	own := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	keys := filepath.Join(t.TempDir(), "keys")

	notes, all, status := runText(t, `
export const options = {
  hosts: { '*.stream.test': '127.0.0.1:`+port+`' },
  userAgent: 'mine',
  insecureSkipTLSVerify: true,
  tlsVersion: { min: 'tls1.2', max: 'tls1.2' },
  tlsCipherSuites: ['TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384'],
  tlsAuth: [{ cert: __ENV.CERT, key: __ENV.KEY }],
  noCookiesReset: true,
  tags: { of: 'test' },
  iterations: 2,
  thresholds: { 'sse_event{of:test}': ['count==2'], 'sse_active{of:test}': ['value==0'] },
};
export default function () {
  const es = new EventSource('https://a.stream.test:9/', { reconnect: false });
  es.onmessage = (e) => console.log(e.data);
}`,
		"CERT="+string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]})),
		"KEY="+string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})), "SSLKEYLOGFILE="+keys, "K6_LOCAL_IPS=127.0.0.9")
	saw := "a.stream.test|127.0.0.9|mine|TLS 1.2|TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384|O=Acme Co|"
	wantNotes(t, notes, all, saw, saw+"before")
	if status != 0 {
		t.Errorf("exit status %d", status)
	}
	if logged, err := os.ReadFile(keys); err != nil || !strings.Contains(string(logged), "CLIENT_RANDOM") {
		t.Errorf("SSLKEYLOGFILE: %q, %v", logged, err)
	}
}

// TestOptionsThatRefuse: what k6 isn't to do, streams don't do either, and the message says why.
func TestOptionsThatRefuse(t *testing.T) {
	elsewhere := http.RedirectHandler("/elsewhere", http.StatusFound)
	plain, secure := httptest.NewServer(elsewhere), httptest.NewUnstartedServer(elsewhere)
	defer plain.Close()
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	local := strings.Replace(plain.URL, "127.0.0.1", "localhost", 1)
	notes, all, _ := runText(t, `
export const options = { blockHostnames: ['*.blocked.test'], blacklistIPs: ['10.0.0.0/8'], maxRedirects: 0, dns: { policy: 'onlyIPv6' } };
export default function () {
  for (const url of ['http://a.blocked.test/', 'http://10.1.2.3/', __ENV.PLAIN, __ENV.SECURE, __ENV.LOCAL]) {
    open(url, (c) => c.on('error', (e) => console.log(e.message)));
  }
}`, "PLAIN="+plain.URL, "SECURE="+secure.URL, "LOCAL="+local)
	want := []string{
		"hostname (a.blocked.test) is in a blocked pattern (*.blocked.test)", "IP (10.1.2.3) is in a blacklisted range (10.0.0.0/8)",
		"the response is 302 Found, not 200", "certificate signed by unknown authority",
	}
	if len(notes) != len(want)+1 { // localhost has no IPv6 address, or the server isn't there
		t.Fatalf("%q in\n%s", notes, all)
	}
	for i, text := range want {
		if !strings.Contains(notes[i], text) {
			t.Errorf("noted %q, want %q", notes[i], text)
		}
	}
}

// TestWhereStreamsMayBe: setup and teardown may have streams as well, which end with them; what is open when the
// scenario's gracefulStop is over, ends then, and is no failure; and so does what is open at an abort.
func TestWhereStreamsMayBe(t *testing.T) {
	s := startServer(t)
	const stream = `
const url = __ENV.BASE_URL + '/stream?connectKey=place-' + Date.now();
const thresholds = { sse_connect_success: ['rate==1'], 'sse_disconnects{name:s}': ['count==0'], sse_active: ['value==0'] };
`
	t.Run("setup and teardown", func(t *testing.T) {
		notes, all, status := runText(t, stream+`
export const options = { iterations: 1, thresholds };
const openAndClose = (place) => new Promise((resolve) => {
  const es = new EventSource(url, { name: 's' });
  es.onopen = () => {
    console.log(place);
    es.close();
    resolve(place + ' was there');
  };
});
export const setup = () => openAndClose('setup');
export default async (data) => {
  console.log(data);
  await openAndClose('default');
};
export const teardown = () => openAndClose('teardown');`, s.env()...)
		wantNotes(t, notes, all, "setup", "setup was there", "default", "teardown")
		if status != 0 {
			t.Errorf("exit status %d\n%s", status, all)
		}
	})
	t.Run("gracefulStop", func(t *testing.T) {
		notes, all, status := runText(t, stream+`
export const options = {
  thresholds,
  scenarios: {
    blocks: { executor: 'constant-vus', vus: 2, duration: '1s', gracefulStop: '1s', exec: 'blocks' },
    many: { executor: 'ramping-vus', startVUs: 2, stages: [{ duration: '1s', target: 0 }], gracefulRampDown: '0s', gracefulStop: '0s', exec: 'many' },
  },
};
export const blocks = () => {
  open(url, { name: 's' }, (c) => c.on('error', (e) => console.log(e.message)));
};
export function many() {
  for (let i = 0; i < 20; i++) new EventSource(url, { name: 's' }).onerror = (e) => console.log(e.message);
}`, s.env()...)
		wantNotes(t, notes, all)
		if status != 0 {
			t.Errorf("exit status %d\n%s", status, all)
		}
	})
	t.Run("abort", func(t *testing.T) {
		const aborted = 108 // exit status of k6
		notes, all, status := runText(t, stream+`
import exec from 'k6/execution';
export const options = { thresholds, vus: 3, duration: '1m' };
export default function () {
  let n = 0;
  for (let i = 0; i < 20; i++) {
    const es = new EventSource(url, { name: 's' });
    es.onerror = (e) => console.log(e.message);
    es.onopen = () => {
      if (++n === 20) exec.test.abort('seen enough');
    };
  }
}`, s.env()...)
		wantNotes(t, notes, all)
		if status != aborted || !strings.Contains(all, "seen enough") {
			t.Errorf("exit status %d, want %d\n%s", status, aborted, all)
		}
	})
}
