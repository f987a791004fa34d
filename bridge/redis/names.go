package redis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Rule says which key the channels or streams of certain names are. Its text is "NAME -> KEY", where each side may have
// one *: that of KEY stands for what that of NAME stands for.
//
//   - -> *              a channel is the key of its name
//     app:* -> *          without the prefix
//   - -> redis/*        with one
//     alarm.* -> alarms   all of them are one key
type Rule struct {
	name, key affix
}

// affix is a text with one * in it or none.
type affix struct {
	prefix, suffix string
	star           bool
}

func parseAffix(text string) (affix, error) {
	var a affix
	a.prefix, a.suffix, a.star = strings.Cut(text, "*")
	switch {
	case text == "":
		return a, errors.New("a side is empty")
	case strings.Contains(a.suffix, "*"):
		return a, fmt.Errorf("%q has more than one *", text)
	}
	return a, nil
}

// match returns what the * stands for in name.
func (a affix) match(name string) (middle string, ok bool) {
	if !a.star {
		return "", name == a.prefix
	}
	if len(name) < len(a.prefix)+len(a.suffix) || !strings.HasPrefix(name, a.prefix) || !strings.HasSuffix(name, a.suffix) {
		return "", false
	}
	return name[len(a.prefix) : len(name)-len(a.suffix)], true
}

func (a affix) fill(middle string) string {
	if !a.star {
		return a.prefix
	}
	return a.prefix + middle + a.suffix
}

// ParseRule reads a rule. White space around the names is not part of them.
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
		return Rule{}, errors.New("the key has a * but the name has none, so that nothing says what it stands for")
	}
	return r, nil
}

// Names says what is read from Redis, and which keys it becomes. It is immutable.
type Names struct {
	rules             []Rule // the first whose name matches counts
	channels, streams selection
}

// NewNames makes the names of channels, streams and rules as Options has them. The error names the text at fault.
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

// named reports whether the name itself is in the list.
func (s selection) named(name string) bool { return slices.Contains(s.names, name) }

// covers reports whether Redis would deliver the name, if it is in the list or by a pattern.
func (s selection) covers(name string) bool {
	return s.named(name) || s.pattern(name) >= 0
}

// pattern is the number of the first pattern that matches name, or -1.
func (s selection) pattern(name string) int {
	return slices.IndexFunc(s.patterns, func(p string) bool { return matches(p, name) })
}

var errNoRule = errors.New("no rule of redisKeys makes a key of this name")

// key returns the key of a name, false if no rule has one.
func (n *Names) key(name string) (key string, ok bool) {
	for _, r := range n.rules {
		if middle, ok := r.name.match(name); ok {
			key = r.key.fill(middle)
			return key, key != ""
		}
	}
	return "", false
}

// origins reports whether a name of which key is the key satisfies want. Of a rule that makes one key of many names,
// nobody knows which there are: then it reports true.
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
		if own, ok := n.key(name); ok && own == key && want(name) { // unless an earlier rule takes the name
			return true
		}
	}
	return false
}

// Streamed reports whether the key gets the entries of a stream.
func (n *Names) Streamed(key string) bool {
	return !n.streams.empty() && n.origins(key, n.streams.covers)
}
