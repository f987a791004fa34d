package flagvalue

import (
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

type flags struct {
	Timeout time.Duration
	Rate    float64 `range:"0 to 100"`
	Raw     bool
	Loose   bool `type:"loose"`
}

func parse(t *testing.T, line string) (flags, error) {
	t.Helper()
	var f flags
	k, err := kong.New(&f, kong.Writers(io.Discard, io.Discard),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), Mapper("10s", Duration)),
		kong.KindMapper(reflect.Float64, Mapper("0.5", Number)),
		kong.KindMapper(reflect.Bool, Bool{}),
		kong.NamedMapper("loose", Bool{Parse: strconv.ParseBool}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Parse(strings.Fields(line))
	return f, err
}

func TestValues(t *testing.T) {
	for line, want := range map[string]flags{
		"--timeout 1m30s --rate 0.25": {Timeout: 90 * time.Second, Rate: 0.25},
		"--timeout 0 --rate -1":       {Rate: -1}, // the range is for errors alone
		"--raw --loose":               {Raw: true, Loose: true},
		"--raw=true --loose=1":        {Raw: true, Loose: true},
		"--raw=false --loose=f":       {},
	} {
		if got, err := parse(t, line); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", line, got, err, want)
		}
	}
}

func TestErrors(t *testing.T) {
	for line, want := range map[string]string{
		"--timeout":       "--timeout: needs a value, such as 10s",
		"--timeout --raw": `--timeout: needs a value, such as 10s, but "--raw" follows`,
		"--timeout 5":     `--timeout: "5" has no unit: write 5s, or 5ms for milliseconds`,
		"--timeout soon":  `--timeout: "soon" is not a duration: write a number with a unit, such as 500ms, 10s or 1m30s`,
		"--rate":          "--rate: needs a value, such as 0.5: give 0 to 100",
		"--rate --raw":    `--rate: needs a value, such as 0.5, but "--raw" follows: give 0 to 100`,
		"--rate NaN":      `--rate: "NaN" is not a number: give 0 to 100`,
		"--rate 1e999":    `--rate: "1e999" is not a number: give 0 to 100`,
		"--raw=1":         `--raw: "1" is not a boolean: write the flag without a value, or with =true or =false`,
		"--loose=maybe":   `--loose: "maybe" is not a boolean: write the flag without a value, or with =true or =false`,
	} {
		if _, err := parse(t, line); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", line, err, want)
		}
	}
}
