package redis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Rule maps the names of channels and streams to keys. Its text is "NAME -> KEY". Each side may have one *: the * in KEY is
// replaced by the text that the * in NAME matches.
//
//   - -> *              the key is the name
//     app:* -> *          the key is the name without its prefix
//   - -> redis/*        the key is the name with a prefix
//     alarm.* -> alarms   many channels, one key
type Rule struct {
	name, key affix
}

// affix is a text with at most one *, split at it.
type affix struct {
	prefix, suffix string
	star           bool
}

func parseAffix(text string) (affix, error) {
	var a affix
	a.prefix, a.suffix, a.star = strings.Cut(text, "*")
	switch {
	case text == "":
		return a, errors.New("one side of the -> is empty")
	case strings.Contains(a.suffix, "*"):
		return a, fmt.Errorf("%q has more than one *", text)
	}
	return a, nil
}

// match reports whether a matches name, and what its * stands for.
func (a affix) match(name string) (middle string, ok bool) {
	if !a.star {
		return "", name == a.prefix
	}
	if len(name) < len(a.prefix)+len(a.suffix) || !strings.HasPrefix(name, a.prefix) || !strings.HasSuffix(name, a.suffix) {
		return "", false
	}
	return name[len(a.prefix) : len(name)-len(a.suffix)], true
}

// fill replaces the * by middle.
func (a affix) fill(middle string) string {
	if !a.star {
		return a.prefix
	}
	return a.prefix + middle + a.suffix
}

// ParseRule reads a rule. White space around the names is ignored.
func ParseRule(text string) (Rule, error) {
	parts := strings.Split(text, "->")
	if len(parts) != 2 {
		return Rule{}, errors.New(`must be "NAME -> KEY", such as "app:* -> *"`)
	}
	var r Rule
	var err error
	if r.name, err = parseAffix(strings.TrimSpace(parts[0])); err != nil {
		return Rule{}, err
	}
	if r.key, err = parseAffix(strings.TrimSpace(parts[1])); err != nil {
		return Rule{}, err
	}
	if r.key.star && !r.name.star {
		return Rule{}, errors.New("the key has a * but the name has none: write the name with a *, or the key without")
	}
	return r, nil
}

// Names says which channels and streams are read from Redis, and to which keys they are published. It is immutable.
type Names struct {
	rules             []Rule // the first rule that matches a name counts
	channels, streams selection
}

// NewNames makes Names from names and patterns of channels and streams, and the texts of rules. Without rules, each name is
// its own key. The error names the text at fault.
func NewNames(channels, streams, rules []string) (*Names, error) {
	n := new(Names)
	for _, text := range rules {
		r, err := ParseRule(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		n.rules = append(n.rules, r)
	}
	if len(n.rules) == 0 {
		n.rules = []Rule{{name: affix{star: true}, key: affix{star: true}}}
	}
	var err error
	if n.channels, err = newSelection(channels); err != nil {
		return nil, err
	}
	if n.streams, err = newSelection(streams); err != nil {
		return nil, err
	}
	return n, nil
}

// selection is a list of names and patterns.
type selection struct {
	names, patterns []string
}

func newSelection(list []string) (s selection, err error) {
	for _, text := range list {
		if err := CheckPattern(text); err != nil {
			return s, fmt.Errorf("%q: %w", text, err)
		}
		to := &s.names
		if isPattern(text) {
			to = &s.patterns
		}
		if !slices.Contains(*to, text) {
			*to = append(*to, text)
		}
	}
	return s, nil
}

func (s selection) empty() bool { return len(s.names) == 0 && len(s.patterns) == 0 }

// named reports whether the list has the name itself.
func (s selection) named(name string) bool { return slices.Contains(s.names, name) }

// covers reports whether the list has the name itself or a pattern that matches it.
func (s selection) covers(name string) bool {
	return s.named(name) || s.pattern(name) >= 0
}

// pattern is the index of the first pattern that matches name, or -1.
func (s selection) pattern(name string) int {
	return slices.IndexFunc(s.patterns, func(p string) bool { return matches(p, name) })
}

var errNoRule = errors.New("no rule of redisKeys gives this name a key: add one")

// key returns the key of a name, and false if no rule gives it one.
func (n *Names) key(name string) (key string, ok bool) {
	for _, r := range n.rules {
		if middle, ok := r.name.match(name); ok {
			key = r.key.fill(middle)
			return key, key != ""
		}
	}
	return "", false
}

// origins reports whether some name that maps to key satisfies want. If a rule maps many names to this one key, the names
// cannot be listed, and it reports true.
func (n *Names) origins(key string, want func(name string) bool) bool {
	for _, r := range n.rules {
		middle, ok := r.key.match(key)
		if !ok {
			continue
		}
		if r.name.star && !r.key.star {
			return true
		}
		name := r.name.fill(middle)
		if own, ok := n.key(name); ok && own == key && want(name) { // an earlier rule may map the name elsewhere
			return true
		}
	}
	return false
}

// Streamed reports whether entries of a stream are published to the key.
func (n *Names) Streamed(key string) bool {
	return !n.streams.empty() && n.origins(key, n.streams.covers)
}
