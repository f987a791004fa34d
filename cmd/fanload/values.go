package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"fanfare/internal/flagvalue"
)

// whole reads a decimal number. It refuses leading zeros, hexadecimal digits and underscores, because shells and people disagree
// on their meaning.
func whole(text string) (int64, error) {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" || digits[0] == '0' && len(digits) > 1 {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is too large", text)
	}
	return n, nil
}

// valueMappers are the decoders of flags. Their errors repeat the tag range.
func valueMappers() []kong.Option {
	return []kong.Option{
		kong.TypeMapper(reflect.TypeFor[time.Duration](), flagvalue.Mapper("10s", flagvalue.Duration)),
		kong.KindMapper(reflect.Int, flagvalue.Mapper("10", whole)),
		kong.KindMapper(reflect.Int64, flagvalue.Mapper("10", whole)),
		kong.KindMapper(reflect.Float64, flagvalue.Mapper("10", flagvalue.Number)),
		kong.KindMapper(reflect.Bool, flagvalue.Bool{}),
	}
}
