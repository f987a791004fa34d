package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// sizeUnits are ordered from large to small, so String finds the shortest exact text.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3},
}

var errSize = errors.New("is not a size: write bytes (65536) or a whole number with kB, MB, GB, KiB, MiB or GiB (64KiB)")

// ParseSize reads a number of bytes ("65536"), or one with a unit: kB, MB and GB are powers of 1000; KiB, MiB and GiB are
// powers of 1024. Case is ignored, and so is a space before the unit.
func ParseSize(text string) (Size, error) {
	digits := strings.TrimSpace(text)
	factor := int64(1)
	unit := strings.TrimLeft(digits, "+-0123456789")
	digits = strings.TrimRight(digits[:len(digits)-len(unit)], " ")
	switch name := strings.TrimSpace(unit); {
	case name == "" || strings.EqualFold(name, "B"):
	default:
		factor = 0
		for _, u := range sizeUnits {
			if strings.EqualFold(name, u.name) {
				factor = u.bytes
			}
		}
		if factor == 0 {
			return 0, fmt.Errorf("%q %w", text, errSize)
		}
	}
	n, err := parseWhole(digits)
	switch {
	case errors.Is(err, strconv.ErrRange) || n > math.MaxInt64/factor:
		return 0, fmt.Errorf("%q is too large for a size", text)
	case err != nil:
		return 0, fmt.Errorf("%q %w", text, errSize)
	case n < 0:
		return 0, fmt.Errorf("%q is negative: write 0 or more", text)
	}
	return Size(n * factor), nil
}

// String is the shortest text that ParseSize reads as the same number: "16MiB", "64kB", "1023".
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
