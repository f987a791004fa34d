package main_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

func TestPageSubscribesAndPublishes(t *testing.T) {
	s := start(t)
	tb := open(t, s.Stream+"/")
	if state := tb.text("state"); state != "closed" {
		t.Errorf("the state is %q before a key is given", state)
	}
	tb.awaitPart("toKeyText", "To the default key")
	tb.fill("key", "orders")
	tb.awaitPart("toKeyText", "To this key: orders")
	tb.click("connect")
	tb.awaitText("state", "open")
	if n := tb.text("events"); n != "0" { // open before any event
		t.Errorf("%s events, and none was published", n)
	}
	s.AwaitCount("orders", 1)
	if search := eval[string](tb, "location.search"); search != "?connectKey=orders" {
		t.Errorf("the page's own address does not keep the key: %q", search)
	}

	tb.fill("data", "first")
	tb.click("send")
	tb.awaitText("events", "1")
	tb.awaitPart("published", "to 1 subscriber.")

	tb.fill("data", `{"order":9007199254740993,"items":["tea","cups & saucers","a kettle"],"paid":true,"ref":null}`)
	tb.click("asJSON")
	tb.fill("event", "update")
	tb.click("send")
	tb.awaitText("events", "2")

	tb.fill("data", "two\nlines")
	tb.click("asText")
	tb.fill("event", "news")
	tb.fill("id", "own-1")
	tb.fill("retry", "1500")
	tb.click("send")
	tb.awaitText("events", "3")
	tb.awaitText("last", "own-1")
	if published := tb.text("published"); published != "Published as own-1 to 1 subscriber." {
		t.Errorf("%q", published)
	}

	rows := tb.rows()
	for i, want := range []row{
		{"event", "message", rows[0].ID, "first"},
		{"event", "update", rows[1].ID, "{\n  \"order\": 9007199254740993,\n  \"items\": [\n    \"tea\",\n    \"cups & saucers\",\n    \"a kettle\"\n  ],\n  \"paid\": true,\n  \"ref\": null\n}"},
		{"event", "news", "own-1", "two\nlines"},
	} {
		if rows[i] != want {
			t.Errorf("got %+v, want %+v", rows[i], want)
		}
	}

	tb.click("toAll")
	tb.click("send")
	tb.awaitText("events", "4")
	tb.awaitText("published", "Published to 1 key, 1 subscriber.")

	tb.click("disconnect")
	tb.awaitText("state", "closed")
	s.AwaitCount("orders", 0)
	tb.click("clear")
	tb.awaitPart("empty", "Nothing yet.")
}

func TestPageConnectsToSeveralKeysOfItsAddress(t *testing.T) {
	s := start(t)
	tb := open(t, s.Stream+"/?connectKey=a%26b&connectKey=%C3%BC")
	tb.awaitText("state", "open")
	s.AwaitCount("a&b", 1)
	s.AwaitCount("ü", 1)
	tb.awaitPart("list", "connected to a&b, ü")
	tb.fill("data", "both")
	tb.click("send")
	tb.awaitText("events", "2")
	s.Publish("ü", `"one"`)
	tb.awaitText("events", "3")

	// Enter in the field connects anew.
	tb.fill("key", "c\r")
	s.AwaitCount("c", 1)
	s.AwaitCount("a&b", 0)
}

func TestPageKeepsFiveHundredRows(t *testing.T) {
	s := start(t)
	tb := open(t, s.Stream+"/?connectKey=k")
	tb.awaitText("state", "open")
	data := make([]string, 1000)
	for i := range data {
		data[i] = fmt.Sprint(i)
	}
	s.publishBatch("k", data)
	tb.awaitText("events", "1,000")
	if rows := tb.rows(); len(rows) != 500 || rows[0].Text != "500" || rows[499].Text != "999" {
		t.Errorf("%d rows, from %+v to %+v", len(rows), rows[0], rows[len(rows)-1])
	}
	tb.awaitPart("more", "The newest 500 of 1,001 rows are shown.")
	s.Publish("k", `"`+strings.Repeat("long ", 100_000)+`"`)
	tb.awaitPart("list", "(500,000 characters)")
}

func TestPageShowsHostileEventsAsText(t *testing.T) {
	s := start(t)
	const hostile = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script><svg onload=window.hacked=1>`
	tb := open(t, s.Stream+"/?connectKey="+"%3Cimg%20src%3Dx%20onerror%3Dwindow.hacked%3D1%3E")
	tb.awaitText("state", "open")
	key := `<img src=x onerror=window.hacked=1>`
	quoted := strings.ReplaceAll(hostile, `"`, `\"`)
	s.Publish(key, `{"data":"`+quoted+`"}`)
	s.Publish(key, `{"event":"<b>bold","id":"<i>1</i>","data":{"</pre><script>":"`+quoted+`"}}`)
	s.Publish(key, `{"event":"gap","data":{"key":"`+quoted+`","reason":"<u>why</u>","missed":3,"after":"<i>","next":"<i>"}}`)
	s.Publish(key, `{"event":"gap","data":"<b>no gap of the server's</b>"}`)
	s.Publish(key, `{"event":"gap","data":{"key":"news","reason":"source","missed":null,"after":null,"next":null}}`)
	tb.awaitText("events", "3")
	tb.awaitText("gaps", "2")
	if text := eval[string](tb, `document.querySelector("main").innerText`); !strings.Contains(text, "events was disconnected, or has lost events. Reason: source. After nothing.") {
		t.Errorf("the gap of a source: %s", text)
	}
	rows := tb.rows()
	for i, part := range []string{hostile, `"</pre><script>": "` + quoted, "Missed 3 events of “" + hostile + "”", "<b>no gap"} {
		if len(rows) != 5 || !strings.Contains(rows[i].Text, part) {
			t.Errorf("row %d of %+v has no %s", i, rows, part)
		}
	}
	if rows[1].Type != "<b>bold" || rows[1].ID != "<i>1</i>" {
		t.Errorf("%+v", rows[1])
	}
	if n := eval[int](tb, `document.querySelectorAll("main img, main b b, main i, main u, main script, section svg").length`); n != 0 {
		t.Errorf("%d elements came of event data", n)
	}
	// Publishing what is typed does not put it into the page either.
	tb.fill("event", "<u>")
	tb.fill("retry", "<img src=x onerror=window.hacked=1>")
	tb.click("send")
	tb.awaitPart("refused", "400: retry")
	if eval[bool](tb, `"hacked" in window || document.querySelectorAll("main img, main u").length > 0`) {
		t.Error("event data ran as a script")
	}
	// And were there a bug, the policy stops it.
	if eval[bool](tb, `(() => { try { document.body.innerHTML = "<b>"; return true } catch { return false } })()`) {
		t.Error("the policy lets text become markup")
	}
	tb.mu.Lock()
	tb.wanted = "127.0.0.2:9"
	tb.mu.Unlock()
	if eval[bool](tb, `fetch("http://127.0.0.2:9/").then(() => true, () => false)`) {
		t.Error("the policy lets the page call another server")
	}
	eventually.Holds(t, "the violation is noted", func() (bool, string) {
		tb.mu.Lock()
		defer tb.mu.Unlock()
		return tb.met > 0, fmt.Sprint(tb.problems)
	})
}

func TestPagePolicy(t *testing.T) {
	s := start(t)
	resp, err := http.Get(s.Stream + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || strings.Contains(string(body), "{{config}}") {
		t.Errorf("%v, %.100s", err, body)
	}
	policy := resp.Header.Get("Content-Security-Policy")
	if strings.Contains(policy, "unsafe") || !strings.HasPrefix(policy, "default-src 'none'; ") || !strings.HasSuffix(policy, "; connect-src 'self' "+s.Admin) {
		t.Errorf("the policy is %q", policy)
	}
	for _, external := range []string{"src=\"http", "href=\"http", "@import", "url(http"} {
		if strings.Contains(string(body), external) {
			t.Errorf("the page has an external asset: %s", external)
		}
	}
}

func TestPageShowsARefusedPublish(t *testing.T) {
	s := start(t)
	tb := open(t, s.Stream+"/?connectKey=k")
	tb.awaitText("state", "open")
	invalid := func(id string) bool {
		return eval[bool](tb, fmt.Sprintf("document.getElementById(%q).getAttribute('aria-invalid') === 'true'", id))
	}
	tb.fill("retry", "soon")
	tb.click("send")
	tb.awaitPart("refused", "400: retry")
	if !invalid("retry") || invalid("data") {
		t.Error("the field at fault is not marked")
	}
	tb.fill("retry", "")
	tb.fill("data", `{"a":`)
	tb.click("asJSON")
	tb.click("send")
	tb.awaitPart("refused", "data is not JSON")
	if !invalid("data") || invalid("retry") {
		t.Error("the field at fault is not marked")
	}
	// No way out of the data into the event's other fields.
	tb.fill("data", `1,"id":"x"`)
	tb.click("send")
	tb.awaitPart("refused", "data is not JSON")
	tb.fill("data", `1`)
	tb.click("send")
	tb.awaitText("events", "1")
	if eval[bool](tb, `!document.getElementById("refused").hidden`) {
		t.Error("the error stays after a success")
	}

	s.Stop(syscall.SIGKILL)
	tb.awaitText("state", "reconnecting")
	tb.awaitPart("problem", "The server does not answer.")
	tb.click("send")
	tb.awaitPart("refused", "does not answer: is the server running?")
}

func TestPageSaysWhyAStreamWasRefused(t *testing.T) {
	s := start(t, "--max-key-bytes", "12", "--max-clients", "1", "--over-limit", "503")
	tb := open(t, s.Stream+"/?connectKey=much-too-long")
	tb.awaitPart("problem", "400: connectKey has 13 bytes, more than 12 (maxKeyBytes)")
	tb.awaitText("state", "closed")
	tb.fill("key", "k")
	tb.click("connect")
	tb.awaitText("state", "open")
	open(t, s.Stream+"/?connectKey=k").awaitPart("problem", "503: maxClients")
}

func TestPageAsksForTheToken(t *testing.T) {
	s := startWith(proctest.Server{T: t, Args: []string{"--publish-token", "open-sesame"}, Token: "open-sesame"})
	tb := open(t, s.Stream+"/?connectKey=k")
	tb.awaitText("state", "open")
	tb.await(`!document.getElementById("fields").disabled`, "where")
	if eval[bool](tb, `document.getElementById("tokenField").hidden`) {
		t.Error("no token is asked for where one is needed")
	}
	tb.click("send")
	tb.awaitPart("refused", "401: ")
	tb.fill("token", "wrong")
	tb.click("send")
	tb.awaitPart("refused", "401: ")
	tb.fill("token", "open-sesame\r")
	tb.awaitText("events", "1")
	tb.awaitPart("published", "Published as ")
}

func TestPageSaysHowElseToPublish(t *testing.T) {
	t.Run("another name", func(t *testing.T) {
		s := start(t)
		tb := open(t, strings.Replace(s.Stream, "127.0.0.1", foreignHost, 1)+"/?connectKey=it's")
		tb.awaitText("state", "open")
		tb.awaitPart("why", "The publish API can be reached only on the server’s own machine.")
		if tb.text("curl") != "curl '"+s.Admin+"/publish?key=it%27s' -H 'Content-Type: text/plain' -d hello" {
			t.Error(tb.text("curl"))
		}
		shell(t, nil, tb.text("curl")+" --fail")
		tb.awaitText("events", "1")
		if eval[bool](tb, `document.getElementById("publish").checkVisibility()`) {
			t.Error("the form is shown where it does not work")
		}
	})
	t.Run("with a token", func(t *testing.T) {
		s := startWith(proctest.Server{T: t, Args: []string{"--publish-token", "open-sesame"}, Token: "open-sesame"})
		tb := open(t, strings.Replace(s.Stream, "127.0.0.1", foreignHost, 1)+"/?connectKey=k")
		tb.awaitText("state", "open")
		tb.awaitPart("why", "The publish API can be reached only on the server’s own machine.")
		shell(t, []string{"FANFARE_PUBLISH_TOKEN=open-sesame"}, tb.text("curl")+" --fail")
		tb.awaitText("events", "1")
	})
	t.Run("off", func(t *testing.T) {
		s := start(t, "--admin", "off")
		tb := open(t, s.Stream+"/?connectKey=k")
		tb.awaitText("state", "open")
		tb.awaitPart("why", "The publish API is off")
	})
	t.Run("localhost", func(t *testing.T) {
		s := start(t)
		tb := open(t, strings.Replace(s.Stream, "127.0.0.1", "localhost", 1)+"/?connectKey=k")
		tb.awaitText("state", "open")
		tb.click("send")
		tb.awaitText("events", "1")
	})
	t.Run("IPv6", func(t *testing.T) {
		s := start(t, "--listen", "[::1]:0", "--admin", "[::1]:0")
		tb := open(t, s.Stream+"/?connectKey=k")
		tb.awaitText("state", "open")
		tb.click("send")
		tb.awaitText("events", "1")
	})
}

func TestPageOff(t *testing.T) {
	s := start(t, "--no-page")
	resp, err := http.Get(s.Stream + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusNotFound || !strings.Contains(string(body), "streams are at /stream?connectKey=KEY") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// What the page looks like, for FANFARE_SCREENSHOT.
func TestPagePicture(t *testing.T) {
	s := start(t, "--retry", "50ms", "--history", "8")
	tb := open(t, s.Stream+"/?connectKey=orders")
	tb.awaitText("state", "open")
	s.Publish("orders", `"The kitchen is open."`)
	s.Publish("orders", `{"event":"update","data":{"order":9007199254740993,"state":"paid","items":["tea","cups & saucers"],"table":{"number":7,"guests":4}}}`)
	tb.awaitText("events", "2")
	s.Stop(syscall.SIGTERM)
	s.Restart()
	tb.awaitText("gaps", "1")
	s.Publish("orders", `{"event":"progress","data":{"order":7,"percent":40}}`)
	s.Publish("orders", `"One line,\nand another: naïve, 日本語, 👋🏽"`)
	tb.awaitText("events", "4")
	tb.fill("retry", "soon")
	tb.click("send")
	tb.awaitPart("refused", "400: retry")
	if eval[bool](tb, "document.documentElement.scrollWidth > innerWidth") {
		t.Error("the page is wider than the window")
	}
	tb.screenshot()
}
