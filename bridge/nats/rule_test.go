package nats

import "testing"

func TestRules(t *testing.T) {
	rules, err := ParseRules([]string{"news", "app.*.* -> {1}/{2}", "log.> -> logs/{1}", "x.*.y.> -> {2}-{1}", "alarm.* -> alarms", "rest.>", "a.{b} -> brace"})
	if err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]string{
		"news": "news", "app.shop.orders": "shop/orders", "log.a": "logs/a", "log.a.b.c": "logs/a.b.c", "x.1.y.2.3": "2.3-1",
		"alarm.fire": "alarms", "rest.a.b": "rest.a.b", "a.{b}": "brace",
	} {
		key, rule := rules.key(subject)
		if key != want || rule < 0 {
			t.Errorf("%s: key %q of rule %d, want %q", subject, key, rule, want)
		}
		if !rules.covers(want) {
			t.Errorf("no gap would be reported to %q", want)
		}
	}
	for _, subject := range []string{"new", "news.a", "app.shop", "app.a.b.c", "log", "x.1.y", "alarm.fire.now", "rest"} {
		if key, rule := rules.key(subject); rule >= 0 {
			t.Errorf("%s: key %q", subject, key)
		}
	}
	for _, key := range []string{"newsroom", "rest", "logs/", "alarm"} {
		if rules.covers(key) {
			t.Errorf("a gap would be reported to %q", key)
		}
	}
}

func TestParseRuleErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":             `has no subject: write "SUBJECT" or "SUBJECT -> KEY", such as "app.*.* -> {1}/{2}"`,
		"a ->":         "has no key after the ->",
		"a..b":         "has an empty token: leave out the dot",
		">.a":          "has a > before its end: it stands for all tokens that follow",
		"a*.b":         `has a wildcard within the token "a*": * and > stand for whole tokens`,
		"a b":          "has a space or a control character in its subject",
		"a.* -> {2}":   "has {2} in its key, and 1 wildcards in its subject: write {1} for the first",
		"a.* -> {}":    "has {} in its key, and 1 wildcards in its subject: write {1} for the first",
		"a -> {1}":     "has {1} in its key, and 0 wildcards in its subject: write {1} for the first",
		"a.> -> b/{0}": "has {0} in its key, and 1 wildcards in its subject: write {1} for the first",
	} {
		if _, err := ParseRule(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for url, ok := range map[string]bool{
		"nats://127.0.0.1:4222": true, "tls://u:p%40@a,nats://b:1": true, "nats://token@h": true, "wss://h:443": true,
		"": false, "h:4222": false, "http://h": false, "nats://": false, "nats://h:0": false, "nats://a,b": false, "nats://:hunter2/x@h": false,
	} {
		if err := CheckURL(url); (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
}
