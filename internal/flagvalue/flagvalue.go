// Package flagvalue decodes the values of command-line flags for kong. Its errors name the value, what the flag accepts, and how
// to write it. The errors of kong's own decoders are those of Go's parsers.
//
//	kong.New(&flags,
//		kong.TypeMapper(reflect.TypeFor[time.Duration](), flagvalue.Mapper("10s", flagvalue.Duration)),
//		kong.KindMapper(reflect.Bool, flagvalue.Bool{}))
package flagvalue

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"time"

	"github.com/alecthomas/kong"
)

// Mapper decodes a flag's text with parse. example is a valid value. A flag can have the tag range, such as range:"1 to 100",
// which errors repeat; parse does not check it. Kong puts the flag's name before an error.
func Mapper[T any](example string, parse func(text string) (T, error)) kong.Mapper {
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
			return fmt.Errorf("needs a value, such as %s, but %q follows%s", example, token.String(), give)
		}
		value, err := parse(ctx.Scan.Pop().String())
		if err != nil {
			return fmt.Errorf("%w%s", err, give)
		}
		target.Set(reflect.ValueOf(value).Convert(target.Type()))
		return nil
	})
}

// negative matches a negative number, which looks like a flag.
var negative = regexp.MustCompile(`^-[0-9]`)

// Number reads a finite number.
func Number(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return v, nil
}

// Duration reads a duration. It refuses a number without a unit, except 0: some people mean seconds by it, others milliseconds.
func Duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if n, err := Number(text); err == nil && n == 0 {
		return 0, nil
	} else if err == nil {
		return 0, fmt.Errorf("%q has no unit: write %ss, or %sms for milliseconds", text, text, text)
	}
	return 0, fmt.Errorf("%q is not a duration: write a number with a unit, such as 500ms, 10s or 1m30s", text)
}

// Bool decodes flags without a value, such as --raw, and --raw=false.
type Bool struct {
	// Parse reads the value. Nil: only true and false.
	Parse func(text string) (bool, error)
}

// IsBool tells kong that the flag needs no value.
func (Bool) IsBool() bool { return true }

// Decode implements kong.Mapper.
func (b Bool) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetBool(true)
		return nil
	}
	text := fmt.Sprint(ctx.Scan.Pop().Value)
	value, err := text == "true", error(nil)
	if b.Parse != nil {
		value, err = b.Parse(text)
	} else if text != "true" && text != "false" {
		err = strconv.ErrSyntax
	}
	if err != nil {
		return fmt.Errorf("%q is not a boolean: write the flag without a value, or with =true or =false", text)
	}
	target.SetBool(value)
	return nil
}
