package config

import (
	"regexp"
	"slices"
	"strings"
)

// configEnv names the file. It is not a setting, because a file cannot name itself.
const configEnv = envPrefix + "CONFIG"

// commandEnv are variables that the server ignores. The first two belong to the commands pub and sub. With the last one,
// scripts/test.sh asks for the long form of the tests, and those start servers.
var commandEnv = []string{envPrefix + "SERVER", envPrefix + "STREAM", envPrefix + "LONG"}

// lookup is the value of a variable: the last one if there are several, "" if there is none.
func lookup(environ []string, name string) (value string) {
	for _, entry := range environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}

// Kubernetes and Docker inject variables for services with a name such as fanfare or fanfare-admin:
// FANFARE_SERVICE_HOST=10.0.0.1, FANFARE_PORT=tcp://10.0.0.1:8080, FANFARE_ADMIN_PORT_8081_TCP_ADDR=10.0.0.1. These are not
// mistakes of a user. But FANFARE_PORT=9000 is one, so portLink looks at the value as well.
var (
	serviceLink = regexp.MustCompile(`^FANFARE_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	portLink    = regexp.MustCompile(`^FANFARE_([A-Z0-9_]+_)?PORT=(tcp|udp|sctp)://`)
)

// readEnv reads the texts of the settings, by name, and the path of the file from an environment in the form of os.Environ.
// An empty variable counts as absent, because `FANFARE_LISTEN=${UNSET}` in a compose file leaves an empty one.
func readEnv(environ []string) (texts map[string]string, file string, problems Problems) {
	texts = make(map[string]string)
	settings := make(map[string]string, len(schema))
	names := append([]string{configEnv}, commandEnv[:2]...)
	for i := range schema {
		if schema[i].Env != "" {
			settings[schema[i].Env] = schema[i].Name
			names = append(names, schema[i].Env)
		}
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		setting, known := settings[name]
		switch {
		case !strings.HasPrefix(name, envPrefix):
		case name == configEnv:
			file = value
		case known && value == "":
			delete(texts, setting)
		case known:
			texts[setting] = value
		case slices.Contains(commandEnv, name):
		case serviceLink.MatchString(name), portLink.MatchString(entry):
		default:
			problems = append(problems, Problem{
				Origin: Origin{Layer: LayerEnv, Name: name},
				Text:   "unknown variable" + envHint(name, names),
			})
		}
	}
	return texts, file, problems
}

func envHint(name string, known []string) string {
	if name == envPrefix+"PORT" || name == envPrefix+"HOST" || name == envPrefix+"ADDR" {
		return "; the address is " + byName["listen"].Env + " (such as :9000)"
	}
	if s := fileOnly(strings.TrimPrefix(name, envPrefix)); s != "" {
		return "; " + s + " can be set in the file only"
	}
	bare := make([]string, len(known)) // without the prefix, which makes all names similar
	for i, k := range known {
		bare[i] = strings.TrimPrefix(k, envPrefix)
	}
	if k := nearest(strings.TrimPrefix(name, envPrefix), bare); k != "" {
		return "; did you mean " + envPrefix + k + "?"
	}
	return ""
}
