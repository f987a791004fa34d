package docs_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// startFront is the proxy with TLS that the recipes need: it passes each host to an address. It returns its own address.
func startFront(t *testing.T, hosts map[string]http.Handler) string {
	t.Helper()
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := hosts[r.Host]; h != nil {
			h.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	front.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	front.StartTLS()
	t.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
	})
	return front.Listener.Addr().String()
}

// passTo passes requests on to an address, at once and with the Host of the browser.
func passTo(addr string) http.Handler {
	return &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: addr})
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
	}
}

// site answers with a page.
func site(page string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(page))
	})
}

// browser is a Chromium for which every https address of example.com is the front's.
type browser struct {
	t   *testing.T
	ctx context.Context
}

func startBrowser(t *testing.T, front string) browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed: scripts/test.sh installs what the tests need")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("host-resolver-rules", "MAP *.example.com:443 "+front),
		chromedp.WSURLReadTimeout(2*eventually.Patience),
	)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, _ = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		end, done := context.WithTimeout(ctx, 10*time.Second)
		defer done()
		_ = chromedp.Cancel(end)
	})
	// The browser lives as long as the context of its first action.
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("the browser does not start: %v", err)
	}
	return browser{t, ctx}
}

func (b browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	for _, a := range actions {
		ctx, cancel := context.WithTimeout(b.ctx, eventually.Patience)
		err := chromedp.Do(ctx, a)
		cancel()
		if err != nil {
			b.t.Fatalf("the browser: %v", err)
		}
	}
}

// await waits until a script is true.
func (b browser) await(what, condition string) {
	b.t.Helper()
	eventually.Holds(b.t, what, func() (bool, string) {
		ctx, cancel := context.WithTimeout(b.ctx, eventually.Patience)
		defer cancel()
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](condition))
		if err != nil { // the page is just being replaced
			return false, err.Error()
		}
		body, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("location + '\\n' + document.body.innerText"))
		return ok, body
	})
}

// ask sends a request to the publish API of the recipe's own server, with its token if it has one. Any status but 200 fails the test.
func ask(t *testing.T, k *kitchen, method, target, text string) (answer struct{ Count int }) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+k.addr("8081")+target, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/plain")
	for _, v := range k.env {
		if token, ok := strings.CutPrefix(v, "FANFARE_PUBLISH_TOKEN="); ok {
			req.Header.Set("Authorization", "Bearer "+token)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", target, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// publish publishes a text to the key.
func publish(t *testing.T, k *kitchen, key, text string) {
	t.Helper()
	ask(t, k, http.MethodPost, "/publish?key="+url.QueryEscape(key), text)
}

func awaitSubscribers(t *testing.T, k *kitchen, key string, n int) {
	t.Helper()
	eventually.Equal(t, "subscribers of "+key, n, func() int {
		return ask(t, k, http.MethodGet, "/count?key="+url.QueryEscape(key), "").Count
	})
}

// checkCookieSession opens the page of the recipe in a browser. A page of a sibling domain, for which the browser sends the cookie,
// too, must not read the stream. Logging out must end it.
func checkCookieSession(t *testing.T, k *kitchen) {
	const spy = `<!doctype html><title>connecting</title><script>
const events = new EventSource('https://live.example.com/stream?connectKey=user.42.mail', { withCredentials: true });
events.onopen = () => document.title = 'open';
events.onerror = () => document.title = events.readyState === EventSource.CLOSED ? 'refused' : 'lost';
</script>`
	cookies := make(chan string, 100)
	fanfare := passTo(k.addr("8080"))
	front := startFront(t, map[string]http.Handler{
		"app.example.com": passTo(k.addr("3000")), "blog.example.com": site(spy),
		"live.example.com": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			cookies <- r.Header.Get("Cookie")
			fanfare.ServeHTTP(w, r)
		}),
	})
	awaitSubscribers(t, k, "user.42.mail", 0) // those of the recipe's commands have left
	b := startBrowser(t, front)
	b.do(chromedp.Navigate("https://app.example.com/"))
	b.await("the login", "location.pathname === '/login'")
	b.do(chromedp.SendKeys("input", "42", chromedp.NodeVisible), chromedp.Click("button", chromedp.NodeVisible))
	awaitSubscribers(t, k, "user.42.mail", 1)
	publish(t, k, "user.42.mail", "hello")
	b.await("the event", "document.getElementById('mail')?.innerText === 'hello'")
	if <-cookies == "" {
		t.Error("the page's stream was opened without the cookie")
	}

	b.do(chromedp.Navigate("https://blog.example.com/"))
	b.await("the spy is refused", "document.title === 'refused'")
	if <-cookies == "" {
		t.Error("the browser did not send the cookie for the spy: this proves nothing")
	}

	b.do(chromedp.Navigate("https://app.example.com/"))
	awaitSubscribers(t, k, "user.42.mail", 1)
	b.do(chromedp.Evaluate[chromedp.Void]("window.other = window.open('/'), undefined"))
	awaitSubscribers(t, k, "user.42.mail", 2)
	b.do(chromedp.Click("button", chromedp.NodeVisible)) // log out
	b.await("the login", "location.pathname === '/login'")
	awaitSubscribers(t, k, "user.42.mail", 0)
}

// checkTokens opens the page of the recipe in a browser, with tokens that expire after seconds. The page must get new ones, and show
// each event once.
func checkTokens(t *testing.T, k *kitchen) {
	app := strings.Replace(k.files["app.mjs"], "ttl: '15m'", "ttl: '3s'", 1)
	if app == k.files["app.mjs"] {
		t.Fatal("app.mjs does not ask for tokens of 15 minutes")
	}
	k.ports["3000"] = proctest.Port(proctest.FreeAddr(t))
	k.write(map[string]string{"app.mjs": app})
	k.start("node app.mjs")
	var tokens atomic.Int32
	pages := passTo(k.addr("3000"))
	front := startFront(t, map[string]http.Handler{
		"live.example.com": passTo(k.addr("8080")),
		"app.example.com": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/live-token" && tokens.Add(1) == 1 {
				w.WriteHeader(http.StatusServiceUnavailable) // the page must try again
				return
			}
			pages.ServeHTTP(w, r)
		}),
	})
	awaitSubscribers(t, k, "user.42.mail", 0)
	b := startBrowser(t, front)
	b.do(chromedp.Navigate("https://app.example.com/"))
	awaitSubscribers(t, k, "user.42.mail", 1)
	var published []string
	eventually.True(t, "the page asks for four tokens", func() bool {
		published = append(published, strconv.Itoa(len(published)))
		publish(t, k, "user.42.mail", published[len(published)-1])
		time.Sleep(20 * time.Millisecond)
		return tokens.Load() >= 4
	})
	b.await("each event once", fmt.Sprintf("document.getElementById('mail').innerText === %q", strings.Join(published, "\n")))
}
