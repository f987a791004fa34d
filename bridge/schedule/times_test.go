package schedule

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCron(t *testing.T) {
	const layout = "2006-01-02 15:04:05 MST"
	for _, test := range []struct{ expr, zone, from, want string }{
		{"*/5 * * * *", "UTC", "2026-03-01 10:02:00 UTC", "2026-03-01 10:05:00 UTC"},
		{"*/5 * * * *", "UTC", "2026-03-01 10:05:00 UTC", "2026-03-01 10:10:00 UTC"},
		{"*/10 * * * * *", "UTC", "2026-03-01 10:02:51 UTC", "2026-03-01 10:03:00 UTC"},
		{"  0 9  * * MON-FRI ", "Europe/Berlin", "2026-03-06 10:00:00 CET", "2026-03-09 09:00:00 CET"},
		{"0 9 * * *", "Europe/Berlin", "2026-03-28 20:00:00 UTC", "2026-03-29 09:00:00 CEST"},
		{"@daily", "UTC", "2026-12-31 23:59:59 UTC", "2027-01-01 00:00:00 UTC"},
		{"0 0 29 2 *", "UTC", "2026-03-01 00:00:00 UTC", "2028-02-29 00:00:00 UTC"},
		// The hour from 2 to 3 is left out, and later comes twice.
		{"30 2 * * *", "Europe/Berlin", "2026-03-28 23:00:00 UTC", "2026-03-30 02:30:00 CEST"},
		{"30 2 * * *", "Europe/Berlin", "2026-10-24 23:00:00 UTC", "2026-10-25 02:30:00 CEST"},
		{"30 2 * * *", "Europe/Berlin", "2026-10-25 00:30:00 UTC", "2026-10-25 02:30:00 CET"},
	} {
		c, err := ParseCron(test.expr, test.zone)
		if err != nil {
			t.Errorf("%s: %v", test.expr, err)
			continue
		}
		from, err := time.ParseInLocation(layout, test.from, c.zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Next(from).Format(layout); got != test.want {
			t.Errorf("%s in %s after %s: %s, want %s", test.expr, test.zone, test.from, got, test.want)
		}
	}
	for expr, want := range map[string]string{
		"": "0 fields", "* * * *": "4 fields", "* * * * * * *": "7 fields", "60 * * * *": "minute", "* * * * 8": "day-of-week",
		"@every 5s": "one of @hourly", "TZ=UTC * * * * *": "TZ", "0 0 30 2 *": "never matches", "*/0 * * * *": "interval",
	} {
		if _, err := ParseCron(expr, "UTC"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", expr, err, want)
		}
	}
	if c, err := ParseCron("* * * * *", ""); err != nil || c.zone != time.Local {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestUpcoming(t *testing.T) {
	begin := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	cron, err := ParseCron("*/10 * * * * *", "UTC")
	if err != nil {
		t.Fatal(err)
	}
	for _, times := range []times{interval(10 * time.Second), cron} {
		for _, test := range []struct{ now, next, skipped int }{
			{0, 10, 0}, {9, 10, 0}, {10, 10, 0}, {11, 20, 1}, {20, 20, 1}, {25, 30, 2}, {95, 100, 9},
		} {
			next, skipped := upcoming(times, begin, begin.Add(time.Duration(test.now)*time.Second))
			if got := int(next.Sub(begin).Seconds()); got != test.next || skipped != test.skipped {
				t.Errorf("%T at %d s: %d s, %d skipped; want %d s, %d", times, test.now, got, skipped, test.next, test.skipped)
			}
		}
	}
	// A clock that was set by half a century takes no minute of looking.
	if next, skipped := upcoming(cron, begin.AddDate(-40, 0, 0), begin.Add(3*time.Second)); skipped != maxSkipped || next != begin.Add(10*time.Second) {
		t.Errorf("%s, %d skipped", next, skipped)
	}
	if next, _ := upcoming(cron, time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), begin); !next.IsZero() {
		t.Errorf("behind the last year cron knows: %s", next)
	}
}

func TestCronRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which begins at midnight
		r := newRig(t)
		r.apply(
			Schedule{Name: "a", Cron: "*/20 * * * *", Timezone: "UTC", Key: "k", Data: []byte("x")},
			Schedule{Name: "b", Cron: "0 0 1 1 *", Timezone: "UTC", Key: "year", Data: []byte("y"), Immediate: true},
		)
		time.Sleep(time.Hour)
		synctest.Wait()
		r.Close()
		r.want("0s year=y", "20m0s k=x", "40m0s k=x", "1h0m0s k=x")
	})
}

func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		begin := time.Now()
		wait(ctx, interval(time.Hour), begin.Add(time.Hour))
		if d := time.Since(begin); d != 90*time.Second {
			t.Errorf("ended after %s", d)
		}
	})
}
