package schedule

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// takeMessages returns the messages of the events published since the last call.
func (r *record) takeMessages() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	messages := r.messages
	r.messages, r.events = nil, nil
	return messages
}

// Servers of a fleet that begin at different times run at the same times, and name their events alike.
func TestFleetRunsAtTheSameTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 7 * time.Second
		s := Schedule{Name: "a", Every: every, Key: "k", Data: []byte("x")}
		cron := Schedule{Name: "c", Cron: "*/10 * * * * *", Timezone: "UTC", All: true, Data: []byte("x")}
		first, second := newFleetRig(t, 30*time.Second), newFleetRig(t, 30*time.Second)
		defer first.Close()
		defer second.Close()
		first.apply(s, cron)
		time.Sleep(3100 * time.Millisecond)
		second.apply(s, cron)
		begin := time.Now()
		first.takeMessages()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		var want []string
		for at := begin.Truncate(time.Second); at.Before(begin.Add(30 * time.Second)); at = at.Add(time.Second) {
			if !at.After(begin) {
				continue
			}
			if at.UnixMilli()%every.Milliseconds() == 0 {
				want = append(want, fmt.Sprintf("s:a:%d", at.UnixMilli()))
			}
			if at.Unix()%10 == 0 {
				want = append(want, fmt.Sprintf("s:c:%d", at.UnixMilli()))
			}
		}
		one, two := first.takeMessages(), second.takeMessages()
		for _, list := range [][]string{one, two, want} {
			slices.Sort(list)
		}
		if len(want) < 6 || !slices.Equal(one, want) || !slices.Equal(two, want) {
			t.Errorf("messages %q and %q, want %q", one, two, want)
		}
	})
}

// A server that continues so late that the fleet would not recognize its event does not publish it.
func TestFleetLateRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFleetRig(t, 40*time.Second)
		defer r.Close()
		now := time.Now()
		j, err := r.newJob(Schedule{Name: "a", Every: time.Minute, Key: "k", Data: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			late time.Duration
			want int
		}{{0, 1}, {30 * time.Second, 1}, {31 * time.Second, 0}, {time.Hour, 0}} {
			j.run(t.Context(), now.Add(-test.late))
			if got := r.takeMessages(); len(got) != test.want {
				t.Errorf("%s late: published %q, want %d", test.late, got, test.want)
			}
		}
		if n := r.metric("fanfare_schedule_skipped_total", "late"); n != 2 {
			t.Errorf("%v skipped as late", n)
		}
		j.run(t.Context(), time.Time{}) // immediate: it has no time, and no twin
		if got := r.takeMessages(); !slices.Equal(got, []string{""}) {
			t.Errorf("immediate: %q", got)
		}
	})
}

// The same, if it becomes late while it fetches.
func TestFleetLateWhileFetching(t *testing.T) {
	r := newFleetRig(t, 400*time.Millisecond)
	defer r.Close()
	j, err := r.newJob(Schedule{Name: "a", Every: time.Minute, Key: "k", Command: []string{"sh", "-c", "sleep 0.6; echo x"}})
	if err != nil {
		t.Fatal(err)
	}
	j.run(t.Context(), time.Now())
	if got, late := r.takeMessages(), r.metric("fanfare_schedule_skipped_total", "late"); len(got) != 0 || late != 1 {
		t.Errorf("published %q, %v skipped as late", got, late)
	}
}

// A server that is alone counts from its own beginning, and its events have no names.
func TestAloneHasNoMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.Close()
		time.Sleep(1234 * time.Millisecond)
		r.apply(Schedule{Name: "a", Every: 5 * time.Second, Key: "k", Data: []byte("x")})
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if got := r.takeMessages(); !slices.Equal(got, []string{"", ""}) {
			t.Errorf("messages %q", got)
		}
	})
}
