package docs_test

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

const (
	recipesFile  = "securing.md"
	recipePrefix = "Recipe: "
)

// withoutRecipes is the text of a document without its recipes.
func withoutRecipes(text string) string {
	sections := strings.Split(text, "\n## ")
	return strings.Join(slices.DeleteFunc(sections, func(s string) bool { return strings.HasPrefix(s, recipePrefix) }), "\n## ")
}

// recipe is a section of securing.md whose title begins with "Recipe: ". A bold file name stands before the text of each file. The
// blocks of kind "console" have commands and what they print.
type recipe struct {
	files map[string]string
	steps []step
}

// step is a command with the lines that it prints. In them "…" stands for any text. If the last line is "…" alone, the command
// prints more and does not end.
type step struct {
	command string
	prints  []string
	endless bool
}

// subscribes reports whether the step shows a stream that must be open.
func (s step) subscribes() bool {
	return len(s.prints) > 0 && strings.HasPrefix(s.prints[0], "event: ")
}

// problem is what a step does in place of what it should.
type problem struct {
	step step
	text string
}

func (p problem) String() string { return p.step.command + "\n" + p.text }

// readRecipe reads a section. Each block must be a file or a session in a shell: nothing in a recipe is left out.
func readRecipe(t *testing.T, title string) recipe {
	t.Helper()
	_, text, found := strings.Cut(read(t, recipesFile), "\n## "+recipePrefix+title+"\n")
	if !found {
		t.Fatalf("%s has no recipe %q", recipesFile, title)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	r := recipe{files: map[string]string{}}
	for _, m := range regexp.MustCompile("(?ms)(?:^\\*\\*`([^`]+)`\\*\\*\n\n)?^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		switch name, kind, body := m[1], m[2], m[3]; {
		case kind == "console" && name == "":
			r.steps = append(r.steps, stepsOf(body)...)
		case name != "" && r.files[name] == "":
			r.files[name] = body
		default:
			t.Fatalf("recipe %q: a block is neither a session in a shell nor a file with a name of its own:\n%s", title, body)
		}
	}
	return r
}

func stepsOf(session string) (steps []step) {
	for line := range strings.Lines(session) {
		line = strings.TrimSuffix(line, "\n")
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			steps = append(steps, step{command: command})
			continue
		}
		last := &steps[len(steps)-1]
		if last.endless = line == "…"; !last.endless {
			last.prints = append(last.prints, line)
		}
	}
	return steps
}

// kitchen is where a recipe is followed: a folder, a shell's environment, and free ports in place of the printed ones.
type kitchen struct {
	t     *testing.T
	dir   string
	env   []string
	ports map[string]string // printed -> used
	paths []string          // printed, used, printed, used: places that are the whole machine's
	files map[string]string // as they are printed
	// listens has the printed port on which a program in the background answers when it is ready, by its first word.
	listens  map[string]string
	programs map[string]*proctest.Process // in the background, by its first word
	login    *login                       // of startLogin
}

func newKitchen(t *testing.T) *kitchen {
	k := &kitchen{t: t, dir: t.TempDir(), ports: map[string]string{}, programs: map[string]*proctest.Process{}, listens: map[string]string{"fanfare": "8081", "node": "3000", "python3": "3000", "go": "3000"}}
	for _, port := range []string{"8080", "8081", "3000", "7001"} {
		k.ports[port] = proctest.Port(proctest.FreeAddr(t))
	}
	k.env = []string{"PATH=" + binaries(t) + ":" + os.Getenv("PATH") + ":/usr/sbin", "CURL_HOME=" + k.dir}
	if err := os.WriteFile(filepath.Join(k.dir, ".curlrc"), []byte("no-buffer\n"), 0o600); err != nil { // as on a terminal
		t.Fatal(err)
	}
	return k
}

var number = regexp.MustCompile(`\b\d{4}\b`)

// replace puts the free ports and the folder's paths into a text.
func (k *kitchen) replace(text string) string {
	text = strings.NewReplacer(k.paths...).Replace(text)
	return number.ReplaceAllStringFunc(text, func(port string) string {
		if free, ok := k.ports[port]; ok {
			return free
		}
		return port
	})
}

// addr is where a printed port is.
func (k *kitchen) addr(port string) string { return "127.0.0.1:" + k.ports[port] }

// write writes the files of a recipe.
func (k *kitchen) write(files map[string]string) {
	k.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(k.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(k.replace(files[name])), 0o600)); err != nil {
			k.t.Fatal(err)
		}
	}
}

// follow runs the commands. problems are those that print something else than the recipe says.
func (k *kitchen) follow(steps []step) (problems []problem) {
	k.t.Helper()
	for _, s := range steps {
		text := ""
		if command, background := strings.CutSuffix(s.command, " &"); background {
			k.start(command)
		} else if m := assignment.FindStringSubmatch(s.command); m != nil {
			text = k.assign(s.command, m[1])
		} else {
			text = k.run(s)
		}
		if text != "" {
			problems = append(problems, problem{s, text})
		}
	}
	return problems
}

var assignment = regexp.MustCompile(`^(?:export )?(\w+)=`)

// shell is a command in the recipe's folder and environment.
func (k *kitchen) shell(command string) *exec.Cmd {
	cmd := exec.Command("bash", "-c", k.replace(command))
	cmd.Dir = k.dir
	cmd.Env = proctest.Environment(k.env...)
	return cmd
}

// start runs a program in the background, and waits until it listens.
func (k *kitchen) start(command string) {
	k.t.Helper()
	program, _, _ := strings.Cut(command, " ")
	port, known := k.listens[program]
	if !known {
		k.t.Fatalf("%s: say in kitchen.listens where %s listens", command, program)
	}
	p := proctest.Start(k.t, k.shell("exec "+command))
	p.Await(command, func() error {
		conn, err := net.Dial("tcp", k.addr(port))
		if err != nil {
			return err
		}
		return conn.Close()
	})
	k.programs[program] = p
}

// assign sets a variable for the commands that follow.
func (k *kitchen) assign(command, name string) (problem string) {
	k.t.Helper()
	out, err := k.shell("set -eo pipefail; " + command + `; printf %s "$` + name + `"`).Output()
	if err != nil || len(out) == 0 {
		return fmt.Sprintf("%s is not set: %v", name, err)
	}
	k.env = append(k.env, name+"="+string(out))
	return ""
}

// run runs a command until it ends, has printed enough, or prints a wrong line.
func (k *kitchen) run(s step) (problem string) {
	k.t.Helper()
	cmd := k.shell(s.command)
	out := &proctest.Log{}
	cmd.Stdout = out
	p := proctest.Start(k.t, cmd)
	defer p.Kill()
	complete := false
	eventually.True(k.t, s.command, func() bool {
		ended := p.Ended() // before the look at what it has written
		text := out.String()
		lines := strings.Split(text, "\n")
		lines = lines[:len(lines)-1] // the last one is "", or not complete yet
		for i, line := range lines {
			switch {
			case i < len(s.prints) && !matches(s.prints[i], line):
				problem = fmt.Sprintf("prints %q, and %q is right", line, s.prints[i])
				return true
			case i >= len(s.prints) && !s.endless:
				problem = fmt.Sprintf("prints one line more: %q", line)
				return true
			}
		}
		complete = len(lines) >= len(s.prints)
		return ended || complete && s.endless
	})
	switch {
	case problem != "":
		return problem
	case !complete:
		return fmt.Sprintf("prints only %q", out)
	case !s.endless && p.Wait() != 0:
		return fmt.Sprintf("ends with %v\n%s", p.Cmd.ProcessState, p.Log)
	}
	return ""
}

// matches reports whether a line is as it is printed in the document.
func matches(printed, line string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(printed), "…", ".*")
	return regexp.MustCompile("^" + pattern + "$").MatchString(line)
}

// weakness opens what a recipe closes: it replaces what a pattern matches in a file. Then a command of the recipe must print
// something else. Otherwise the recipe's checks prove nothing.
type weakness struct{ file, pattern, with string }

// dish says how a recipe is tested beyond its own commands.
type dish struct {
	weaken []weakness
	// instead has a command for each file that takes the place of the first file of its kind; first is the command of that one.
	first   string
	instead map[string]string
	// prepare makes what a reader has and the recipe does not: a login service, for instance.
	prepare func(k *kitchen)
	// after goes on when all commands have printed what they should.
	after func(t *testing.T, k *kitchen)
}

var recipes = map[string]dish{
	"cookie session": {
		weaken: []weakness{
			{"fanfare.yaml", `authCallback: .*`, `anonymousKeys: ["**"]`},
			{"fanfare.yaml", `\[https://app.example.com\]`, `[https://*.example.com]`},
			{"app.mjs", `if \(!user\) return res.writeHead\(401\).end\(\);`, ``},
			{"app.mjs", `if \(!mine\) return .*`, ``},
			{"app.mjs", `\.every\(`, `.some(`},
		},
		after: checkCookieSession,
	},
	"tokens made by Fanfare": {
		weaken: []weakness{
			{"fanfare.yaml", `\[public\.\*\]`, `["**"]`},
			{"fanfare.yaml", `\[public\.\*\]`, `["user.*"]`},
			{"app.mjs", `user\.\$\{user\}\.\*`, `user.*`},
		},
		after: checkTokens,
	},
	"JSON Web Tokens": {
		weaken: []weakness{
			{"fanfare.yaml", `(?s)jwksURL: .*\[live\]`, `anonymousKeys: ["**"]`},
			{"fanfare.yaml", `\[live\]`, `[live, billing]`},
		},
		prepare: startLogin,
		after:   checkRotation,
	},
	"callback in Node.js, Python and Go": {
		first:   "node callback.mjs",
		instead: map[string]string{"callback.py": "python3 callback.py", "callback.go": "go run callback.go"},
		weaken: []weakness{
			{"callback.mjs", `\.every\(`, `.some(`},
			{"callback.mjs", `return \[503`, `return [403`},
			{"callback.mjs", `return \[401`, `return [200`},
			{"callback.py", `not all\(`, `not any(`},
			{"callback.py", `= 503`, `= 403`},
			{"callback.py", `return 401`, `return 200`},
			{"callback.go", `return http.StatusForbidden, "", nil`, `continue`},
			{"callback.go", `http.StatusServiceUnavailable`, `http.StatusForbidden`},
			{"callback.go", `return http.StatusUnauthorized`, `return http.StatusOK`},
		},
	},
	"Egg": {
		weaken:  []weakness{{"config/config.default.js", `keys.every`, `keys.some`}}, // one: an application takes seconds to start
		prepare: prepareEgg,
		after:   checkEgg,
	},
	"behind nginx": {
		weaken:  []weakness{{"fanfare.yaml", `page: false`, `anonymousKeys: [news]`}},
		prepare: prepareNginx,
		after:   checkNginx,
	},
}

// TestRecipes follows each recipe of securing.md as it is printed, with other ports.
func TestRecipes(t *testing.T) {
	titles := regexp.MustCompile(`(?m)^## `+recipePrefix+`(.*)$`).FindAllStringSubmatch(read(t, recipesFile), -1)
	if len(titles) != len(recipes) {
		t.Errorf("%s has %d recipes, and %d are tested", recipesFile, len(titles), len(recipes))
	}
	for _, m := range titles {
		title := m[1]
		d, known := recipes[title]
		if !known {
			t.Errorf("the recipe %q is not tested: add it to recipes", title)
			continue
		}
		r := readRecipe(t, title)
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			d.mustWork(t, r)
		})
		for file, command := range d.instead {
			t.Run(title+" with "+file, func(t *testing.T) {
				t.Parallel()
				d.mustWork(t, r.with(t, d.first, command))
			})
		}
		for _, w := range d.weaken {
			t.Run(title+" without "+w.file+" "+w.pattern, func(t *testing.T) {
				t.Parallel()
				weak := r
				if command, ok := d.instead[w.file]; ok {
					weak = r.with(t, d.first, command)
				}
				weak.files = maps.Clone(r.files)
				weak.files[w.file] = regexp.MustCompile(w.pattern).ReplaceAllLiteralString(r.files[w.file], w.with)
				if weak.files[w.file] == r.files[w.file] {
					t.Fatalf("%s has nothing that matches %q", w.file, w.pattern)
				}
				_, problems := d.cook(t, weak)
				if len(problems) == 0 {
					t.Error("the commands of the recipe do not notice it")
				}
				for _, p := range problems {
					if p.step.subscribes() {
						t.Errorf("it is not only weaker, but broken: %s", p)
					}
				}
			})
		}
	}
}

// with has another command in the background in place of the first one.
func (r recipe) with(t *testing.T, first, command string) recipe {
	t.Helper()
	r.steps = slices.Clone(r.steps)
	i := slices.IndexFunc(r.steps, func(s step) bool { return s.command == first+" &" })
	if i < 0 {
		t.Fatalf("no command is %q", first+" &")
	}
	r.steps[i].command = command + " &"
	return r
}

// cook follows a recipe in a kitchen of its own.
func (d dish) cook(t *testing.T, r recipe) (k *kitchen, problems []problem) {
	t.Helper()
	k = newKitchen(t)
	if d.prepare != nil {
		d.prepare(k)
	}
	k.files = r.files
	k.write(r.files)
	return k, k.follow(r.steps)
}

func (d dish) mustWork(t *testing.T, r recipe) {
	t.Helper()
	k, problems := d.cook(t, r)
	for _, problem := range problems {
		t.Error(problem)
	}
	if len(problems) == 0 && d.after != nil {
		d.after(t, k)
	}
}
