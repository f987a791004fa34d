package clients_test

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const pageFile = "../clients.md"

// pageHead is the page up to the tables. pageNotes has a list entry for each client that needs an explanation: the options that it
// needs, and why it does what the tests have seen.
var (
	//go:embed page_head.md
	pageHead string
	//go:embed notes.md
	pageNotes string
)

// notes are the entries of pageNotes by the client's name.
func notes() map[string]string {
	all := make(map[string]string)
	for entry := range strings.SplitSeq(strings.TrimSpace("\n"+pageNotes), "\n- **") {
		entry = "- **" + strings.TrimPrefix(entry, "- **")
		name, _, _ := strings.Cut(strings.TrimPrefix(entry, "- **"), "**")
		all[name] = entry
	}
	return all
}

// meaning is how the page shows a fact: a word or two for the tables, and a sentence for the list below them.
type meaning struct {
	fact, label string
	works       bool // the client does its job nevertheless
	text        string
}

var meanings = []meaning{
	{factGone, "gives up", false, "does not come back, and the page or the program has to open a new stream."},
	{factLost, "loses events", false, "an event that was published never arrives."},
	{factFirst, "loses the first", false, "if the connection breaks before its first event, it comes back without an id and misses what was published meanwhile."},
	{factTwice, "duplicates", false, "an event arrives more than once."},
	{factHalf, "half events", false, "it delivers a part of an event when the connection breaks."},
	{factOrder, "order", false, "events arrive in another order."},
	{factChanged, "changes data", false, "data arrives that nobody published."},
	{factNoGap, "no gap", false, "the application is not informed that something is missing."},
	{factFalseGap, "false gap", false, "it comes back with an id that it never received, and gets a gap although nothing is missing."},
	{factName, "name", false, "the event's name differs from the published one."},
	{factID, "id", false, "the event's id differs from the published one."},
	{factOpen, "no `open`", true, "it does not report the connection before the first event arrives."},
	{factEmpty, "empty messages", true, "it delivers blocks that have no data, such as a `retry:` alone. The standard drops them; here the application has to."},
	{factEarly, "early", true, "it comes back before the time in `retry:` is over: clients that were turned away come back at once."},
	{factEnds, "ends", true, "its reconnection timer does not keep Node.js running: a program that does nothing else ends."},
	{factKeepsOn, "keeps asking", true, "it comes back after a 204."},
}

// TestPage holds the page to results.json, and both to the list of clients.
func TestPage(t *testing.T) {
	if *update {
		t.Skip("it is being written")
	}
	for _, c := range clients {
		for _, column := range columns(c) {
			facts, measured := results.Facts[c.name][column]
			if !measured {
				t.Errorf("%s has not seen %s, %s", resultsFile, c.name, column)
			}
			for _, f := range facts {
				if !slices.ContainsFunc(meanings, func(m meaning) bool { return m.fact == f }) {
					t.Errorf("%s, %s: the page has no sentence for %q", c.name, column, f)
				}
			}
		}
	}
	for name := range results.Facts {
		if !known(name) {
			t.Errorf("%s has %q, which is no client any more", resultsFile, name)
		}
	}
	for name := range notes() {
		if !known(name) {
			t.Errorf("notes.md has %q, which is no client", name)
		}
	}
	want, err := renderPage()
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is not what %s and the list of clients say: go test . -update -run TestPage writes it", pageFile, resultsFile)
	}
}

// known tells whether there is a client of this name.
func known(name string) bool {
	return slices.ContainsFunc(clients, func(c client) bool { return c.name == name })
}

// columns are the names of what a client is tested with.
func columns(c client) (names []string) {
	for _, s := range scenarios {
		if s.skip == nil || !s.skip(c) {
			names = append(names, s.name)
		}
	}
	for _, px := range proxies {
		names = append(names, px.name)
	}
	return names
}

func writePage() error {
	text, err := renderPage()
	if err != nil {
		return err
	}
	return os.WriteFile(pageFile, text, 0o644)
}

func renderPage() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(pageHead)
	var direct, behind []string
	for _, s := range scenarios {
		direct = append(direct, s.name)
	}
	for _, px := range proxies {
		behind = append(behind, px.name)
	}
	versions, err := moduleVersions()
	if err != nil {
		return nil, err
	}
	for _, family := range families {
		fmt.Fprintf(&b, "\n## %s\n\n", family)
		writeTable(&b, family, direct, versions)
		b.WriteString("\nBehind a proxy:\n\n")
		writeTable(&b, family, behind, versions)
		b.WriteString("\n")
		for _, c := range clients {
			if note, ok := notes()[c.name]; c.family == family && ok {
				b.WriteString(note + "\n")
			}
		}
	}
	b.WriteString("\n## What the words mean\n\n")
	for _, m := range meanings {
		if occurs(m.fact) {
			fmt.Fprintf(&b, "- *%s*: %s\n", m.label, m.text)
		}
	}
	return b.Bytes(), nil
}

// occurs tells whether a fact is anywhere in the tables.
func occurs(fact string) bool {
	for _, c := range clients {
		for _, column := range columns(c) {
			if slices.Contains(results.Facts[c.name][column], fact) {
				return true
			}
		}
	}
	return false
}

// writeTable writes a family's clients over the columns that any of them has.
func writeTable(b *bytes.Buffer, family string, names []string, versions map[string]string) {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !slices.ContainsFunc(clients, func(c client) bool { return c.family == family && slices.Contains(columns(c), name) })
	})
	fmt.Fprintf(b, "| | %s |\n|---|%s\n", strings.Join(names, " | "), strings.Repeat("---|", len(names)))
	for _, c := range clients {
		if c.family != family || !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(columns(c), name) }) {
			continue
		}
		fmt.Fprintf(b, "| %s |", title(c, versions))
		for _, name := range names {
			fmt.Fprintf(b, " %s |", cell(c, name))
		}
		b.WriteString("\n")
	}
}

func cell(c client, column string) string {
	facts, measured := results.Facts[c.name][column]
	switch {
	case !slices.Contains(columns(c), column):
		return "–"
	case !measured:
		return "?"
	case len(facts) == 0:
		return "works"
	}
	var labels []string
	works := true
	for _, m := range meanings {
		if slices.Contains(facts, m.fact) {
			labels = append(labels, m.label)
			works = works && m.works
		}
	}
	text := "*" + strings.Join(labels, ", ") + "*"
	if works {
		return "works, " + text
	}
	return text
}

// title is a client's name with its version.
func title(c client, versions map[string]string) string {
	version := versions[c.module]
	if c.tool != "" {
		version = results.Tools[c.tool]
	}
	name, rest, _ := strings.Cut(c.name, ", ")
	first, last, _ := strings.Cut(name, " ")
	if last != "" && strings.HasPrefix(version, last) { // "eventsource 2"
		name = first
	}
	if rest != "" {
		rest = ", " + rest
	}
	return name + " " + version + rest
}

// moduleVersions are the versions of package.json and go.mod.
func moduleVersions() (map[string]string, error) {
	versions := make(map[string]string)
	text, err := os.ReadFile(filepath.Join("node", "package.json"))
	if err != nil {
		return nil, err
	}
	var pkg struct{ Dependencies, OptionalDependencies map[string]string }
	if err := json.Unmarshal(text, &pkg); err != nil {
		return nil, err
	}
	for _, list := range []map[string]string{pkg.Dependencies, pkg.OptionalDependencies} {
		for name, version := range list {
			versions[name] = version[strings.LastIndexByte(version, '@')+1:]
		}
	}
	if text, err = os.ReadFile("go.mod"); err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 2 && strings.HasPrefix(fields[1], "v") {
			version := strings.TrimPrefix(fields[1], "v")
			if pseudo := strings.Split(version, "-"); len(pseudo) == 3 { // a commit without a release
				version = pseudo[1][:4] + "-" + pseudo[1][4:6] + "-" + pseudo[1][6:8]
			}
			versions[fields[0]] = version
		}
	}
	return versions, nil
}
