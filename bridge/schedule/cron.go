package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/cronexpr"
)

// Cron is a set of times, given by an expression and a time zone.
type Cron struct {
	expr *cronexpr.Expression
	zone *time.Location
}

// macros are the names that may stand for an expression.
var macros = []string{"@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"}

// ParseCron reads a cron expression. It has five fields: minute, hour, day of month, month and day of week. With six fields,
// the first is the second. Or it is one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually. A field holds
// *, numbers, names (JAN, MON), ranges, steps and lists; the days also take L, W and # as in cronexpr. If both the day of the
// month and the day of the week are given, a day that matches either counts. zone is a name of the IANA database, or "" for
// the machine's own zone.
//
// A time in the hour that the change to summer time skips does not occur on that day. A time in the hour that is repeated
// occurs twice.
func ParseCron(expr, zone string) (*Cron, error) {
	location := time.Local
	if zone != "" {
		var err error
		if location, err = time.LoadLocation(zone); err != nil {
			return nil, fmt.Errorf("time zone %q: %w", zone, err)
		}
	}
	fields := strings.Fields(expr)
	full := strings.Join(fields, " ")
	switch {
	case strings.HasPrefix(expr, "@"):
		if !isMacro(full) {
			return nil, fmt.Errorf("%q is unknown: write one of %s", expr, strings.Join(macros, ", "))
		}
	case len(fields) == 5:
	case len(fields) == 6:
		full += " *" // the year: cronexpr takes the last of six fields for it, and the first of seven for the second
	default:
		return nil, fmt.Errorf("%q has %d fields: write five (minute, hour, day of month, month, day of week), or six with the second in front", expr, len(fields))
	}
	parsed, err := cronexpr.Parse(full)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", expr, err)
	}
	c := &Cron{expr: parsed, zone: location}
	if c.Next(time.Unix(0, 0)).IsZero() {
		return nil, fmt.Errorf("%q never matches: there is no such day", expr)
	}
	return c, nil
}

func isMacro(name string) bool {
	for _, m := range macros {
		if m == name {
			return true
		}
	}
	return false
}

// Next returns the first time after t, or the zero time if there is none.
func (c *Cron) Next(t time.Time) time.Time { return c.expr.Next(t.In(c.zone)) }
