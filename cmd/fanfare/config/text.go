package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The environment, the flags and the tags of the schema contain texts. The scalars of the file are decoded by the same
// functions, so a value means the same in all of them.

var errWhole = errors.New("is not a whole number: write only digits, such as 1000")

// parseWhole reads a decimal number. It refuses leading zeros, hexadecimal digits and underscores, because YAML 1.1, YAML 1.2
// and the shells disagree on their meaning.
func parseWhole(text string) (int64, error) {
	digits := strings.TrimLeft(text, "+-")
	if len(text)-len(digits) > 1 || digits == "" || strings.Trim(digits, "0123456789") != "" || (digits[0] == '0' && len(digits) > 1) {
		return 0, errWhole
	}
	return strconv.ParseInt(text, 10, 64)
}

func parseInt(text string) (int, error) {
	n, err := parseWhole(strings.TrimSpace(text))
	switch {
	case errors.Is(err, strconv.ErrRange) || (err == nil && int64(int(n)) != n):
		return 0, fmt.Errorf("%q is too large for a number", text)
	case err != nil:
		return 0, fmt.Errorf("%q %w", text, err)
	}
	return int(n), nil
}

// parseDuration reads a Go duration ("1m30s"), or a number without a unit as milliseconds, as egg-sse does.
func parseDuration(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	ms, err := parseWhole(text)
	if err == nil && ms <= math.MaxInt64/int64(time.Millisecond) && ms >= math.MinInt64/int64(time.Millisecond) {
		return time.Duration(ms) * time.Millisecond, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return d, nil
	}
	return 0, fmt.Errorf("%q is not a duration: write a number with a unit (500ms, 10s, 1m30s, 2h) or milliseconds (10000)", text)
}

func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is not a boolean: write true or false", text)
}

// parseList splits at commas; empty elements are dropped.
func parseList(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// parseHeaders reads "Name: value" lines. The value may be empty. Validate checks the name.
func parseHeaders(text string) (map[string]string, error) {
	headers := make(map[string]string)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%q has no colon: write \"Name: value\", one header per line", line)
		}
		name = strings.TrimSpace(name)
		if _, twice := headers[name]; twice {
			return nil, fmt.Errorf("%q is given twice", name)
		}
		headers[name] = strings.TrimSpace(value)
	}
	return headers, nil
}

// setText decodes text into target, a pointer to the type of a setting. If it returns an error, target is unchanged.
func setText(target any, text string) error {
	switch t := target.(type) {
	case *string:
		*t = text
	case *Secret:
		*t = Secret(text)
	case *bool:
		return setParsed(t, text, parseBool)
	case *int:
		return setParsed(t, text, parseInt)
	case *time.Duration:
		return setParsed(t, text, parseDuration)
	case *Size:
		return setParsed(t, text, ParseSize)
	case *[]string:
		*t = parseList(text)
	case *map[string]string:
		return setParsed(t, text, parseHeaders)
	default:
		return fmt.Errorf("can be set in the file only (%T)", target)
	}
	return nil
}

func setParsed[T any](target *T, text string, parse func(string) (T, error)) error {
	value, err := parse(text)
	if err == nil {
		*target = value
	}
	return err
}

// formatText is the inverse of setText. Secrets are redacted.
func formatText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case Secret:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case time.Duration:
		return formatDuration(v)
	case Size:
		return v.String()
	case []string:
		return strings.Join(v, ",")
	case map[string]string:
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			lines = append(lines, name+": "+v[name])
		}
		return strings.Join(lines, "\n")
	default:
		return fmt.Sprint(v)
	}
}
