package main_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// firefox is a headless Firefox with one tab, driven by its Marionette protocol: messages are JSON arrays behind their length
// (https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html).
type firefox struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
	id   int
}

// openFirefox starts a Firefox with a profile of its own and loads a page.
func openFirefox(t testing.TB, url string) *firefox {
	t.Helper()
	home := t.TempDir()
	profile := filepath.Join(home, "profile")
	const prefs = `user_pref("marionette.port", 0);
user_pref("network.proxy.type", 0);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "http://127.0.0.1:9/");
user_pref("extensions.getAddons.cache.enabled", false);
user_pref("browser.safebrowsing.downloads.remote.enabled", false);
user_pref("browser.startup.page", 0);
user_pref("browser.newtabpage.enabled", false);
user_pref("dom.ipc.processPrelaunch.enabled", false);
user_pref("dom.ipc.processCount", 1);
user_pref("dom.ipc.processCount.webIsolated", 1);
`
	if err := errors.Join(os.Mkdir(profile, 0o700), os.WriteFile(filepath.Join(profile, "user.js"), []byte(prefs), 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(proctest.Tool(t, "firefox-esr"), "--headless", "--no-remote", "--marionette", "--profile", profile)
	cmd.Env = proctest.Environment("HOME="+home, "MOZ_CRASHREPORTER_DISABLE=1")
	port := 0
	proctest.Start(t, cmd).Await("Firefox is up", func() error {
		text, err := os.ReadFile(filepath.Join(profile, "MarionetteActivePort"))
		if err == nil {
			port, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err
	})
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	f := &firefox{t: t, conn: conn, in: bufio.NewReader(conn)}
	if _, err := f.read(); err != nil { // its greeting
		t.Fatal(err)
	}
	f.call("WebDriver:NewSession", map[string]any{"acceptInsecureCerts": true}, nil)
	f.call("WebDriver:Navigate", map[string]any{"url": url}, nil)
	return f
}

// read reads a message: its length in decimal, a colon, and JSON.
func (f *firefox) read() ([]byte, error) {
	_ = f.conn.SetDeadline(time.Now().Add(eventually.Patience))
	length, err := f.in.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil {
		return nil, err
	}
	text := make([]byte, n)
	_, err = io.ReadFull(f.in, text)
	return text, err
}

// send sends a command and returns its result.
func (f *firefox) send(command string, params any) json.RawMessage {
	f.t.Helper()
	f.id++
	message, err := json.Marshal([]any{0, f.id, command, params})
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(f.conn, "%d:%s", len(message), message); err != nil {
		f.t.Fatalf("Firefox: %v", err)
	}
	text, err := f.read()
	if err != nil {
		f.t.Fatalf("Firefox: %s: %v", command, err)
	}
	var answer [4]json.RawMessage // 1, id, error, result
	if err := json.Unmarshal(text, &answer); err != nil {
		f.t.Fatalf("Firefox: %s: %v", text, err)
	}
	if string(answer[2]) != "null" {
		f.t.Fatalf("Firefox: %s: %s", command, answer[2])
	}
	return answer[3]
}

// call sends a command and decodes the value in its result, unless value is nil.
func (f *firefox) call(command string, params, value any) {
	f.t.Helper()
	result := f.send(command, params)
	if value == nil {
		return
	}
	var wrapped struct{ Value json.RawMessage }
	err := json.Unmarshal(result, &wrapped)
	if err == nil {
		err = json.Unmarshal(wrapped.Value, value)
	}
	if err != nil {
		f.t.Fatalf("Firefox: %s: %v", result, err)
	}
}

// newTab opens a tab and makes it the current one.
func (f *firefox) newTab() (handle string) {
	f.t.Helper()
	var opened struct{ Handle string }
	if err := json.Unmarshal(f.send("WebDriver:NewWindow", map[string]any{"type": "tab"}), &opened); err != nil {
		f.t.Fatal(err)
	}
	f.switchTo(opened.Handle)
	return opened.Handle
}

func (f *firefox) switchTo(handle string) {
	f.t.Helper()
	f.call("WebDriver:SwitchToWindow", map[string]any{"handle": handle}, nil)
}

// run evaluates a script in the page and decodes its value.
func (f *firefox) run(script string, result any) {
	f.t.Helper()
	f.call("WebDriver:ExecuteScript", map[string]any{"script": "return (" + script + ")", "args": []any{}, "sandbox": nil}, result)
}
