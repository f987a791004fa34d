package config

import (
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Validate checks each value against its range, and the settings against each other. The error is of type Problems. It
// names every problem with its setting, value, range and origin. A Config made in code can be checked as well; its values
// then count as defaults.
func (c *Config) Validate() error { return c.validate().err() }

// validate is the only entry point of validation. The ranges are in the schema, the relations and the list of further checks
// below. The check of a setting is in the file of its group: listeners.go, cors.go, stream.go and so on.
func (c *Config) validate() Problems {
	v := &validator{c: c}
	for i := range schema {
		v.ranges(&schema[i])
	}
	for _, pair := range atMost {
		v.relation(byName[pair.less], byName[pair.more])
	}
	for _, s := range checks {
		s.check(c, v.at(s.setting))
	}
	return v.problems
}

// atMost are pairs of settings: the first must not be more than the second.
var atMost = []struct{ less, more string }{
	{"maxEventBytes", "historyBytes"},
	{"maxEventBytes", "maxBodyBytes"},
	{"historyBytes", "historyTotalBytes"},
	{"retryMin", "retryMax"},
}

// checks are the rules that a range does not express. A check gets the whole configuration and the place of its setting.
var checks = []struct {
	setting string
	check   func(c *Config, at place)
}{
	{"listen", checkListen},
	{"admin", checkAdmin},
	{"listenMode", checkSocket("listen", listenAddr, func(c *Config) string { return c.ListenMode }, true)},
	{"listenOwner", checkSocket("listen", listenAddr, func(c *Config) string { return c.ListenOwner }, false)},
	{"adminMode", checkSocket("admin", adminAddr, func(c *Config) string { return c.AdminMode }, true)},
	{"adminOwner", checkSocket("admin", adminAddr, func(c *Config) string { return c.AdminOwner }, false)},
	{"publishToken", checkToken},
	{"publishTokens", checkPublishers},
	{"adminOrigins", checkAdminOrigins},
	{"trustedProxies", checkProxies},
	{"proxyProtocol", checkProxyProtocol},
	{"tlsCert", checkTLSPairs},
	{"adminTLSCert", checkAdminTLS},
	{"acmeDomains", checkACME},
	{"path", checkPath},
	{"headers", func(c *Config, at place) { checkHeaders(c.Headers, fixedHeaders, at) }},
	{"headers", checkConnection},
	{"allowedOrigins", checkAllowedOrigins},
	{"allowCredentials", checkCredentials},
	{"maxBodyTotalBytes", checkBodyTotal},
	{"maxHeadBytes", checkHead},
	{"jwtKeys", checkAuthorization},
	{"cacheKey", checkCacheKey},
	{"backplane", checkBackplane},
	{"nodeName", checkNodeName},
	{"natsURL", checkNATSURL},
	{"natsSubjects", checkNATSSubjects},
	{"natsDomain", checkNATSDomain},
	{"natsStream", checkNATSStream},
	{"natsReplicas", checkNATSReplicas},
	{"redisPrefix", checkRedisPrefix},
	{"redisURL", checkRedisURL},
	{"redisChannels", func(c *Config, at place) { checkRedisNames(c, c.RedisChannels, at) }},
	{"redisStreams", func(c *Config, at place) { checkRedisNames(c, c.RedisStreams, at) }},
	{"redisKeys", checkRedisKeys},
	{"keys", checkKeyRules},
	{"schedules", checkSchedules},
}

// validator collects the problems of a configuration.
type validator struct {
	c        *Config
	problems Problems
}

func (v *validator) at(path string) place { return place{v, path} }

// place is a setting, or a part of one, where a check reports problems.
type place struct {
	v    *validator
	path string // "history", "headers.X-A", "keys[0].match"
}

func (p place) part(name string) place { return place{p.v, p.path + "." + name} }

func (p place) item(i int) place { return place{p.v, fmt.Sprintf("%s[%d]", p.path, i)} }

// fail reports a problem. Its text says what is wrong, the value, and what to do.
func (p place) fail(format string, args ...any) {
	p.v.problems = append(p.v.problems, Problem{Origin: p.v.c.Origin(p.path), Setting: p.path, Text: fmt.Sprintf(format, args...)})
}

// ranges checks a setting, or each field of a list of objects, against the range in the schema.
func (v *validator) ranges(s *Setting) {
	at := v.at(s.Name)
	at.inRange(s, s.value(v.c))
	if s.Fields == nil {
		return
	}
	list := reflect.ValueOf(s.value(v.c))
	for i := range list.Len() {
		for j := range s.Fields {
			f := &s.Fields[j]
			x := list.Index(i).Field(f.field)
			if x.Kind() == reflect.Pointer {
				if x.IsNil() {
					continue
				}
				x = x.Elem()
			}
			at.item(i).part(f.Name).inRange(f, x.Interface())
		}
	}
}

func (p place) inRange(s *Setting, value any) {
	switch {
	case len(s.Enum) > 0:
		if x := value.(string); !slices.Contains(s.Enum, x) {
			p.fail("%s is not one of %s%s", quoteShort(x), s.Range(), didYouMean(x, s.Enum))
		}
	case s.Min != "":
		if x := number(value); x < s.bound(s.Min) || x > s.bound(s.Max) {
			p.fail("%s is out of range: %s", formatText(value), s.Range())
		} else if d, ok := value.(time.Duration); ok && d%time.Millisecond != 0 {
			p.fail("%s is not a whole number of milliseconds", formatText(value))
		}
	}
}

// number is a count, a Size or a duration as a plain number.
func number(value any) int64 { return reflect.ValueOf(value).Int() }

// bound reads one end of the setting's range.
func (s *Setting) bound(text string) int64 {
	x := reflect.New(s.typ)
	if err := setText(x.Interface(), text); err != nil {
		panic(fmt.Sprintf("config: range of %s: %v", s.Name, err)) // a mistake in the tags; every test meets it
	}
	return x.Elem().Int()
}

// relation reports a > b. It blames the one that the user gave: the other may be a default that nobody has seen.
func (v *validator) relation(a, b *Setting) {
	x, y := a.value(v.c), b.value(v.c)
	switch given := func(s *Setting) bool { return v.c.Origin(s.Name).Layer != LayerDefault }; {
	case number(x) <= number(y):
	case given(b) && !given(a):
		v.at(b.Name).tooSmall(y, a)
	default:
		v.at(a.Name).tooLarge(x, b)
	}
}

// tooLarge reports that the value x is more than that of the setting most.
func (p place) tooLarge(x any, most *Setting) {
	c := p.v.c
	p.fail("%s is more than %s (%s, %s): lower %s or raise %s",
		formatText(x), most.Name, formatText(most.value(c)), c.Origin(most.Name), p.path, most.Name)
}

// tooSmall reports that the value x is less than that of the setting least.
func (p place) tooSmall(x any, least *Setting) {
	c := p.v.c
	p.fail("%s is less than %s (%s, %s): raise %s or lower %s",
		formatText(x), least.Name, formatText(least.value(c)), c.Origin(least.Name), p.path, least.Name)
}
