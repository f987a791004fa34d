package config

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"time"

	"github.com/alecthomas/kong"
)

// The values of pub's and sub's flags. kong puts the flag's name in front of an error; these say the value and an example,
// where kong's own mappers hand on what Go's parsers say of it.

// valueMapper reads a flag's text by parse; example is a value that it takes.
func valueMapper[T any](example string, parse func(text string) (T, error)) kong.Mapper {
	return kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		token := ctx.Scan.Peek()
		switch {
		case token.IsEOL():
			return fmt.Errorf("needs a value, such as %s", example)
		case !token.IsValue() && !negative.MatchString(token.String()):
			return fmt.Errorf("needs a value, such as %s, and has %q behind it", example, token.String())
		}
		text := ctx.Scan.Pop().String()
		value, err := parse(text)
		if err != nil {
			return err
		}
		target.Set(reflect.ValueOf(value).Convert(target.Type()))
		return nil
	})
}

// negative looks like a flag and is a number.
var negative = regexp.MustCompile(`^-[0-9]`)

// flagDuration takes no bare number, unlike the settings: egg-sse's milliseconds are not what a person at a shell means by
// --timeout 5.
func flagDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if _, err := parseWhole(text); err == nil && text != "0" {
		return 0, fmt.Errorf("%q has no unit: write %ss, or %sms for milliseconds", text, text, text)
	} else if err == nil {
		return 0, nil
	}
	return 0, fmt.Errorf("%q is not a duration: write a number with a unit, such as 500ms, 10s or 1m30s", text)
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
		return 0, fmt.Errorf("%q is more than this machine can hold", text)
	}
	return int(n), err
}

// flagBool is the mapper of flags without a value: --raw, and --raw=false.
type flagBool struct{}

func (flagBool) IsBool() bool { return true }

func (flagBool) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetBool(true)
		return nil
	}
	text := fmt.Sprint(ctx.Scan.Pop().Value)
	value, err := parseBool(text)
	if err != nil {
		return fmt.Errorf("%w: write it without a value, or =true or =false", err)
	}
	target.SetBool(value)
	return nil
}

func valueMappers() []kong.Option {
	return []kong.Option{
		kong.TypeMapper(reflect.TypeFor[time.Duration](), valueMapper("10s", flagDuration)),
		kong.KindMapper(reflect.Int, valueMapper("10", flagNumber)),
		kong.KindMapper(reflect.Bool, flagBool{}),
		kong.NamedMapper("size", valueMapper(strconv.Quote("64KiB"), flagSize)),
	}
}
