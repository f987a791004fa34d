package report

import (
	"math"
	"strconv"
	"strings"
)

// duration formats microseconds.
func duration(us float64) string {
	switch {
	case us < 1000:
		return digits(us) + " us"
	case us < 1e6:
		return digits(us/1e3) + " ms"
	default:
		return digits(us/1e6) + " s"
	}
}

// size formats bytes, with decimal units.
func size(b float64) string {
	switch a := math.Abs(b); {
	case a < 1e3:
		return digits(b) + " B"
	case a < 1e6:
		return digits(b/1e3) + " kB"
	case a < 1e9:
		return digits(b/1e6) + " MB"
	default:
		return digits(b/1e9) + " GB"
	}
}

// digits formats a number with about three digits.
func digits(v float64) string {
	prec := 0
	switch a := math.Abs(v); {
	case v == math.Trunc(v) && a < 1e6, a >= 100:
	case a >= 10:
		prec = 1
	default:
		prec = 2
	}
	return strconv.FormatFloat(v, 'f', prec, 64)
}

// number formats a count with commas between thousands.
func number(v float64) string {
	if v != math.Trunc(v) && math.Abs(v) < 1000 {
		return digits(v)
	}
	s := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	var b strings.Builder
	for i := range len(s) {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteByte(s[i])
	}
	return sign + b.String()
}
