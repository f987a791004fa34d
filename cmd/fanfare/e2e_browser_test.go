package main_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"fanfare/internal/test/eventually"
)

// chromium is the one headless browser of all tests, started by the first that needs it.
var chromium struct {
	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
	err    error
}

// foreignHost is a name that this browser alone resolves, to loopback: it stands for any name that isn't loopback's.
const foreignHost = "fanfare.example"

func startBrowser() {
	path, err := exec.LookPath("chromium")
	if err != nil {
		chromium.err = fmt.Errorf("chromium is not installed: scripts/test.sh installs what the tests need")
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), // with a fresh temporary profile, which chromedp removes
		chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("no-proxy-server", true), chromedp.Flag("ignore-certificate-errors", true), chromedp.Flag("lang", "en"),
		chromedp.Flag("host-resolver-rules", "MAP "+foreignHost+" 127.0.0.1"),
		chromedp.WindowSize(1280, 900), chromedp.WSURLReadTimeout(2*eventually.Patience),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	chromium.cancel = cancel
	chromium.ctx, _ = chromedp.NewContext(ctx)
	chromium.err = chromedp.Do(chromium.ctx, chromedp.Navigate("about:blank"))
}

func closeBrowser() {
	if chromium.cancel == nil {
		return
	}
	if chromium.err == nil {
		ctx, cancel := context.WithTimeout(chromium.ctx, eventually.Patience)
		_ = chromedp.Cancel(ctx) // waits for its end
		cancel()
	}
	chromium.cancel()
}

// tab is a page.
type tab struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	problems []string // exceptions, and what the page's policy has blocked
	wanted   string   // a problem with this text in it is wanted, and only counted
	met      int      // how many such problems there were
}

// open loads a page in a browser of its own: nothing is shared with other tabs. A script error in it, or a violation of its
// policy, fails the test.
func open(t testing.TB, url string) *tab {
	t.Helper()
	chromium.once.Do(startBrowser)
	if chromium.err != nil {
		t.Fatalf("the browser does not start: %v", chromium.err)
	}
	return openIn(t, chromium.ctx, url, chromedp.WithNewBrowserContext())
}

// beside loads a page in another tab of the same browser.
func (tb *tab) beside(url string) *tab {
	tb.t.Helper()
	return openIn(tb.t, tb.ctx, url)
}

func openIn(t testing.TB, parent context.Context, url string, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	tb := &tab{t: t, ctx: ctx}
	t.Cleanup(func() {
		if t.Failed() {
			body, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
			t.Logf("the page shows:\n%s", body)
		}
		cancel()
		tb.mu.Lock()
		defer tb.mu.Unlock()
		for _, p := range tb.problems {
			t.Errorf("in the page: %s", p)
		}
	})
	if err := chromedp.Listen(ctx, tb.observe); err != nil {
		t.Fatal(err)
	}
	tb.do(chromedp.Navigate(url))
	return tb
}

func (tb *tab) observe(ev any) {
	var problem string
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		problem = ev.ExceptionDetails.Text
		if e := ev.ExceptionDetails.Exception; e != nil {
			problem += " " + e.Description
		}
	case *log.EventEntryAdded:
		if strings.Contains(ev.Entry.Text, "Content Security Policy") {
			problem = ev.Entry.Text
		}
	}
	if problem == "" {
		return
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if tb.wanted != "" && strings.Contains(problem, tb.wanted) {
		tb.met++
		return
	}
	tb.problems = append(tb.problems, problem)
}

// do performs actions, each within eventually.Patience.
func (tb *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	for _, a := range actions {
		ctx, cancel := context.WithTimeout(tb.ctx, eventually.Patience)
		err := chromedp.Do(ctx, a)
		cancel()
		if err != nil {
			tb.t.Fatalf("the browser: %v", err)
		}
	}
}

// eval returns the value of a script in the page; it waits for a promise.
func eval[T any](tb *tab, script string) T {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, eventually.Patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		tb.t.Fatalf("%s: %v", script, err)
	}
	return v
}

// await polls a script until it is true. state is a script for the message.
func (tb *tab) await(condition, state string) {
	tb.t.Helper()
	eventually.Holds(tb.t, condition, func() (bool, string) {
		if eval[bool](tb, condition) {
			return true, ""
		}
		return false, eval[string](tb, "String("+state+")")
	})
}

// text is the text of the element with this id.
func (tb *tab) text(id string) string {
	tb.t.Helper()
	return eval[string](tb, fmt.Sprintf("document.getElementById(%q).textContent", id))
}

// awaitText waits until the element with this id has a text.
func (tb *tab) awaitText(id, want string) {
	tb.t.Helper()
	element := fmt.Sprintf("document.getElementById(%q).textContent", id)
	tb.await(fmt.Sprintf("%s === %q", element, want), element)
}

// awaitPart waits until the element with this id is shown and has a text in it.
func (tb *tab) awaitPart(id, want string) {
	tb.t.Helper()
	element := fmt.Sprintf("document.getElementById(%q).innerText", id)
	tb.await(fmt.Sprintf("%s.includes(%q)", element, want), element)
}

// fill types a text, key by key, in place of what is in a field.
func (tb *tab) fill(id, text string) {
	tb.t.Helper()
	eval[bool](tb, fmt.Sprintf("document.getElementById(%q).value = '', true", id))
	tb.do(chromedp.SendKeys("#"+id, text, chromedp.NodeVisible))
}

// click clicks, where a user could.
func (tb *tab) click(id string) {
	tb.t.Helper()
	tb.do(chromedp.Click("#"+id, chromedp.NodeVisible, chromedp.NodeEnabled))
}

// viewport makes the window as large as this, in a light or a dark scheme.
func (tb *tab) viewport(width, height int64, scheme string) {
	tb.t.Helper()
	tb.do(chromedp.EmulateViewport(width, height), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

// screenshot takes pictures if FANFARE_SCREENSHOT names a PNG file: that one in light, others beside it in dark and of
// a phone.
func (tb *tab) screenshot() {
	file := os.Getenv("FANFARE_SCREENSHOT")
	if file == "" {
		return
	}
	tb.t.Helper()
	for _, shot := range []struct {
		suffix, scheme string
		width          int64
	}{{"", "light", 1280}, {"-dark", "dark", 1280}, {"-phone", "light", 390}, {"-phone-dark", "dark", 390}} {
		tb.viewport(shot.width, 844, shot.scheme)
		ctx, cancel := context.WithTimeout(tb.ctx, eventually.Patience)
		png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		cancel()
		if err == nil {
			err = os.WriteFile(strings.TrimSuffix(file, filepath.Ext(file))+shot.suffix+".png", png, 0o644)
		}
		if err != nil {
			tb.t.Fatal(err)
		}
	}
}

// collector is a page of another origin with an EventSource of its own, which notes all that it dispatches.
const collector = `<!doctype html><title>collector</title><script>
"use strict";
const seen = [], opens = [];
let source;
function collect(url, names) {
  source = new EventSource(url);
  source.onopen = () => opens.push(performance.now());
  for (const name of ["message", "gap", ...names])
    source.addEventListener(name, (e) => seen.push({ type: e.type, data: e.data, id: e.lastEventId, origin: e.origin }));
}
</script>`

// seen is an event as the collector's EventSource dispatched it.
type seen struct{ Type, Data, ID, Origin string }

// openCollector opens the collector and connects it to a stream.
func openCollector(t testing.TB, url string, names ...string) *tab {
	t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		http.ServeContent(w, &http.Request{Method: http.MethodGet}, "", time.Time{}, bytes.NewReader([]byte(collector)))
	}))
	t.Cleanup(site.Close)
	tb := open(t, site.URL)
	eval[bool](tb, fmt.Sprintf("collect(%q, [%s]), true", url, quoteAll(names)))
	return tb
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	return strings.Join(quoted, ",")
}

func (tb *tab) awaitSeen(n int) []seen {
	tb.t.Helper()
	tb.await(fmt.Sprintf("seen.length >= %d", n), "seen.length")
	return eval[[]seen](tb, "seen")
}
