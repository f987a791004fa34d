package auth

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"fanfare/auth/internal/strictjson"
	"fanfare/auth/pattern"
)

// readClaim reads {"subscribe": [...], "publish": [...]} into g. It refuses a list that it does not understand in full, so that a
// mistake is seen before it is in use.
func readClaim(g *Grant, claim any) error {
	lists, ok := claim.(map[string]any)
	if !ok {
		return invalid("the claim with the keys is not an object")
	}
	subscribe, ok1 := patternList(lists["subscribe"])
	publish, ok2 := patternList(lists["publish"])
	if !ok1 || !ok2 {
		return invalid("the claim with the keys has something other than lists of valid patterns, or too many")
	}
	g.Subscribe, g.Publish = subscribe, publish
	return nil
}

// readMercure reads the claim of Mercure's tokens into g. Its other fields, such as payload, are for Mercure.
func readMercure(g *Grant, claim any) error {
	lists, ok := claim.(map[string]any)
	if !ok {
		return invalid("the claim mercure is not an object")
	}
	subscribe, ok1 := strictjson.Strings(lists["subscribe"])
	publish, ok2 := strictjson.Strings(lists["publish"])
	if !ok1 || !ok2 || len(subscribe)+len(publish) > maxPatterns {
		return invalid("the claim mercure has something other than lists of selectors, or too many")
	}
	g.Subscribe, g.subscribeTemplates = selectors(subscribe)
	g.Publish, g.publishTemplates = selectors(publish)
	return nil
}

// patternList reads a list of patterns of which each is valid.
func patternList(v any) ([]string, bool) {
	list, ok := strictjson.Strings(v)
	if !ok || len(list) > maxPatterns {
		return nil, false
	}
	for _, p := range list {
		if len(p) > maxPatternBytes || pattern.Check(p) != nil {
			return nil, false
		}
	}
	return list, true
}

// subjectOK reports whether a subject can stand in a log line and a query.
func subjectOK(s string) bool {
	return len(s) <= maxSubjectBytes && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
