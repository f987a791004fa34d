package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fanfare/cmd/fanfare/pub"
	"fanfare/cmd/fanfare/sub"
)

// Command is the command that the command line names, with its options.
type Command struct {
	// Name is "serve", "config check", "config print", "config docs", "healthcheck", "pub", "sub", "version" or "help".
	Name string
	// Config is the effective configuration for serve, healthcheck, config check and config print. It is nil for the others.
	Config *Config
	// Help is the text of "help".
	Help string
	// Pub and Sub are the options of these commands, from flags and environment. They are nil for the others.
	Pub *pub.Options
	Sub *sub.Options
}

// Load reads the arguments (without the program's name), the environment (in the form of os.Environ), and the file that they
// name. It uses no other state of the process, so calling it again is a reload.
//
// A non-nil error is of type Problems: everything that is wrong, one line each. The Command is nil if the arguments name
// none. Otherwise its Name is valid in spite of the error, and its Config is nil.
func Load(args, environ []string) (*Command, error) {
	cl, problems := parseArgs(args)
	if cl == nil {
		return nil, problems
	}
	cmd := &Command{Name: cl.command, Help: cl.help, Pub: cl.pub, Sub: cl.sub}
	if !cl.settings {
		getenv := func(name string) string { return lookup(environ, name) }
		if cl.pub != nil || cl.sub != nil { // a misspelled FANFARE_SERVER must not be ignored: another server would be used
			_, _, unknown := readEnv(environ)
			problems = append(problems, unknown...)
		}
		if cl.pub != nil {
			cl.pub.Environ(getenv)
		}
		if cl.sub != nil {
			cl.sub.Environ(getenv)
		}
		return cmd, problems.err()
	}
	c, more := layer(cl, environ)
	problems = append(problems, more...)
	if len(problems) > 0 {
		return cmd, problems
	}
	cmd.Config = c
	return cmd, nil
}

// layer applies file, environment and flags to the defaults, and validates the result.
func layer(cl *commandLine, environ []string) (*Config, Problems) {
	c := Defaults()
	envTexts, file, envProblems := readEnv(environ)
	if cl.file != nil {
		file = *cl.file
	}
	var problems Problems
	if file != "" {
		problems = loadFile(c, file)
	}
	problems = append(problems, envProblems...)
	for i := range schema {
		s := &schema[i]
		if text, ok := envTexts[s.Name]; ok {
			problems = append(problems, setLayer(c, s, text, Origin{Layer: LayerEnv, Name: s.Env})...)
		}
		if text, ok := cl.texts[s.Name]; ok {
			problems = append(problems, setLayer(c, s, text, Origin{Layer: LayerFlag, Name: s.Flag})...)
		}
	}
	decoded := problems
	for _, found := range c.validate() {
		if !slices.ContainsFunc(decoded, func(p Problem) bool { return p.covers(found) }) {
			problems = append(problems, found)
		}
	}
	return c, problems
}

// covers reports whether later, a problem found by Validate, follows from p, a problem of decoding. If a setting could not be
// decoded, Validate sees the value of a weaker layer, an object that is not one, or an object with a part missing.
func (p Problem) covers(later Problem) bool {
	return p.Setting != "" && (p.Setting == later.Setting || partOf(p.Setting, later.Setting) || partOf(later.Setting, p.Setting))
}

// partOf reports whether part is the path of a field of the object at path.
func partOf(part, path string) bool {
	return strings.HasSuffix(path, "]") && strings.HasPrefix(part, path+".")
}

func setLayer(c *Config, s *Setting, text string, at Origin) Problems {
	if err := setText(s.target(c), text); err != nil {
		if s.secret() {
			err = errors.New("cannot be read") // the text stays secret
		}
		return Problems{{Origin: at, Setting: s.Name, Text: err.Error()}}
	}
	for path := range c.origins { // of the file's map that is now replaced
		if path == s.Name || strings.HasPrefix(path, s.Name+".") {
			delete(c.origins, path)
		}
	}
	c.setOrigin(s.Name, at)
	return nil
}

// Sources says where the configuration was read from: "defaults, file fanfare.yaml (3 settings in effect), environment
// (FANFARE_LISTEN), flags (--history)".
func (c *Config) Sources() string {
	sources := []string{"defaults"}
	var env, flags []string
	inFile := 0
	for i := range schema {
		switch o := c.Origin(schema[i].Name); o.Layer {
		case LayerFile:
			inFile++
		case LayerEnv:
			env = append(env, o.Name)
		case LayerFlag:
			flags = append(flags, o.Name)
		}
	}
	if c.file != "" {
		plural := "s"
		if inFile == 1 {
			plural = ""
		}
		sources = append(sources, fmt.Sprintf("file %s (%d setting%s in effect)", c.file, inFile, plural))
	}
	if len(env) > 0 {
		sources = append(sources, "environment ("+strings.Join(env, ", ")+")")
	}
	if len(flags) > 0 {
		sources = append(sources, "flags ("+strings.Join(flags, ", ")+")")
	}
	return strings.Join(sources, ", ")
}
