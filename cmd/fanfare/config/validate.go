package config

import (
	"cmp"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Validate checks each value against its range and the settings against each other. The error is of type Problems
// and names every problem with its setting, value, range and origin. A Config made in code is checked as well; its
// values then count as defaults.
func (c *Config) Validate() error { return c.validate().err() }

func (c *Config) validate() Problems {
	v := &validator{c: c}
	for i := range schema {
		s := &schema[i]
		v.inRange(s, s.Name, s.value(c))
		if s.Fields != nil {
			v.objects(s)
		}
	}
	v.listeners()
	v.stream()
	v.headers("headers", c.Headers, fixedHeaders)
	v.limits()
	v.redis()
	v.rules()
	v.schedules()
	return v.problems
}

type validator struct {
	c        *Config
	problems Problems
}

func (v *validator) fail(path, format string, args ...any) {
	v.problems = append(v.problems, Problem{Origin: v.c.Origin(path), Setting: path, Text: fmt.Sprintf(format, args...)})
}

// inRange checks value against the tags of s; at is the path of the value, which may be a rule's.
func (v *validator) inRange(s *Setting, at string, value any) {
	if s.Min == "" && len(s.Enum) == 0 {
		return
	}
	switch x := value.(type) {
	case string:
		if !slices.Contains(s.Enum, x) {
			hint := ""
			if k := nearest(x, s.Enum); k != "" {
				hint = "; did you mean " + k + "?"
			}
			v.fail(at, "%s is none of %s%s", quoteShort(x), s.Range(), hint)
		}
	case int:
		checkRange(v, s, at, x)
	case Size:
		checkRange(v, s, at, x)
	case time.Duration:
		if checkRange(v, s, at, x) && x%time.Millisecond != 0 {
			v.fail(at, "%s is not a whole number of milliseconds", formatDuration(x))
		}
	}
}

// objects checks the fields of a list of objects against their ranges.
func (v *validator) objects(s *Setting) {
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
			v.inRange(f, fmt.Sprintf("%s[%d].%s", s.Name, i, f.Name), x.Interface())
		}
	}
}

func checkRange[T cmp.Ordered](v *validator, s *Setting, at string, x T) bool {
	var lowest, highest T
	for _, end := range []struct {
		target *T
		text   string
	}{{&lowest, s.Min}, {&highest, s.Max}} {
		if err := setText(end.target, end.text); err != nil {
			panic(fmt.Sprintf("config: range of %s: %v", s.Name, err)) // a mistake in the tags; every test meets it
		}
	}
	if x < lowest || x > highest {
		v.fail(at, "%s is out of range: %s", formatText(x), s.Range())
		return false
	}
	return true
}

func (v *validator) stream() {
	c := v.c
	clean := path.Clean("/" + strings.TrimLeft(c.Path, "/"))
	if strings.HasSuffix(c.Path, "/") && clean != "/" {
		clean += "/"
	}
	switch {
	case !strings.HasPrefix(c.Path, "/"):
		v.fail("path", "%s must begin with a slash: write %q", quoteShort(c.Path), "/"+c.Path)
	case strings.ContainsAny(c.Path, "?#"):
		v.fail("path", "%s must not have a query or fragment: keys are named by the client (?connectKey=K)", quoteShort(c.Path))
	case strings.ContainsFunc(c.Path, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '%' || r == '\\' }):
		v.fail("path", "%s may hold visible ASCII only, and neither %% nor a backslash", quoteShort(c.Path))
	case clean != c.Path:
		v.fail("path", "%s can never match, because request paths are cleaned: write %q", quoteShort(c.Path), clean)
	case c.Path == "/" && c.Page:
		v.fail("path", "\"/\" is where the built-in page is: choose another path or set page to false")
	}
	switch {
	case c.CacheKey == "":
		v.fail("cacheKey", "must not be empty: it is the key of those that name none (default %q)", byName["cacheKey"].Default)
	case !utf8.ValidString(c.CacheKey):
		v.fail("cacheKey", "%s is not UTF-8", quoteShort(c.CacheKey))
	case int64(len(c.CacheKey)) > int64(c.MaxKeyBytes) && c.MaxKeyBytes > 0:
		v.fail("cacheKey", "has %d bytes, more than maxKeyBytes allows (%s, %s)", len(c.CacheKey), c.MaxKeyBytes, c.Origin("maxKeyBytes"))
	}
}

func (v *validator) limits() {
	c := v.c
	atMost(v, "maxEventBytes", c.MaxEventBytes, "historyBytes", c.HistoryBytes)
	atMost(v, "maxEventBytes", c.MaxEventBytes, "maxBodyBytes", c.MaxBodyBytes)
	atMost(v, "historyBytes", c.HistoryBytes, "historyTotalBytes", c.HistoryTotalBytes)
	atMost(v, "retryMin", c.RetryMin, "retryMax", c.RetryMax)
}

// atMost reports a > b at the one of the two that the user gave; the other may be a default that nobody has seen.
func atMost[T cmp.Ordered](v *validator, a string, x T, b string, y T) {
	if x <= y {
		return
	}
	if v.c.Origin(a).Layer == LayerDefault && v.c.Origin(b).Layer != LayerDefault {
		v.fail(b, "%s is less than %s (%s, %s): raise %s or lower %s", formatText(y), a, formatText(x), v.c.Origin(a), b, a)
		return
	}
	v.fail(a, "%s is more than %s (%s, %s): lower %s or raise %s", formatText(x), b, formatText(y), v.c.Origin(b), a, b)
}

func (v *validator) rules() {
	c := v.c
	first := make(map[string]int)
	for i := range c.Keys {
		where := fmt.Sprintf("keys[%d]", i)
		r := &c.Keys[i]
		if r.HistoryBytes != nil {
			at := where + ".historyBytes"
			if *r.HistoryBytes < c.MaxEventBytes {
				v.fail(at, "%s is less than maxEventBytes (%s, %s)", r.HistoryBytes, c.MaxEventBytes, c.Origin("maxEventBytes"))
			}
			if *r.HistoryBytes > c.HistoryTotalBytes {
				v.fail(at, "%s is more than historyTotalBytes (%s, %s)", r.HistoryBytes, c.HistoryTotalBytes, c.Origin("historyTotalBytes"))
			}
		}
		at := where + ".match"
		if _, err := path.Match(r.Match, ""); err != nil {
			v.fail(at, "%s is a bad pattern: a [ without ], an empty [] or a backslash at the end (syntax: * ? [a-z] and \\ before a literal)", quoteShort(r.Match))
		} else if r.Match == "" {
			v.fail(at, "must not be empty: \"*\" matches all keys without a slash")
		} else if j, twice := first[r.Match]; twice {
			v.fail(at, "%s is never used: keys[%d] has the same pattern, and the first match counts", quoteShort(r.Match), j)
		} else {
			first[r.Match] = i
		}
	}
}
