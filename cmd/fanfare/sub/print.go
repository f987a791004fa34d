package sub

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"fanfare/cmd/fanfare/remote"
	"fanfare/codec"
)

// gap is the data of an event that reports what was missed, see docs/protocol.md.
type gap struct {
	Key    string `json:"key"` // "" for null: all keys
	Reason string `json:"reason"`
	Missed *int64 `json:"missed"` // null: unknown
	After  string `json:"after"`
	Next   string `json:"next"`
}

// gapOf reads a gap of the server. ok is false for an application's own event with that name.
func gapOf(m codec.Message) (g gap, ok bool) {
	if string(m.Type) != "gap" || json.Unmarshal(m.Data, &g) != nil {
		return gap{}, false
	}
	switch g.Reason {
	case "epoch", "log":
		return g, g.Next != "" || g.Key == "" // of all keys: its id is where the stream goes on
	case "history", "unknown", "lag":
		return g, g.Next != ""
	case "source": // its place among the ids of the stream may be unknown
		return g, g.Key != ""
	}
	return gap{}, false
}

// The colors of a terminal.
const (
	dim    = "\x1b[2m"
	cyan   = "\x1b[36m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	plain  = "\x1b[0m"
)

// printer prints events to out, and notes about the connection to notes.
type printer struct {
	o         Options
	out       *bufio.Writer
	notes     io.Writer
	outColor  bool
	noteColor bool

	begun        bool // the current stream has had an event
	events, gaps int
	missed       int64
	now          func() time.Time
}

func newPrinter(o Options, out, notes io.Writer) *printer {
	colors := func(w io.Writer) bool {
		return o.Color == "always" || o.Color != "never" && !o.noColor && remote.IsTerminal(w)
	}
	return &printer{o: o, out: bufio.NewWriterSize(out, 64<<10), notes: notes, outColor: colors(out), noteColor: colors(notes), now: time.Now}
}

func (p *printer) flush() error { return p.out.Flush() }

// begin is called at the beginning of each stream.
func (p *printer) begin() { p.begun = false }

// event prints an event or a gap.
func (p *printer) event(m codec.Message) {
	var key string
	key, m.Data = p.unwrap(m.Data)
	if !p.begun && string(m.Type) == "position" && len(m.Data) == 0 {
		return // the server's own event: its id is the position at which the stream begins
	}
	p.begun = true
	g, isGap := gapOf(m)
	if isGap {
		p.gap(g)
	} else {
		p.events++
	}
	switch {
	case p.o.JSON:
		p.json(key, m, g, isGap)
	case isGap:
	case p.o.Raw:
		_, _ = p.out.Write(m.Data) // flush returns the error
		_ = p.out.WriteByte('\n')
	default:
		p.text(key, m)
	}
}

// unwrap takes the key from the first line of the data, where the server was asked to put it. A server that does not support
// envelopes leaves the data unchanged; then the key is "".
func (p *printer) unwrap(data []byte) (key string, rest []byte) {
	if !p.o.enveloped {
		return p.o.onlyKey, data
	}
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	dec := json.NewDecoder(bytes.NewReader(first))
	dec.DisallowUnknownFields()
	var envelope struct {
		Key *string `json:"key"`
	}
	if dec.Decode(&envelope) != nil || envelope.Key == nil {
		return "", data
	}
	return *envelope.Key, rest
}

// json prints a line for a program.
func (p *printer) json(key string, m codec.Message, g gap, isGap bool) {
	if isGap {
		key = g.Key
	}
	line := struct {
		Key   string `json:"key"`
		Event string `json:"event"`
		ID    string `json:"id"`
		Data  string `json:"data"`
		Time  string `json:"time"`
		Gap   *gap   `json:"gap,omitempty"`
	}{key, string(m.Type), string(m.LastEventID), string(m.Data), p.now().Format(time.RFC3339Nano), nil}
	if isGap {
		line.Gap = &g
	}
	enc := json.NewEncoder(p.out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(line) // flush returns the error
}

// text prints a line for a person: the time, the key if there are several, the id, the name unless it is "message", and the
// data. Further lines of the data are indented.
func (p *printer) text(key string, m codec.Message) {
	fmt.Fprintf(p.out, "%s ", paint(p.outColor, dim, p.now().Format("15:04:05.000")))
	if p.o.showKey && key != "" {
		fmt.Fprintf(p.out, "%s ", paint(p.outColor, yellow, clean(key)))
	}
	if len(m.LastEventID) > 0 {
		fmt.Fprintf(p.out, "%s ", paint(p.outColor, dim, clean(string(m.LastEventID))))
	}
	if string(m.Type) != "message" {
		fmt.Fprintf(p.out, "%s ", paint(p.outColor, cyan, "["+clean(string(m.Type))+"]"))
	}
	for i, line := range bytes.Split(m.Data, []byte("\n")) {
		if i > 0 {
			_, _ = p.out.WriteString("\n    ")
		}
		_, _ = p.out.WriteString(clean(string(line)))
	}
	_ = p.out.WriteByte('\n')
}

// clean escapes control characters, so that data cannot move the cursor or set the title of a terminal.
func clean(text string) string {
	if !strings.ContainsFunc(text, unsafeRune) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unsafeRune(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unsafeRune reports whether a terminal would act on r instead of showing it, or show the text after it in another order.
func unsafeRune(r rune) bool {
	return r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
}

func paint(on bool, color, text string) string {
	if !on {
		return text
	}
	return color + text + plain
}

// gap prints what was missed.
func (p *printer) gap(g gap) {
	p.gaps++
	missed := "an unknown number of events"
	if g.Missed != nil {
		p.missed += *g.Missed
		missed = plural(int(*g.Missed), "event")
	}
	why := map[string]string{
		"history": "the server no longer has them",
		"epoch":   "the server was restarted, or the key was created again",
		"unknown": "the server does not know the last id",
		"lag":     "this client was too slow",
		"source":  "the source of the key's events was unavailable, or lost some",
		"log":     "the log of the servers has lost some",
	}[g.Reason]
	of := "all keys"
	if g.Key != "" {
		of = strconv.Quote(g.Key)
	} else if g.Reason == "epoch" {
		why = "the log of the servers has gone back, or was made anew"
	}
	var where []string
	if g.After != "" {
		where = append(where, "after "+clean(g.After))
	}
	if g.Next != "" {
		where = append(where, "continuing at "+clean(g.Next))
	}
	if len(where) > 0 {
		why += " (" + strings.Join(where, ", ") + ")"
	}
	_ = p.flush() // print the events before it first, if both go to a terminal
	p.say(red, "gap: %s of %s missed: %s", missed, of, why)
}

func (p *printer) say(color, format string, args ...any) {
	fmt.Fprintln(p.notes, paint(p.noteColor, color, "-- "+fmt.Sprintf(format, args...)))
}

// note prints what happens in normal operation.
func (p *printer) note(format string, args ...any) {
	if !p.o.Quiet {
		p.say(dim, format, args...)
	}
}

// trouble prints what goes wrong.
func (p *printer) trouble(format string, args ...any) {
	if !p.o.Quiet {
		p.say(yellow, format, args...)
	}
}

func (p *printer) connected(u *url.URL, lastID string, again bool) {
	what, where := "connected", ""
	if again {
		what = "reconnected"
	}
	if lastID != "" {
		where = ", resuming after " + clean(lastID)
	}
	p.note("%s to %s%s", what, remote.Show(u), where)
}

func (p *printer) summary(streams int) {
	if streams == 0 {
		return
	}
	gaps := "no gap"
	if p.gaps > 0 {
		gaps = fmt.Sprintf("%s (%s known to be missed)", plural(p.gaps, "gap"), plural(int(p.missed), "event"))
	}
	p.note("%s, %s, %s", plural(p.events, "event"), gaps, plural(streams, "connection"))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
