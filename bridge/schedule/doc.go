// Package schedule publishes events at set times: fixed data, the output of a command, or the body of an HTTP response.
//
//	runner, err := schedule.New(schedule.Options{Publish: publish, PublishAll: publishAll, Watched: watched})
//	err = runner.Apply([]schedule.Schedule{{Name: "time", Every: time.Second, Key: "clock", Command: []string{"date"}}})
//	defer runner.Close()
//
// A [Runner] has one goroutine for each [Schedule]. Only that goroutine waits, fetches and publishes, so two runs of a
// schedule never overlap. Times that pass during a run are skipped and counted. Schedules do not wait for each other.
//
//	loop:  wait for the next time ──> idle? ──> fetch, within Timeout and MaxBytes ──> decode ──> changed? ──> publish
//	       the next time is the first one after the end of the run; those in between are skipped
//
// In a fleet every server runs the same schedules. Options.Window makes their runs fall on the same times, and names each event
// by its schedule and time, so that the fleet stores one of them.
//
// A run that fails publishes nothing. It is counted by its reason. It is logged when a schedule begins to fail, or fails for
// another reason than before. The next run tries again.
//
// # Caveats
//
// [Schedule].Every counts from when the schedule begins, by the monotonic clock. A cron expression uses the wall clock, and so
// does Every with Options.Window: it then counts from the beginning of 1970. A change of the wall clock is noticed within a minute, and the next time is set by it.
//
// A command gets the server's environment without the variables that configure the server (FANFARE_…, including the publish
// token), an empty standard input, and its own process group. At its timeout the whole group is killed. Programs that have
// left the group, as daemons do, are not killed.
//
// Header fields of a request are not sent to another origin after a redirect.
package schedule
