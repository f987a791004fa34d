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

// These are the decoders for the flags of pub and sub. Kong puts the flag's name before an error. Their errors name the value
// and give an example; those of kong's own decoders are the errors of Go's parsers.

// valueMapper decodes a flag's text with parse. example is a valid value.
func valueMapper[T any](example string, parse func(text string) (T, error)) kong.Mapper {
	return kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		token := ctx.Scan.Peek()
		switch {
		case token.IsEOL():
			return fmt.Errorf("needs a value, such as %s", example)
		case !token.IsValue() && !negative.MatchString(token.String()):
			return fmt.Errorf("needs a value, such as %s; %q follows it", example, token.String())
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

// negative matches a negative number, which looks like a flag.
var negative = regexp.MustCompile(`^-[0-9]`)

// flagDuration refuses a number without a unit. The settings read it as milliseconds, as egg-sse does, but a person who writes
// --timeout 5 in a shell does not mean that.
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
		return 0, fmt.Errorf("%q is too large for this machine: write less", text)
	}
	return int(n), err
}

// flagBool decodes flags without a value: --raw, and --raw=false.
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
		return fmt.Errorf("%q is not a boolean: write the flag without a value, or with =true or =false", text)
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
