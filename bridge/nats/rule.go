package nats

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Rule maps subjects to keys. Its text is "SUBJECT" or "SUBJECT -> KEY". SUBJECT may have the wildcards of NATS: * is one token,
// > one or more at the end. {1}, {2} and so on in KEY stand for what the first, the second wildcard matches. Without KEY the
// subject is the key.
type Rule struct {
	subject string
	tokens  []string
	key     []string // literal text and, at odd places, the number of a wildcard; nil: the subject
	keys    *regexp.Regexp
}

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// ParseRule reads a rule. White space around the parts is ignored.
func ParseRule(text string) (Rule, error) {
	subject, key, mapped := strings.Cut(text, "->")
	r := Rule{subject: strings.TrimSpace(subject)}
	key = strings.TrimSpace(key)
	switch {
	case r.subject == "":
		return Rule{}, errors.New(`has no subject: write "SUBJECT" or "SUBJECT -> KEY", such as "app.*.* -> {1}/{2}"`)
	case mapped && key == "":
		return Rule{}, errors.New("has no key after the ->")
	}
	r.tokens = strings.Split(r.subject, ".")
	wildcards := 0
	for i, token := range r.tokens {
		switch {
		case token == "":
			return Rule{}, errors.New("has an empty token: leave out the dot")
		case token == ">" && i < len(r.tokens)-1:
			return Rule{}, errors.New("has a > before its end: it stands for all tokens that follow")
		case token == "*" || token == ">":
			wildcards++
		case strings.ContainsAny(token, "*>"):
			return Rule{}, fmt.Errorf("has a wildcard within the token %q: * and > stand for whole tokens", token)
		case strings.ContainsAny(token, " \t\r\n\x00"):
			return Rule{}, errors.New("has a space or a control character in its subject")
		}
	}
	if !mapped {
		r.keys = regexp.MustCompile("^" + r.pattern() + "$")
		return r, nil
	}
	at, pattern := 0, "^"
	for _, m := range placeholder.FindAllStringSubmatchIndex(key, -1) {
		n, err := strconv.Atoi(key[m[2]:m[3]])
		if err != nil || n < 1 || n > wildcards {
			return Rule{}, fmt.Errorf("has %s in its key, and %d wildcards in its subject: write {1} for the first", key[m[0]:m[1]], wildcards)
		}
		r.key = append(r.key, key[at:m[0]], strconv.Itoa(n))
		pattern += regexp.QuoteMeta(key[at:m[0]]) + "(?s:.+)"
		at = m[1]
	}
	r.key = append(r.key, key[at:])
	r.keys = regexp.MustCompile(pattern + regexp.QuoteMeta(key[at:]) + "$")
	return r, nil
}

// pattern is a regular expression for the subjects of the rule.
func (r Rule) pattern() string {
	parts := make([]string, len(r.tokens))
	for i, token := range r.tokens {
		switch token {
		case "*":
			parts[i] = "[^.]+"
		case ">":
			parts[i] = "(?s:.+)"
		default:
			parts[i] = regexp.QuoteMeta(token)
		}
	}
	return strings.Join(parts, `\.`)
}

// match reports whether the rule covers a subject, and what its wildcards stand for.
func (r Rule) match(subject string) (wildcards []string, ok bool) {
	tokens := strings.Split(subject, ".")
	for i, token := range r.tokens {
		switch {
		case i >= len(tokens):
			return nil, false
		case token == ">":
			return append(wildcards, strings.Join(tokens[i:], ".")), true
		case token == "*":
			wildcards = append(wildcards, tokens[i])
		case token != tokens[i]:
			return nil, false
		}
	}
	return wildcards, len(tokens) == len(r.tokens)
}

// fill is the key of a subject whose wildcards are these.
func (r Rule) fill(subject string, wildcards []string) string {
	if r.key == nil {
		return subject
	}
	var b strings.Builder
	for i, part := range r.key {
		if i%2 == 1 {
			n, _ := strconv.Atoi(part) // ParseRule has checked it
			part = wildcards[n-1]
		}
		b.WriteString(part)
	}
	return b.String()
}

// Rules say which subjects are read, and to which keys they are published. The first rule that covers a subject counts.
type Rules []Rule

// ParseRules reads rules. The error names the text at fault.
func ParseRules(texts []string) (Rules, error) {
	rules := make(Rules, 0, len(texts))
	for _, text := range texts {
		r, err := ParseRule(text)
		if err != nil {
			return nil, fmt.Errorf("%q %w", text, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// key returns the key of a subject, and the rule that counts for it.
func (rs Rules) key(subject string) (key string, rule int) {
	for i, r := range rs {
		if wildcards, ok := r.match(subject); ok {
			return r.fill(subject, wildcards), i
		}
	}
	return "", -1
}

// covers reports whether messages may be published to the key. It errs on the side of true: a key that looks like one of a
// rule may come from elsewhere.
func (rs Rules) covers(key string) bool {
	for _, r := range rs {
		if r.keys.MatchString(key) {
			return true
		}
	}
	return false
}

// fixedKeys returns the keys that do not depend on a wildcard.
func (rs Rules) fixedKeys() (keys []string) {
	for _, r := range rs {
		switch {
		case len(r.key) == 1: // no placeholder
			keys = append(keys, r.key[0])
		case r.key == nil && !strings.ContainsAny(r.subject, "*>"):
			keys = append(keys, r.subject)
		}
	}
	return keys
}
