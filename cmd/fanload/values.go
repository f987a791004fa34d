package main

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// The values of flags. kong puts the flag's name in front of an error; these say the value, what the flag takes, and how to write
// it, where kong's own mappers hand on what Go's parsers say. What a flag takes is its tag range.

// valueMapper reads a flag's text by parse; example is a value that flags of the kind take.
func valueMapper[T any](example string, parse func(text string) (T, error)) kong.Mapper {
	return kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		give := ""
		if r := ctx.Value.Tag.Get("range"); r != "" {
			give = ": give " + r
		}
		token := ctx.Scan.Peek()
		switch {
		case token.IsEOL():
			return fmt.Errorf("needs a value, such as %s%s", example, give)
		case !token.IsValue() && !negative.MatchString(token.String()):
			return fmt.Errorf("needs a value, such as %s, and has %q behind it%s", example, token.String(), give)
		}
		text := ctx.Scan.Pop().String()
		value, err := parse(text)
		if err != nil {
			return fmt.Errorf("%w%s", err, give)
		}
		target.Set(reflect.ValueOf(value).Convert(target.Type()))
		return nil
	})
}

// negative looks like a flag and is a number.
var negative = regexp.MustCompile(`^-[0-9]`)

// whole reads a decimal number. Leading zeros, hexadecimal and underscores are refused: shells and people disagree about what
// they mean.
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

func number(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return v, nil
}

// span reads a duration. It takes no bare number: seconds and milliseconds are both meant by people who write one.
func span(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if n, err := number(text); err == nil && n == 0 {
		return 0, nil
	} else if err == nil {
		return 0, fmt.Errorf("%q has no unit: write %ss, or %sms for milliseconds", text, text, text)
	}
	return 0, fmt.Errorf("%q is not a duration: write a number with a unit, such as 500ms, 10s or 1m30s", text)
}

// boolMapper is that of flags without a value: --insecure, and --insecure=false.
type boolMapper struct{}

func (boolMapper) IsBool() bool { return true }

func (boolMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetBool(true)
		return nil
	}
	text := fmt.Sprint(ctx.Scan.Pop().Value)
	if text != "true" && text != "false" {
		return fmt.Errorf("%q is neither true nor false: write the flag without a value, or =true or =false", text)
	}
	target.SetBool(text == "true")
	return nil
}

func valueMappers() []kong.Option {
	return []kong.Option{
		kong.TypeMapper(reflect.TypeFor[time.Duration](), valueMapper("10s", span)),
		kong.KindMapper(reflect.Int, valueMapper("10", whole)),
		kong.KindMapper(reflect.Int64, valueMapper("10", whole)),
		kong.KindMapper(reflect.Float64, valueMapper("10", number)),
		kong.KindMapper(reflect.Bool, boolMapper{}),
	}
}
