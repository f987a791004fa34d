package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"fanfare/cmd/fanfare/pub"
	"fanfare/cmd/fanfare/sub"
)

// grammar is the command tree. To add a command, add a field here and a case in cmd/fanfare/command.go. The command's own
// flags go into its struct.
type grammar struct {
	Serve serveCommand `cmd:"" default:"withargs" help:"Run the server (the default command)."`

	Config struct {
		Check settingsCommand `cmd:"" help:"Check file, environment and flags; print \"ok\", or print everything that is wrong and exit 1."`
		Print settingsCommand `cmd:"" help:"Print the effective configuration as a file, with the origin of each value."`
		Docs  struct{}        `cmd:"" hidden:"" help:"Print docs/configuration.md."`
	} `cmd:"" help:"Check or print the configuration."`

	Healthcheck settingsCommand `cmd:"" help:"Ask the running server with this configuration whether it is healthy; exit 1 if not."`

	Pub pub.Options `cmd:"" help:"Publish an argument, a file or the lines of a pipe: fanfare pub news hello; tail -f log | fanfare pub -l log."`
	Sub sub.Options `cmd:"" help:"Watch a stream, with reconnects and gaps: fanfare sub news."`

	Version struct{} `cmd:"" help:"Print version, commit and Go version."`
}

type serveCommand struct {
	Settings any `embed:""`
}

type settingsCommand struct {
	Settings any `embed:""`
}

// settingsFlags is a struct type made from the schema, with a text field for each setting. setText decodes the texts, as it
// does those of the environment. So kong does not stop at a bad value, and all bad values are reported together.
var settingsFlags = func() reflect.Type {
	fields := []reflect.StructField{{
		Name: "ConfigFile", Type: reflect.TypeFor[string](),
		Tag: reflect.StructTag(fmt.Sprintf(`name:"config" type:"text" placeholder:"FILE" help:%q`, "YAML or JSON file with settings. Environment: "+configEnv+".")),
	}}
	for i := range schema {
		s := &schema[i]
		if s.Flag == "" {
			continue
		}
		f := reflect.StructField{Name: reflect.TypeFor[Config]().Field(s.field).Name, Type: reflect.TypeFor[string]()}
		tag := fmt.Sprintf(`name:%q group:%q placeholder:%q help:%q`, strings.TrimPrefix(s.Flag, "--"), s.Group, s.Form, s.Help+defaultNote(s))
		switch s.typ.Kind() {
		case reflect.Bool:
			tag += ` type:"switch" negatable:""`
		case reflect.Slice, reflect.Map:
			f.Type = reflect.TypeFor[[]string]()
			tag += ` type:"texts" sep:"none"`
		default:
			tag += ` type:"text"`
		}
		f.Tag = reflect.StructTag(tag)
		fields = append(fields, f)
	}
	return reflect.StructOf(fields)
}()

func defaultNote(s *Setting) string {
	switch {
	case s.typ.Kind() == reflect.Slice || s.typ.Kind() == reflect.Map:
		return " May be repeated."
	case s.Default == "":
		return ""
	}
	return " Default: " + s.Default + "."
}

// switchMapper decodes --page, --no-page and --page=false as texts.
type switchMapper struct{}

func (switchMapper) IsBool() bool { return true }

func (switchMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetString("true")
		return nil
	}
	target.SetString(fmt.Sprint(ctx.Scan.Pop().Value))
	return nil
}

// decodeText takes a flag's value unchanged. Kong's own mapper converts it through JSON, which changes bytes that are not
// UTF-8. A slice collects the values of a repeated flag.
func decodeText(ctx *kong.DecodeContext, target reflect.Value) error {
	token, err := ctx.Scan.PopValue("string")
	if err != nil {
		return err
	}
	text := reflect.ValueOf(token.String())
	if target.Kind() == reflect.Slice {
		target.Set(reflect.Append(target, text))
		return nil
	}
	target.Set(text)
	return nil
}

// decodeRest takes all arguments up to the next flag.
func decodeRest(ctx *kong.DecodeContext, target reflect.Value) error {
	for token := ctx.Scan.Peek(); token.IsValue(); token = ctx.Scan.Peek() {
		target.Set(reflect.Append(target, reflect.ValueOf(ctx.Scan.Pop().String())))
	}
	return nil
}

// commandLine is the result of parsing the arguments.
type commandLine struct {
	command  string            // "serve", "config check", …; "help"
	help     string            // the text for "help"
	settings bool              // the command works on a configuration
	texts    map[string]string // by the setting's name
	file     *string           // --config
	pub      *pub.Options
	sub      *sub.Options
}

var errHelp = errors.New("help was requested")

func newParser(g *grammar, help *bytes.Buffer) (*kong.Kong, error) {
	for _, embed := range []*any{&g.Serve.Settings, &g.Config.Check.Settings, &g.Config.Print.Settings, &g.Healthcheck.Settings} {
		*embed = reflect.New(settingsFlags).Interface()
	}
	return kong.New(g, append(valueMappers(),
		kong.Name("fanfare"),
		kong.Description("Server-Sent Events fan-out server.\n\n"+
			"Each setting is a flag, an environment variable and a key of the file: --max-clients, "+envPrefix+"MAX_CLIENTS, maxClients. "+
			"A flag overrides the environment, and the environment overrides the file."),
		kong.Writers(help, help),
		kong.NamedMapper("switch", switchMapper{}),
		kong.NamedMapper("text", kong.MapperFunc(decodeText)),
		kong.NamedMapper("texts", kong.MapperFunc(decodeText)),
		kong.NamedMapper("rest", kong.MapperFunc(decodeRest)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
		kong.Help(printHelp),
		// errHelp ends the parsing before Exit is called. A library must not end the process.
		kong.Exit(func(int) {}),
	)...)
}

// printHelp also shows the settings on the page of the program itself, where kong lists only the commands.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	node := ctx.Selected()
	if node == nil {
		node = ctx.Model.Node
		node.Flags = append(node.Flags, ctx.Model.DefaultCmd.Flags...)
	}
	for _, flags := range node.AllFlags(false) {
		for _, f := range flags {
			if f.Group != nil && !strings.HasSuffix(f.Group.Title, ":") {
				f.Group.Title += ":"
			}
		}
	}
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return err
	}
	return errHelp
}

// parseArgs reads the arguments (without the program's name). cl is nil if they name no valid command.
func parseArgs(args []string) (cl *commandLine, problems Problems) {
	var help bytes.Buffer
	g := new(grammar)
	parser, err := newParser(g, &help)
	if err != nil {
		return nil, Problems{{Text: err.Error()}} // a mistake in the grammar; every test meets it
	}
	args, err = conventionalCommands(parser.Model, args)
	if err != nil {
		return nil, Problems{{Text: err.Error()}}
	}
	args, problems = refuseUnknownFlags(parser.Model, args)
	ctx, err := parser.Parse(args)
	if help.Len() > 0 {
		return &commandLine{command: "help", help: help.String()}, nil
	}
	if err != nil {
		return nil, append(problems, Problem{Text: plainParseError(args, err)})
	}
	name, _, _ := strings.Cut(ctx.Command(), " <") // without arguments
	cl = &commandLine{command: name, texts: make(map[string]string)}
	switch ctx.Selected().Target.Interface().(type) {
	case serveCommand, settingsCommand:
		cl.settings = true
	case pub.Options:
		cl.pub = &g.Pub
		g.Pub.HasData = slices.ContainsFunc(ctx.Path, func(p *kong.Path) bool { return p.Positional != nil && p.Positional.Name == "data" })
		return cl, problems
	case sub.Options:
		cl.sub = &g.Sub
		return cl, problems
	}
	for _, p := range ctx.Path {
		if p.Flag == nil {
			continue
		}
		switch v := ctx.FlagValue(p.Flag).(type) {
		case string:
			if p.Flag.Name == "config" {
				cl.file = &v
				continue
			}
			cl.texts[flagSetting(p.Flag.Name).Name] = v
		case []string:
			s := flagSetting(p.Flag.Name)
			sep := "\n"
			if s.typ.Kind() == reflect.Slice {
				sep = ","
			}
			cl.texts[s.Name] = strings.Join(v, sep)
		}
	}
	return cl, problems
}

// conventionalCommands accepts what people type who do not know this program: help, help COMMAND, --version, -v. Any other
// first argument that is not a flag must be a command.
func conventionalCommands(model *kong.Application, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	switch first := args[0]; {
	case first == "--version", first == "-version", first == "-v", first == "-V":
		return append([]string{"version"}, args[1:]...), nil
	case first == "help", first == "-help":
		node := model.Node
		for i, name := range args[1:] {
			if strings.HasPrefix(name, "-") {
				break
			}
			next := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == name })
			if next < 0 {
				return nil, errors.New(unknownCommand(model, strings.Join(args[1:i+2], " ")))
			}
			node = node.Children[next]
		}
		return append(slices.Clone(args[1:]), "--help"), nil
	case first != "" && !strings.HasPrefix(first, "-") && !slices.ContainsFunc(model.Children, func(n *kong.Node) bool { return n.Name == first }):
		return nil, errors.New(unknownCommand(model, first))
	}
	return args, nil
}

func unknownCommand(model *kong.Application, name string) string {
	var commands []string
	for _, leaf := range model.Leaves(true) {
		commands = append(commands, strings.TrimPrefix(leaf.FullPath(), model.Name+" "))
	}
	if hint := didYouMean(name, commands); hint != "" {
		return fmt.Sprintf("unknown command %q%s", name, hint)
	}
	return fmt.Sprintf("unknown command %q: use one of %s, or see fanfare help", name, strings.Join(commands, ", "))
}

var (
	foreignFlag = regexp.MustCompile(`^unknown flag (--[a-z-]+)(, did you mean .*)?$`)
	unexpected  = regexp.MustCompile(`^unexpected argument (true|false|yes|no|on|off|1|0)$`)
)

// sameFlag maps a command and a flag of another command to the command's own flag with that meaning.
var sameFlag = map[string]string{
	"pub --url": "--server", "pub --admin": "--server", "pub --publish-token": "--token",
	"sub --server": "--url", "sub --listen": "--url",
}

var oneOf = regexp.MustCompile(`^expected one of (.*)$`)

// plainParseError rewrites kong's errors, which speak of tokens, in plain words.
func plainParseError(args []string, err error) string {
	text := err.Error()
	text = strings.Replace(text, `expected string value but got "EOL" (<EOL>)`, "needs a value", 1)
	text = strings.Replace(text, "expected string value but got", "needs a value but got", 1)
	if m := foreignFlag.FindStringSubmatch(text); m != nil { // a correct flag of another command: kong's suggestion does not help
		text = "unknown flag " + m[1]
		if name := sameFlag[args[0]+" "+m[1]]; name != "" {
			text += "; use " + name + " with fanfare " + args[0]
		}
	}
	if m := unexpected.FindStringSubmatch(text); m != nil {
		if i := slices.Index(args, m[1]); i > 0 && strings.HasPrefix(args[i-1], "--") && !strings.Contains(args[i-1], "=") {
			text += fmt.Sprintf(": a value of %s needs an equals sign, %s=%s", args[i-1], args[i-1], m[1])
		}
	}
	if m := oneOf.FindStringSubmatch(text); m != nil {
		text = fmt.Sprintf("fanfare %s needs a command: one of %s", args[0], m[1])
	}
	return text
}

func flagSetting(name string) *Setting {
	for i := range schema {
		if schema[i].Flag == "--"+name {
			return &schema[i]
		}
	}
	panic("config: flag without a setting: " + name) // the flags are made from the schema
}

var singleDash = regexp.MustCompile(`^-[A-Za-z][A-Za-z]`)

// refuseUnknownFlags removes from args the flags that no command has, with the values that seem to belong to them. Kong would
// stop at the first of them.
func refuseUnknownFlags(model *kong.Application, args []string) (rest []string, problems Problems) {
	known, commands := []string{"--help"}, []string{}
	_ = kong.Visit(model, func(node kong.Visitable, next kong.Next) error {
		switch n := node.(type) {
		case *kong.Flag:
			known = append(known, "--"+n.Name)
			if n.Tag.Negatable != "" {
				known = append(known, "--no-"+n.Name)
			}
		case *kong.Node:
			commands = append(commands, n.Name)
		}
		return next(nil)
	})
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(rest, args[i:]...), problems
		}
		name, _, hasValue := strings.Cut(arg, "=")
		isFlag := strings.HasPrefix(arg, "--") || singleDash.MatchString(arg)
		if !isFlag || slices.Contains(known, name) {
			rest = append(rest, arg)
			continue
		}
		hint := didYouMean(name, known)
		if name == "--version" {
			hint = "; fanfare version prints it"
		} else if s := fileOnly(name); s != "" {
			hint = "; " + s + " can be set in the file only"
		}
		problems = append(problems, Problem{Text: "unknown flag " + name + hint})
		if !hasValue && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") && !slices.Contains(commands, args[i+1]) {
			i++
		}
	}
	return rest, problems
}

// fileOnly returns the setting with this name that can be set in the file only, or "".
func fileOnly(name string) string {
	for i := range schema {
		if s := &schema[i]; s.Flag == "" && fold(name) == fold(s.Name) {
			return s.Name
		}
	}
	return ""
}
