package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/alecthomas/kong"

	"fanfare/internal/flagvalue"
)

// valueMappers are the decoders for the flags of pub and sub. Unlike the settings, these refuse a duration without a unit: the
// settings read it as milliseconds, as egg-sse does, but a person who writes --timeout 5 in a shell does not mean that.
func valueMappers() []kong.Option {
	return []kong.Option{
		kong.TypeMapper(reflect.TypeFor[time.Duration](), flagvalue.Mapper("10s", flagvalue.Duration)),
		kong.KindMapper(reflect.Int, flagvalue.Mapper("10", flagNumber)),
		kong.KindMapper(reflect.Bool, flagvalue.Bool{Parse: parseBool}),
		kong.NamedMapper("size", flagvalue.Mapper(strconv.Quote("64KiB"), flagSize)),
	}
}

func flagNumber(text string) (int, error) {
	n, err := parseWhole(text)
	if err != nil || int64(int(n)) != n {
		return 0, fmt.Errorf("%q %w", text, errWhole)
	}
	return int(n), nil
}

func flagSize(text string) (int, error) {
	n, err := ParseSize(text)
	if err == nil && int64(n) > math.MaxInt {
		return 0, fmt.Errorf("%q is too large for this machine: write less", text)
	}
	return int(n), err
}
