package auth

import (
	"regexp"
	"slices"
	"strings"

	"fanfare/auth/pattern"
)

// templates are topic selectors of Mercure that are URI templates.
type templates []*regexp.Regexp

func (t templates) match(key string) bool {
	return slices.ContainsFunc(t, func(r *regexp.Regexp) bool { return r.MatchString(key) })
}

// expression is {name} of a URI template of level 1 (RFC 6570, 1.2), and value what it expands to: unreserved and
// percent-encoded characters (3.2.2), so nothing that leads into another segment or to a query.
var expression = regexp.MustCompile(`\{[A-Za-z0-9_.%]+\}`)

const value = `(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*`

// selectors translates the topic selectors of a Mercure token: "*" is every topic, others are topics or URI templates. A
// template with an operator, such as {?query}, grants nothing beyond the topic of its very name.
func selectors(list []string) (patterns []string, more templates) {
	for _, s := range list {
		switch {
		case s == "*":
			patterns = append(patterns, pattern.All)
			continue
		case s == "" || len(s) > maxPatternBytes:
			continue
		}
		patterns = append(patterns, pattern.Quote(s)) // Mercure compares a template with the topic, too
		literals := expression.Split(s, -1)
		if len(literals) == 1 || strings.ContainsAny(strings.Join(literals, ""), "{}") {
			continue
		}
		for i := range literals {
			literals[i] = regexp.QuoteMeta(literals[i])
		}
		if r, err := regexp.Compile(`\A` + strings.Join(literals, value) + `\z`); err == nil {
			more = append(more, r)
		}
	}
	return patterns, more
}
