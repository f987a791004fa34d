package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// parseArgs gives the command, or the help text that was asked for.
func parseArgs(args []string) (c *command, help string, err error) {
	c = &command{}
	var text bytes.Buffer
	helped := false
	options := append(valueMappers(),
		kong.Name("fanload"),
		kong.Description("Measures a server of Server-Sent Events: a swarm of subscribers, a publisher, and a check of every "+
			"subscriber's sequence. Loopback only, unless --allow-remote is given.\n\n"+
			"Templates are Go's text/template, with .Base .PublishBase .Run .Key .KeyIndex .Subscriber .LastEventID .Seq .TS .Payload "+
			"and the functions urlquery, json, base64 and env \"NAME\"."),
		kong.Writers(&text, &text),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Exit(func(int) { helped = true }),
	)
	k, err := kong.New(&c.flags, options...)
	if err != nil {
		return nil, "", err
	}
	if args, err = commandOf(k.Model, args); err != nil {
		return nil, "", err
	}
	ctx, err := k.Parse(args)
	if helped {
		return c, text.String(), nil
	}
	if err != nil {
		return nil, "", explain(k.Model, args, err)
	}
	c.name, _, _ = strings.Cut(ctx.Command(), " ")
	c.preset = c.flags.Presets.Name
	return c, "", nil
}

// commandOf takes what people type who don't know this program: nothing, help, help MODE, --version, -v. Anything else that
// comes first and is no flag must be a command.
func commandOf(model *kong.Application, args []string) ([]string, error) {
	if len(args) == 0 {
		return []string{"--help"}, nil
	}
	switch first := args[0]; {
	case first == "--version", first == "-version", first == "-v", first == "-V":
		return append([]string{"version"}, args[1:]...), nil
	case first == "help", first == "-help":
		if len(args) > 1 && !strings.HasPrefix(args[1], "-") && !isCommand(model, args[1]) {
			return nil, unknownCommand(model, args[1])
		}
		return append(slices.Clone(args[1:]), "--help"), nil
	case first != "" && !strings.HasPrefix(first, "-") && !isCommand(model, first):
		return nil, unknownCommand(model, first)
	}
	return args, nil
}

func isCommand(model *kong.Application, name string) bool {
	return slices.ContainsFunc(model.Children, func(n *kong.Node) bool { return n.Name == name })
}

func unknownCommand(model *kong.Application, name string) error {
	var all []string
	for _, n := range model.Children {
		all = append(all, n.Name)
	}
	return fmt.Errorf("unknown command %q: give one of %s; fanload help says more", name, strings.Join(all, ", "))
}

// explain says where help is to be found. A flag of another mode is told as that.
func explain(model *kong.Application, args []string, err error) error {
	text := err.Error()
	for from, to := range map[string]string{
		`expected string value but got "EOL" (<EOL>)`:             "needs a value",
		"expected string value but got":                           "needs a value but got",
		"bool value must be true, 1, yes, false, 0 or no but got": "write the flag without a value, or =true or =false, but not",
	} {
		text = strings.Replace(text, from, to, 1)
	}
	more := "fanload help lists the modes"
	if isCommand(model, args[0]) {
		more = "fanload help " + args[0] + " lists its flags"
		if flag, ok := strings.CutPrefix(text, "unknown flag --"); ok {
			flag, _, _ = strings.Cut(flag, ",")
			if modes := modesWith(model, flag); len(modes) > 0 {
				text = fmt.Sprintf("--%s is a flag of %s, not of %s", flag, strings.Join(modes, ", "), args[0])
			}
		}
	}
	return fmt.Errorf("%s (%s)", text, more)
}

// modesWith a flag.
func modesWith(model *kong.Application, flag string) (modes []string) {
	for _, n := range model.Children {
		if slices.ContainsFunc(n.Flags, func(f *kong.Flag) bool { return f.Name == flag }) {
			modes = append(modes, n.Name)
		}
	}
	return modes
}
