// Package schedule publishes events at set times: fixed data, what a command writes, or the body of an HTTP answer.
//
// A [Runner] has one goroutine for each [Schedule]. That goroutine alone waits, fetches and publishes, one after the
// other, so that a run never overlaps with the next of its schedule: the times that pass meanwhile are skipped and
// counted. Schedules don't wait for each other.
//
//	loop:  wait for the next time ──> idle? ──> fetch, within Timeout and MaxBytes ──> decode ──> changed? ──> publish
//	       the next time is the first behind the end of the run; those in between are skipped
//
// A run that fails publishes nothing: it is counted by its reason, and logged when a schedule begins to fail or fails for
// another reason than before. The next time tries again.
//
// # Caveats
//
// [Schedule].Every counts from when the schedule begins, by the monotonic clock. A cron expression goes by the wall clock,
// which is looked at every minute: where it is set, the next time follows it.
//
// A command gets the server's environment without the variables that configure the server (FANFARE_…, the publish token
// among them), an empty standard input, and a process group of its own. At its timeout the whole group is killed. What has
// left the group, as daemons do, is not.
//
// Header fields of a request don't follow a redirect to another origin.
package schedule
