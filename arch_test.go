// Package fanfare_test holds the tests of the module as a whole: which package may import which, and how large a file may grow.
package fanfare_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path of the main module; packages below it are its own.
const module = "fanfare"

// testPackages is the folder of what the tests of several packages share. Only tests import it.
const testPackages = "internal/test"

// maxLines bounds a non-test Go file: a file that has one job rarely needs more.
const maxLines = 450

// arrows says what the non-test files of each folder may import besides the standard library and the folder itself: own
// are packages of this module, others those of other modules. Own arrows point one way: commands to transport, transport
// to engine and codec. Everything below a folder goes by its entry.
var arrows = map[string]struct{ own, others []string }{
	"codec":              {others: []string{"github.com/goccy/go-json"}},
	"internal/flagvalue": {others: []string{"github.com/alecthomas/kong"}},
	"internal/ratelog":   {},
	"internal/redisconn": {others: []string{"github.com/redis/rueidis"}},
	"engine":             {others: []string{"github.com/puzpuzpuz/xsync/v3"}},
	"auth": { // knows no HTTP server, no engine and no transport
		own:    []string{"internal/ratelog"},
		others: []string{"github.com/golang-jwt/jwt/v5", "golang.org/x/sync"},
	},
	"auth/pattern":             {},
	"auth/internal/strictjson": {},
	"auth/internal/keys":       {own: []string{"auth/internal/strictjson", "internal/ratelog"}, others: []string{"golang.org/x/sync"}},
	"bridge/payload":           {own: []string{"codec"}, others: []string{"github.com/goccy/go-json"}},
	"bridge/relay":             {own: []string{"codec"}},
	"bridge/session":           {own: []string{"internal/ratelog"}, others: []string{"github.com/prometheus/client_golang"}},
	"bridge/nats": {
		own: []string{"bridge/payload", "bridge/relay", "bridge/session", "engine", "codec"},
		others: []string{
			"github.com/nats-io/nats.go", "github.com/prometheus/client_golang",
		},
	},
	"bridge/schedule": {
		own:    []string{"bridge/payload", "codec"},
		others: []string{"github.com/hashicorp/cronexpr", "github.com/prometheus/client_golang"},
	},
	"cluster": { // knows no broker and no HTTP
		own:    []string{"bridge/payload", "engine", "codec", "internal/ratelog"},
		others: []string{"github.com/prometheus/client_golang"},
	},
	"cluster/nats": { // knows no HTTP, and no server of NATS
		own:    []string{"cluster", "engine", "internal/ratelog"},
		others: []string{"github.com/nats-io/nats.go", "github.com/goccy/go-json", "golang.org/x/sync"},
	},
	"cluster/embedded": { // the only importer of the server
		own:    []string{"cluster", "internal/ratelog"},
		others: []string{"github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go", "golang.org/x/sys"},
	},
	"cluster/redis": {own: []string{"cluster", "internal/ratelog", "internal/redisconn"}, others: []string{"github.com/redis/rueidis"}},
	"transport": { // and its rooms, of which none imports transport itself
		own:    []string{"auth", "cluster", "engine", "codec"},
		others: []string{"github.com/goccy/go-json", "github.com/valyala/fasthttp", "github.com/prometheus/client_golang", "golang.org/x/sys"},
	},
	"transport/internal/stream": {
		own:    []string{"engine", "transport/internal/clientlog", "transport/internal/metrics", "transport/internal/socket"},
		others: []string{"github.com/goccy/go-json"},
	},
	"transport/internal/socket": {others: []string{"golang.org/x/sys"}},
	"transport/internal/api": {
		own:    []string{"auth", "cluster", "engine", "codec", "transport/internal/clientlog", "transport/internal/gate", "transport/internal/metrics"},
		others: []string{"github.com/valyala/fasthttp", "github.com/prometheus/client_golang", "github.com/goccy/go-json", "golang.org/x/time"},
	},
	"transport/internal/gate":      {others: []string{"github.com/valyala/fasthttp", "github.com/pires/go-proxyproto", "golang.org/x/net"}},
	"transport/internal/clientlog": {own: []string{"internal/ratelog"}, others: []string{"github.com/prometheus/client_golang"}},
	"transport/internal/metrics":   {own: []string{"engine"}, others: []string{"github.com/prometheus/client_golang", "github.com/puzpuzpuz/xsync/v3"}},
	"bridge/redis": {
		own: []string{"bridge/payload", "bridge/relay", "bridge/session", "engine", "codec", "internal/redisconn"},
		others: []string{
			"github.com/redis/rueidis", "github.com/prometheus/client_golang", "github.com/goccy/go-json",
		},
	},
	"cmd/fanfare": {
		own: []string{"transport", "auth", "bridge", "cluster", "engine", "codec", "internal/flagvalue", "internal/redisconn"},
		others: []string{
			"github.com/alecthomas/kong", "github.com/goccy/go-yaml", "github.com/fsnotify/fsnotify", "github.com/coreos/go-systemd/v22",
			"github.com/prometheus/client_golang",
		},
	},
	"cmd/fanfare/certs": { // knows no settings and no server
		others: []string{"github.com/caddyserver/certmagic", "go.uber.org/zap", "github.com/prometheus/client_golang"},
	},
	testPackages:               {own: []string{"codec"}},
	"internal/test/memlog":     {own: []string{"cluster"}},
	"internal/test/natstest":   {own: []string{"internal/test"}, others: []string{"github.com/nats-io/nats.go"}},
	"internal/test/bridgetest": {own: []string{"internal/test", "transport", "engine", "codec"}},
	"internal/test/logbench":   {own: []string{"cluster"}},
	"chaos":                    {own: []string{"codec"}}, // knows the server by its wire alone
	"bench/capacity":           {},
	"cmd/fanload": {
		own:    []string{"codec", "internal/flagvalue"},
		others: []string{"github.com/alecthomas/kong", "github.com/HdrHistogram/hdrhistogram-go", "golang.org/x/net", "golang.org/x/sys"},
	},
}

// emptyNames say nothing about what a package or a file is for.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared"}

// source is one Go file of the module. Build constraints are not evaluated: the files of every system count.
type source struct {
	file    string // relative to the module's root, with slashes
	dir     string
	name    string // of the package
	imports []string
	lines   int
}

func (s source) test() bool { return strings.HasSuffix(s.file, "_test.go") }

func TestImportArrows(t *testing.T) {
	for _, s := range sources(t, false) {
		for _, imp := range s.imports {
			if own, ok := ownPackage(imp); ok && within(own, "cmd") && command(s.dir) != command(own) {
				t.Errorf("%s imports %s: nothing imports a command", s.file, imp)
			}
		}
		if s.test() {
			continue // tests may use the packages around them and other people's clients
		}
		rule, at, ok := ruleFor(s.dir)
		if !ok {
			t.Errorf("%s: no rule says what %s may import: add one to arrows, and the arrow to CONTRIBUTING.md", s.file, s.dir)
			continue
		}
		for _, imp := range s.imports {
			if !allowed(imp, at, rule.own, rule.others) {
				t.Errorf("%s imports %s: %s may import the standard library, %v of this module and %v", s.file, imp, at, rule.own, rule.others)
			}
		}
	}
}

// TestOnlyTestsImportTestPackages looks at nested modules, too: a program of theirs must not contain a test package either.
func TestOnlyTestsImportTestPackages(t *testing.T) {
	for _, s := range sources(t, true) {
		for _, imp := range s.imports {
			if importsTestPackage(s, imp) {
				t.Errorf("%s imports %s: only tests import the packages of %s", s.file, imp, testPackages)
			}
		}
	}
}

// importsTestPackage reports whether the import is one that only tests may have, and s is not a test.
func importsTestPackage(s source, imp string) bool {
	own, ok := ownPackage(imp)
	return ok && within(own, testPackages) && !within(s.dir, testPackages) && !s.test()
}

func TestFileSizeAndNames(t *testing.T) {
	for _, s := range sources(t, false) {
		if !s.test() && s.lines > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it by job", s.file, s.lines, maxLines)
		}
		stem := strings.TrimSuffix(strings.TrimSuffix(path.Base(s.file), ".go"), "_test")
		for _, name := range []string{s.name, path.Base(s.dir), stem} {
			if slices.Contains(emptyNames, strings.TrimSuffix(name, "_test")) {
				t.Errorf("%s: the name %q says nothing: name it after its job", s.file, name)
			}
		}
	}
}

// TestArrowsAreNeeded keeps the rules as tight as they can be: an arrow that no file uses is one that nobody decided on.
func TestArrowsAreNeeded(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t, false) {
		rule, at, ok := ruleFor(s.dir)
		if s.test() || !ok {
			continue
		}
		for _, imp := range s.imports {
			own, _ := ownPackage(imp)
			for _, arrow := range rule.own {
				used[at+" "+arrow] = used[at+" "+arrow] || within(own, arrow)
			}
			for _, arrow := range rule.others {
				used[at+" "+arrow] = used[at+" "+arrow] || within(imp, arrow)
			}
		}
	}
	for at, rule := range arrows {
		for _, arrow := range slices.Concat(rule.own, rule.others) {
			if !used[at+" "+arrow] {
				t.Errorf("no file of %s imports %s: take it out of arrows, and out of CONTRIBUTING.md", at, arrow)
			}
		}
	}
}

// TestContributingTable: the table of packages in CONTRIBUTING.md names the own arrows of each entry, and no others. There a
// package of the same folder goes by its last name.
func TestContributingTable(t *testing.T) {
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile("`[^`]+`")
	table := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		folder := strings.Trim(strings.TrimSpace(cells[0]), "`")
		if _, ok := arrows[folder]; !ok || !strings.HasPrefix(line, "| `") {
			continue
		}
		table[folder] = []string{}
		for _, name := range quoted.FindAllString(cells[len(cells)-1], -1) {
			name = strings.Trim(name, "`")
			if sibling := path.Join(path.Dir(folder), name); !strings.Contains(name, "/") {
				if _, ok := arrows[sibling]; ok {
					name = sibling
				}
			}
			if !within(name, folder) {
				table[folder] = append(table[folder], name)
			}
		}
	}
	for folder, rule := range arrows {
		want := slices.DeleteFunc(slices.Sorted(slices.Values(rule.own)), func(own string) bool { return within(own, folder) })
		if got, ok := table[folder]; !ok || !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("CONTRIBUTING.md: the row of %s names %v, arrows %v", folder, got, want)
		}
	}
}

// TestArrowsAreEnforced proves that the rules refuse what they should: a rule that can't fail guards nothing.
func TestArrowsAreEnforced(t *testing.T) {
	for _, c := range []struct {
		dir, imp string
		want     bool
	}{
		{"engine", "sync/atomic", true},
		{"engine", "github.com/puzpuzpuz/xsync/v3", true},
		{"engine", "fanfare/codec", false},
		{"engine", "fanfare/transport", false},
		{"internal/ratelog", "fanfare/engine", false},
		{"engine", "github.com/valyala/fasthttp", false},
		{"engine/ring", "fanfare/engine", true},
		{"codec", "github.com/goccy/go-json", true},
		{"codec", "github.com/goccy/go-json-else", false},
		{"codec", "fanfare/engine", false},
		{"auth", "fanfare/auth/pattern", true},
		{"auth", "fanfare/engine", false},
		{"auth", "fanfare/transport", false},
		{"auth", "github.com/valyala/fasthttp", false},
		{"auth/pattern", "fanfare/auth", false},
		{"auth/internal/keys", "github.com/golang-jwt/jwt/v5", false},
		{"bridge/schedule", "fanfare/codec", true},
		{"bridge/schedule", "fanfare/transport", false},
		{"transport", "fanfare/bridge/schedule", false},
		{"cluster", "fanfare/transport", false},
		{"cluster", "github.com/nats-io/nats.go", false},
		{"cluster/nats", "github.com/nats-io/nats.go/jetstream", true},
		{"cluster/nats", "github.com/nats-io/nats-server/v2/server", false},
		{"cluster/redis", "fanfare/cluster", true},
		{"cluster/redis", "fanfare/bridge/redis", false},
		{"engine", "fanfare/cluster", false},
		{"transport", "fanfare/transport/internal/stream", true},
		{"transport/internal/stream", "fanfare/transport/internal/metrics", true},
		{"transport/internal/stream", "fanfare/transport", false},
		{"transport/internal/stream", "fanfare/codec", false},
		{"transport/internal/stream", "github.com/valyala/fasthttp", false},
		{"transport/internal/api", "fanfare/transport/internal/stream", false},
		{"transport/internal/gate", "fanfare/engine", false},
		{"transport", "fanfare/engine", true},
		{"transport", "fanfare/cmd/fanfare", false},
		{"transport", "github.com/prometheus/client_golang/prometheus", true},
		{"bridge/redis", "fanfare/engine", true},
		{"bridge/redis", "fanfare/transport", false},
		{"transport", "fanfare/bridge/redis", false},
		{"engine", "fanfare/internal/test/race", false},
		{"internal/test/wiretest", "fanfare/codec", true},
		{"internal/test/wiretest", "fanfare/internal/test/eventually", true},
		{"internal/test/wiretest", "fanfare/engine", false},
		{"cmd/fanfare", "fanfare/transport", true},
		{"cmd/fanfare", "fanfare/cmd/fanfare/config", true},
		{"cmd/fanfare/config", "github.com/goccy/go-yaml", true},
		{"cmd/fanfare/certs", "fanfare/transport", false},
		{"cmd/fanfare/certs", "fanfare/cmd/fanfare/config", false},
	} {
		rule, at, ok := ruleFor(c.dir)
		if !ok {
			t.Fatalf("no rule for %s", c.dir)
		}
		if got := allowed(c.imp, at, rule.own, rule.others); got != c.want {
			t.Errorf("%s importing %s: allowed = %v, want %v", c.dir, c.imp, got, c.want)
		}
	}
	for file, want := range map[string]bool{"engine/ring.go": true, "loadtest/main.go": true, "engine/ring_test.go": false, "internal/test/race/on.go": false, "internal/ratelog/ratelog.go": true} {
		if got := importsTestPackage(source{file: file, dir: path.Dir(file)}, "fanfare/internal/test/eventually"); got != want {
			t.Errorf("%s importing a test package: refused = %v, want %v", file, got, want)
		}
	}
}

// ruleFor finds the entry of dir, or of the nearest folder above it, and the folder whose entry it is.
func ruleFor(dir string) (rule struct{ own, others []string }, at string, ok bool) {
	for at = dir; at != "."; at = path.Dir(at) {
		if rule, ok = arrows[at]; ok {
			return rule, at, true
		}
	}
	return rule, "", false
}

// allowed tells whether a package under the folder at may import imp.
func allowed(imp, at string, own, others []string) bool {
	if pkg, ok := ownPackage(imp); ok {
		return within(pkg, at) || slices.ContainsFunc(own, func(o string) bool { return within(pkg, o) })
	}
	if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
		return imp != "C" // the standard library; cgo would end the static build
	}
	return slices.ContainsFunc(others, func(o string) bool { return within(imp, o) })
}

// command is the command that a folder belongs to, such as cmd/fanload for cmd/fanload/report; "" if it belongs to none.
func command(dir string) string {
	if rest, ok := strings.CutPrefix(dir, "cmd/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		return "cmd/" + name
	}
	return ""
}

// ownPackage gives the folder of an import of this module.
func ownPackage(imp string) (dir string, ok bool) { return strings.CutPrefix(imp, module+"/") }

// within tells whether p is the folder dir or lies below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// sources reads every Go file of this module, and of those nested in it if nested is set. Like the go command it passes
// over testdata and hidden folders.
func sources(t *testing.T, nested bool) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skipFolder(file, d.Name(), nested)
		case !strings.HasSuffix(file, ".go"):
			return nil
		}
		s, err := readSource(file)
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func skipFolder(dir, name string, nested bool) error {
	if dir == "." {
		return nil
	}
	if name[0] == '.' || name[0] == '_' || name == "testdata" || name == "node_modules" {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil && !nested {
		return fs.SkipDir
	}
	return nil
}

func readSource(file string) (source, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return source{}, err
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ImportsOnly)
	if err != nil {
		return source{}, err
	}
	slash := filepath.ToSlash(file)
	s := source{file: slash, dir: path.Dir(slash), name: parsed.Name.Name, lines: bytes.Count(text, []byte("\n"))}
	for _, spec := range parsed.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, imp)
	}
	return s, nil
}
