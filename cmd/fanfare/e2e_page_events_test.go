package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"

	"fanfare/codec"
	"fanfare/internal/test/eventually"
)

// browser is a tab with the built-in page in one of the browsers.
type browser interface {
	// run evaluates an expression in the page and decodes its JSON value into result.
	run(script string, result any)
}

func (tb *tab) run(script string, result any) {
	tb.t.Helper()
	text := eval[string](tb, "JSON.stringify("+script+")")
	if err := json.Unmarshal([]byte(text), result); err != nil {
		tb.t.Fatalf("%s: %v", script, err)
	}
}

// inEachBrowser runs a test of the page in Chromium and in Firefox.
func inEachBrowser(t *testing.T, test func(t *testing.T, open func(url string) browser)) {
	t.Run("chromium", func(t *testing.T) { test(t, func(url string) browser { return open(t, url) }) })
	t.Run("firefox", func(t *testing.T) { test(t, func(url string) browser { return openFirefox(t, url) }) })
}

// shown is a row of the page's list, as it is shown.
type shown struct{ Kind, Key, Name, ID, Text string }

// rowsOf returns the rows that are no notes, the oldest first.
func rowsOf(b browser) (rows []shown) {
	b.run(`[...document.querySelectorAll("#list li:not(.note)")].reverse().map((li) => ({
		kind: li.className, key: li.querySelector(".key")?.textContent ?? "none", name: li.querySelector(".type").textContent,
		id: li.querySelector(".id")?.textContent ?? "", text: li.querySelector("pre, strong").textContent }))`, &rows)
	return rows
}

// awaitRows waits until so many rows are shown.
func awaitRows(t *testing.T, b browser, n int) (rows []shown) {
	t.Helper()
	eventually.Holds(t, fmt.Sprintf("%d rows", n), func() (bool, string) {
		rows = rowsOf(b)
		return len(rows) == n, fmt.Sprint(rows)
	})
	return rows
}

// awaitTextOf waits until the element with this id has this text in it.
func awaitTextOf(t *testing.T, b browser, id, part string) {
	t.Helper()
	eventually.Holds(t, fmt.Sprintf("%s has %q", id, part), func() (bool, string) {
		var text string
		b.run(fmt.Sprintf("document.getElementById(%q).textContent", id), &text)
		return strings.Contains(text, part), text
	})
}

func clickOn(b browser, id string) {
	var done bool
	b.run(fmt.Sprintf("(document.getElementById(%q).click(), true)", id), &done)
}

// enter puts a text into a field as a person does, with the event that tells the page.
func enter(b browser, id, text string) {
	var done bool
	b.run(fmt.Sprintf("((e) => { e.value = %q; e.dispatchEvent(new Event('input')); return true })(document.getElementById(%q))", text, id), &done)
}

// TestPageShowsEveryEvent: whatever their names are, with key, id and data, those of the server's own as what they are.
func TestPageShowsEveryEvent(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, open func(string) browser) {
		s := start(t, "--retry", "50ms")
		b := open(s.Stream + "/?connectKey=orders&connectKey=news")
		awaitTextOf(t, b, "state", "open")
		id := s.Publish("news", `{"event":"greeting","data":"hello"}`).ID
		if rows := awaitRows(t, b, 1); rows[0].Kind != "event" || rows[0].Key != "news" || rows[0].Name != "greeting" || rows[0].Text != "hello" || !strings.Contains(rows[0].ID, id) {
			t.Errorf("%+v, published as %s", rows[0], id)
		}
		for i, name := range []string{"error", "open", "message", "position", "gap", "<b>", "a name of words", "Grüße"} {
			s.Publish("orders", fmt.Sprintf(`{"event":%q,"data":"two\nlines"}`, name))
			rows := awaitRows(t, b, i+2)
			if last := rows[len(rows)-1]; last.Kind != "event" || last.Key != "orders" || last.Name != name || last.Text != "two\nlines" {
				t.Errorf("%s: %+v", name, last)
			}
		}
		s.Publish("orders", `{"data":"{\"key\":\"news\"}\nmine"}`) // looks like an envelope
		if rows := awaitRows(t, b, 10); rows[9].Key != "orders" || rows[9].Text != "{\"key\":\"news\"}\nmine" {
			t.Errorf("%+v", rows[9])
		}
		s.Publish("orders", `{"event":"empty","data":""}`)
		if rows := awaitRows(t, b, 11); rows[10].Key != "orders" || rows[10].Text != "" {
			t.Errorf("%+v", rows[10])
		}
		awaitTextOf(t, b, "events", "11")
		awaitTextOf(t, b, "state", "open")
		awaitTextOf(t, b, "reconnects", "0")
	})
}

// TestPageReadsTheEnvelope: the key of each event comes in front of its data. The stream here is one of fixed bytes, behind the
// real page, so that it has each case: a position, a gap, data that looks like an envelope, an event without more data.
func TestPageReadsTheEnvelope(t *testing.T) {
	const stream = "event: position\ndata:\nid: a-0,b-0\n\n" +
		"event: greeting\ndata: {\"key\":\"b\"}\ndata: hello\nid: a-0,b-1\n\n" +
		"data: {\"key\":\"a,ü\"}\ndata: {\"key\":\"b\"}\ndata: mine\nid: a-1,b-1\n\n" +
		"event: gap\ndata: {\"key\":\"a\"}\ndata: {\"key\":\"a\",\"reason\":\"lag\",\"missed\":2,\"after\":\"x\",\"next\":\"y\"}\n\n" +
		"event: position\ndata: {\"key\":\"\"}\ndata:\n\n"
	inEachBrowser(t, func(t *testing.T, open func(string) browser) {
		s := start(t)
		target, err := url.Parse(s.Stream)
		if err != nil {
			t.Fatal(err)
		}
		asked := make(chan string, 100)
		proxy := httputil.NewSingleHostReverseProxy(target)
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/stream" {
				proxy.ServeHTTP(w, r)
				return
			}
			asked <- r.URL.RawQuery
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, stream)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		t.Cleanup(front.Close)
		t.Cleanup(front.CloseClientConnections)
		b := open(front.URL + "/?connectKey=a&connectKey=b")
		rows := awaitRows(t, b, 4)
		want := []shown{
			{"event", "b", "greeting", "a-0,b-1", "hello"},
			{"event", "a,ü", "message", "a-1,b-1", "{\"key\":\"b\"}\nmine"},
			{"gap", "a", "gap", "a-1,b-1", "Missed 2 events of “a”"},
			{"event", "(no key)", "position", "a-1,b-1", ""},
		}
		if !slices.Equal(rows, want) {
			t.Errorf("got  %+v\nwant %+v", rows, want)
		}
		if query := <-asked; query != "connectKey=a&connectKey=b&envelope=key" {
			t.Errorf("asked for %q", query)
		}
		awaitTextOf(t, b, "events", "3")
		awaitTextOf(t, b, "last", "a-1,b-1")
	})
}

// TestPageResumes: over a connection that was cut nothing is lost and nothing comes twice; over a restart there is a gap, and it
// can be seen.
func TestPageResumes(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, open func(string) browser) {
		s := start(t, "--retry", "50ms")
		b := open(s.Stream + "/?connectKey=k")
		awaitTextOf(t, b, "state", "open")
		for i := range 3 {
			s.Publish("k", fmt.Sprintf("%q", fmt.Sprint(i)))
			awaitTextOf(t, b, "events", fmt.Sprint(i+1))
			s.Post("/closeAll", "", "")
			awaitTextOf(t, b, "reconnects", fmt.Sprint(i+1))
		}
		s.Publish("k", `"3"`)
		for i, r := range awaitRows(t, b, 4) {
			if r.Kind != "event" || r.Text != fmt.Sprint(i) {
				t.Errorf("row %d: %+v", i, r)
			}
		}
		s.Stop(syscall.SIGTERM)
		awaitTextOf(t, b, "state", "reconnecting")
		s.Restart()
		awaitTextOf(t, b, "gaps", "1")
		s.Publish("k", `"4"`)
		rows := awaitRows(t, b, 6)
		if rows[4].Kind != "gap" || rows[4].Key != "k" || !strings.HasPrefix(rows[4].Text, "Missed an unknown number of events of “k”") || rows[5].Text != "4" {
			t.Errorf("%+v", rows)
		}
	})
}

func TestPagePausesAndFilters(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, open func(string) browser) {
		s := start(t, "--history", "4096") // a browser on a busy machine may be slow
		b := open(s.Stream + "/?connectKey=k")
		awaitTextOf(t, b, "state", "open")
		s.Publish("k", `{"event":"tick","data":"Alpha"}`)
		s.Publish("k", `{"event":"gap","data":{"key":"k","reason":"source","missed":null,"after":null,"next":null}}`)
		awaitRows(t, b, 2)

		clickOn(b, "pause")
		s.Publish("k", `{"event":"tock","data":"beta"}`)
		s.Publish("k", `{"event":"tock","data":"gamma"}`)
		awaitTextOf(t, b, "held", "Paused: 2 newer rows.")
		awaitTextOf(t, b, "events", "3") // is counted all the same
		if rows := rowsOf(b); len(rows) != 2 {
			t.Errorf("paused, and %+v", rows)
		}
		clickOn(b, "pause")
		if rows := awaitRows(t, b, 4); rows[3].Text != "gamma" {
			t.Errorf("%+v", rows)
		}

		enter(b, "filter", "ALPHA")
		if rows := awaitRows(t, b, 2); rows[0].Text != "Alpha" || rows[1].Kind != "gap" { // a gap is never hidden
			t.Errorf("%+v", rows)
		}
		s.Publish("k", `{"event":"tick","data":"delta"}`)
		s.Publish("k", `{"event":"tick","data":"alphabet"}`)
		if rows := awaitRows(t, b, 3); rows[2].Text != "alphabet" {
			t.Errorf("%+v", rows)
		}
		enter(b, "filter", "tock") // by name
		awaitRows(t, b, 3)
		enter(b, "filter", "no such text")
		awaitRows(t, b, 1)
		enter(b, "filter", "")
		awaitRows(t, b, 6)

		// What is held while paused is bounded, too.
		clickOn(b, "pause")
		data := make([]string, 3000)
		for i := range data {
			data[i] = fmt.Sprint("flood ", i)
		}
		s.publishBatch("k", data)
		awaitTextOf(t, b, "held", "Paused: 3,000 newer rows. The newest 500 are kept.")
		clickOn(b, "pause")
		if rows := awaitRows(t, b, 500); rows[0].Text != "flood 2500" || rows[499].Text != "flood 2999" {
			t.Errorf("from %+v to %+v", rows[0], rows[499])
		}
		clickOn(b, "clear")
		awaitRows(t, b, 0)
		awaitTextOf(t, b, "empty", "Nothing yet.")
	})
}

// TestPageOnAPhone: the events are on the first screen and before the form that publishes, for the eye and for the keyboard.
func TestPageOnAPhone(t *testing.T) {
	s := start(t)
	tb := open(t, s.Stream+"/?connectKey=k")
	tb.viewport(390, 844, "light")
	tb.awaitText("state", "open")
	for i := range 60 {
		s.Publish("k", fmt.Sprintf("%q", fmt.Sprint(i)))
	}
	awaitRows(t, tb, 60)
	type place struct{ Top, Bottom float64 }
	placeOf := func(selector string) (p place) {
		tb.run(fmt.Sprintf("(({top, bottom}) => ({top, bottom}))(document.querySelector(%q).getBoundingClientRect())", selector), &p)
		return p
	}
	first, form := placeOf("#list li"), placeOf("#publish")
	if first.Bottom > 500 || form.Top < first.Bottom {
		t.Errorf("the newest event is at %v, the form at %v, on a screen 844 high", first, form)
	}
	if form.Top > 2*844 {
		t.Errorf("60 rows push the form down to %v", form)
	}
	if eval[bool](tb, "document.documentElement.scrollWidth > innerWidth") {
		t.Error("the page is wider than the screen")
	}
	var small []string // WCAG 2.2, 2.5.8: 24 pixels
	tb.run(`[...document.querySelectorAll("button, input:not([type=radio])")].filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 24).map((e) => e.id)`, &small)
	if len(small) > 0 {
		t.Errorf("too small for a finger: %v", small)
	}
}

// TestPageIsLabelled: each control has a name for a screen reader, and the tab key comes to each in the order of the page.
func TestPageIsLabelled(t *testing.T) {
	s := start(t)
	tb := open(t, s.Stream+"/?connectKey=k")
	tb.await(`!document.getElementById("fields").disabled`, "where")
	var nameless []string
	tb.run(`[...document.querySelectorAll("button, input, textarea, [role=region], [role=radiogroup]")].filter((e) =>
		!(e.textContent.trim() || e.ariaLabel || e.labels?.length)).map((e) => e.outerHTML)`, &nameless)
	if len(nameless) > 0 {
		t.Errorf("controls without a name: %s", nameless)
	}
	var disorder []string
	tb.run(`(() => {
		const all = [...document.querySelectorAll("button, input:not([type=radio]), textarea, [tabindex]")].filter((e) => e.checkVisibility() && !e.disabled);
		return all.filter((e) => e.tabIndex !== 0).map((e) => e.id);
	})()`, &disorder)
	if len(disorder) > 0 {
		t.Errorf("the tab key does not come to %v in order", disorder)
	}
	if eval[string](tb, `document.getElementById("state").getAttribute("role")`) != "status" {
		t.Error("nobody is told the state")
	}
}

// TestPageParser compares the page's parser with codec.Parser over streams made at random, in chunks that end anywhere: in a
// line end, in a character, in the byte order mark.
func TestPageParser(t *testing.T) {
	s := start(t)
	tb := open(t, s.Stream+"/")
	pieces := []string{"data", "event", "id", "retry", "other", ":", ": ", "::", " ", "\n", "\n", "\n\n", "\r", "\r\n", "\r\n\r\n", "\r\r",
		"a", "1500", "15x", "\x00", "ü", "日本", "👋", "\ufeff", "data: x\n", "data:y\r", "id: 7\n", "id\n", "event: e\n", "retry: 20\n", ":comment\n", "data\n", "data: end\n\n"}
	type event struct{ Type, Data, ID string }
	type result struct {
		Events []event
		Retry  int
		LastID string
	}
	const rounds = 1000
	type round struct{ Chunks [][]int }
	var all []round
	var want []result
	for range rounds {
		var text strings.Builder
		if rand.N(3) == 0 {
			text.WriteString("\ufeff")
		}
		for range rand.N(40) {
			text.WriteString(pieces[rand.N(len(pieces))])
		}
		var w result
		var parser codec.Parser
		parser.MaxBytes = 1 << 20
		err := parser.Feed([]byte(text.String()), func(m codec.Message) {
			w.Events = append(w.Events, event{string(m.Type), string(m.Data), string(m.LastEventID)})
		})
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := parser.Retry(); ok {
			w.Retry = int(d.Milliseconds())
		}
		w.LastID = string(parser.LastEventID())
		var r round
		for rest := []byte(text.String()); len(rest) > 0; {
			n := 1 + rand.N(min(len(rest), 9))
			chunk := make([]int, n)
			for i, b := range rest[:n] {
				chunk[i] = int(b)
			}
			r.Chunks, rest = append(r.Chunks, chunk), rest[n:]
		}
		all, want = append(all, r), append(want, w)
	}
	input, _ := json.Marshal(all)
	var got []result
	tb.run(fmt.Sprintf(`%s.map(({Chunks}) => {
		const out = {Events: [], Retry: 0};
		const p = new Parser("", ({type, data, id}) => out.Events.push({Type: type, Data: data, ID: id}), (ms) => { out.Retry = ms; });
		for (const c of Chunks ?? []) p.feed(new Uint8Array(c));
		return {...out, LastID: p.lastId};
	})`, input), &got)
	for i := range want {
		if len(want[i].Events) == 0 {
			want[i].Events = []event{}
		}
		w, _ := json.Marshal(want[i])
		g, _ := json.Marshal(got[i])
		if string(w) != string(g) {
			text := ""
			for _, c := range all[i].Chunks {
				for _, b := range c {
					text += string([]byte{byte(b)})
				}
				text += "|"
			}
			t.Fatalf("%q:\n page  %s\n codec %s", text, g, w)
		}
	}
}
