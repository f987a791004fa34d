package report

import (
	"math"
	"strconv"
	"strings"
)

// cell escapes a text for a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ").Replace(s)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(n) + " " + what + "s"
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// micros formats microseconds.
func micros(us float64) string {
	switch {
	case us < 1e3:
		return digits(us) + " us"
	case us < 1e6:
		return digits(us/1e3) + " ms"
	default:
		return digits(us/1e6) + " s"
	}
}

// bytes formats a size, with decimal units.
func bytes(n float64) string {
	switch {
	case n < 0:
		return "-" + bytes(-n)
	case n < 1e3:
		return digits(n) + " B"
	case n < 1e6:
		return digits(n/1e3) + " kB"
	case n < 1e9:
		return digits(n/1e6) + " MB"
	default:
		return digits(n/1e9) + " GB"
	}
}

// perSecond formats a rate, with three digits.
func perSecond(n float64) string {
	if n < 1000 {
		return digits(n) + "/s"
	}
	scale := math.Pow(10, math.Floor(math.Log10(n))-2)
	return thousands(int(math.Round(n/scale)*scale)) + "/s"
}

// digits formats a number with about three digits.
func digits(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}
