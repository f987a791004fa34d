package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// parseArgs returns the command, or the text of the help that args request.
func parseArgs(args []string) (c *command, help string, err error) {
	c = &command{}
	var text bytes.Buffer
	helped := false
	options := append(valueMappers(),
		kong.Name("fanload"),
		kong.Description("Measures a Server-Sent Events server under load: it holds thousands of subscribers, publishes events, and checks "+
			"every subscriber's sequence. Only loopback addresses, unless --allow-remote is given.\n\n"+
			"Use it for latency, throughput and the server's CPU time and memory. For tests in JavaScript, or on several machines, use the k6 "+
			"scripts in loadtest. To compare servers in one run, use bench/peers, which runs fanload.\n\n"+
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
	if args, err = conventionalCommands(k.Model, args); err != nil {
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

// conventionalCommands accepts what people type who do not know this program: nothing, help, help MODE, --version, -v. Any
// other first argument that is not a flag must be a command.
func conventionalCommands(model *kong.Application, args []string) ([]string, error) {
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
	return fmt.Errorf("unknown command %q: use one of %s, or see fanload help", name, strings.Join(all, ", "))
}

// explain adds to an error where to find help. For a flag of other modes it names those modes.
func explain(model *kong.Application, args []string, err error) error {
	text := err.Error()
	for from, to := range map[string]string{
		`expected string value but got "EOL" (<EOL>)`:             "needs a value",
		"expected string value but got":                           "needs a value but got",
		"bool value must be true, 1, yes, false, 0 or no but got": "write the flag without a value, or with =true or =false, not with",
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

// modesWith returns the modes that have the flag.
func modesWith(model *kong.Application, flag string) (modes []string) {
	for _, n := range model.Children {
		if slices.ContainsFunc(n.Flags, func(f *kong.Flag) bool { return f.Name == flag }) {
			modes = append(modes, n.Name)
		}
	}
	return modes
}
