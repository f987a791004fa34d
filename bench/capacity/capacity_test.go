package main

import (
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func output(t *testing.T, args string) string {
	t.Helper()
	var b strings.Builder
	if err := run(strings.Fields(args), &b, io.Discard); err != nil {
		t.Fatalf("%s: %v", args, err)
	}
	return b.String()
}

// questions make the program use every figure.
var questions = []string{
	"--subscribers 1M --broadcasts 1 --events 100k",
	"--subscribers 10M --broadcasts 1 --events 20k --batch 100",
	"--subscribers 100k --broadcasts 0.2 --events 5k --replicas 1 --tls",
	"--subscribers 100k --events 5k --replicas 1 --batch 10 --partitions 2",
	"--subscribers 50k --events 2k --backplane redis",
	"--subscribers 20k --events 1k --backplane embedded",
	"--subscribers 20k --broadcasts 10 --backplane off",
}

// TestArithmetic: a reader who computes what a line says gets what it says. It is computed here by the ordinary rules, from left to right
// within a product.
func TestArithmetic(t *testing.T) {
	lines := 0
	for _, args := range questions {
		for _, m := range regexp.MustCompile(`(?m)^  .*? +([\d,.]+)(?: (?:cores|nodes|GB|Gb/s|ms|s)|/s|%)? = ([\d,. ()*/+e-]+?)(, rounded up|, TOO MUCH.*)?$`).FindAllStringSubmatch(output(t, args), -1) {
			lines++
			got, want := parse(t, m[1]), calculate(t, m[2])
			if m[3] == ", rounded up" {
				want = math.Max(1, math.Ceil(want))
			}
			if math.Abs(got-want) > want*0.005+1e-9 {
				t.Errorf("%s: it says %v, and that is %v", m[0], got, want)
			}
		}
	}
	if lines < 7*12 {
		t.Errorf("%d lines have arithmetic", lines)
	}
}

func parse(t *testing.T, text string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(strings.ReplaceAll(text, ",", ""), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// calculate is a calculator of its own: sums of products of numbers and parentheses.
func calculate(t *testing.T, text string) float64 {
	t.Helper()
	tokens := regexp.MustCompile(`[()*/+-]|[\d,.]+(e\d+)?`).FindAllString(text, -1)
	var sum, product func() float64
	operand := func() (v float64) {
		if tokens[0] == "(" {
			tokens = tokens[1:]
			v = sum()
		} else {
			v = parse(t, tokens[0])
		}
		tokens = tokens[1:] // the number, or ")"
		return v
	}
	product = func() float64 {
		v := operand()
		for len(tokens) > 0 && (tokens[0] == "*" || tokens[0] == "/") {
			times := tokens[0] == "*"
			tokens = tokens[1:]
			if w := operand(); times {
				v *= w
			} else {
				v /= w
			}
		}
		return v
	}
	sum = func() float64 {
		v := product()
		for len(tokens) > 0 && (tokens[0] == "+" || tokens[0] == "-") {
			sign := 1.0
			if tokens[0] == "-" {
				sign = -1
			}
			tokens = tokens[1:]
			v += sign * product()
		}
		return v
	}
	return sum()
}

// TestAnswers pins answers that were computed by hand.
func TestAnswers(t *testing.T) {
	for args, want := range map[string][]string{
		questions[0]: {
			`deliveries +1,100,000/s = 1,000,000 \* 1 \+ 100,000`,
			`and one that may be away +11 nodes = 10 \+ 1`,
			`network to subscribers +2\.34 Gb/s = 1,100,000 \* \(200 \+ 66\) \* 8 / 1e9`,
			`storing +5\.86 cores = 100,001 \* 58\.6 / 1e6`,
			`partitions \(natsPartitions\) +8 = 100,001 / 13,000, rounded up`,
		},
		questions[4]: {`events stored a second, of what was measured +11\.2% = 2,000 / 17,800 \* 100\n`},
		"--subscribers 20k --events 15k --backplane redis": {`+84\.3% = 15,000 / 17,800 \* 100, TOO MUCH`},
		questions[6]: {`for the streams +1 nodes = 20,000 / 100,000, rounded up`},
	} {
		text := output(t, args)
		for _, line := range want {
			if !regexp.MustCompile(strings.ReplaceAll(line, "+84", " +84")).MatchString(text) {
				t.Errorf("%s: nothing like %s in\n%s", args, line, text)
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"":                                   "--subscribers: 0 is less than 1",
		"--subscribers 1M --backplane off":   "one node is not enough, and with backplane off there is only one",
		"--subscribers 10M --events 1M":      "no number of nodes is enough: each reads all 1,000,000 events a second, which takes 4.5 of the 4 cores",
		"--subscribers many":                 `"many" is not a number: write 20, 100k or 1.5M`,
		"--subscribers 1k --backplane kafka": `--backplane: "kafka" is not off`,
		"--subscribers 1k --replicas 5":      "--replicas: 5 was not measured",
		"--subscribers 1k --load 2":          "--load: 2 is not a share",
		"--subscribers 1k --ping -1s":        "--ping: -1s is not a time",
		"--subscribers 1k more":              `"more" is not a flag`,
		"--subscribers 1k --bytes 0":         "--bytes: 0 is less than 1",
		"--subscribers 100k --events 400k --backplane embedded": "one node is not enough",
	} {
		err := run(strings.Fields(args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// TestFigures: every figure is complete and used, and one that a document has is still the document's.
func TestFigures(t *testing.T) {
	f, err := readFigures(figuresFile)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, args := range questions {
		all.WriteString(output(t, args))
	}
	for _, x := range f.list {
		if !strings.Contains(all.String(), x.What) {
			t.Errorf("figure %s is not used", x.Name)
		}
		document := regexp.MustCompile(`(docs/\w+|README)\.md`).FindString(x.Origin)
		if document == "" || x.Name == "publish" { // computed from two of them
			continue
		}
		text, err := os.ReadFile("../../" + document)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(strconv.FormatFloat(x.Value, 'f', -1, 64)) + `(\.0)?\b`).Match(text) {
			t.Errorf("%s does not have %v %s (%s)", document, x.Value, x.Unit, x.Name)
		}
	}
	for _, broken := range []string{`[{"name":"a","value":1,"unit":"us","what":"b"}]`, `[{"name":"a"}]`, `{`} {
		if _, err := readFigures([]byte(broken)); err == nil {
			t.Errorf("%s is accepted", broken)
		}
	}
}

// TestDocument: docs/scaling.md shows what the program prints.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?m)^\\$ go run ./bench/capacity (.*)\n((?:  .*\n)+)").FindAllStringSubmatch(string(text), -1)
	if len(examples) < 3 {
		t.Errorf("%d examples", len(examples))
	}
	for _, m := range examples {
		printed := output(t, m[1])
		for line := range strings.Lines(m[2]) {
			if !strings.Contains(printed, line) {
				t.Errorf("%s does not print %q", m[1], line)
			}
		}
	}
}
