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

// ParseCron reads a cron expression: minute, hour, day of month, month and day of week, with the second in front of them
// if there are six fields, or one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually. Fields hold *,
// numbers, names (JAN, MON), ranges, steps and lists; days also L, W and # as cronexpr has them. Where both the day of
// the month and that of the week are given, either is enough. zone is a name of the IANA database, "" for the machine's
// own.
//
// A time in the hour that a change to summer time leaves out does not come that day; one in the hour that comes twice
// comes twice.
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
			return nil, fmt.Errorf("%q is none of %s", expr, strings.Join(macros, ", "))
		}
	case len(fields) == 5:
	case len(fields) == 6:
		full += " *" // cronexpr reads six fields as ending with the year, and seven as beginning with the second
	default:
		return nil, fmt.Errorf("%q has %d fields: write five (minute, hour, day of month, month, day of week), or six with the second in front", expr, len(fields))
	}
	parsed, err := cronexpr.Parse(full)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", expr, err)
	}
	c := &Cron{expr: parsed, zone: location}
	if c.Next(time.Unix(0, 0)).IsZero() {
		return nil, fmt.Errorf("%q never comes: there is no such day", expr)
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
