package cluster

import (
	"context"
	"errors"

	"fanfare/engine"
)

// olderWindows bounds how many times OlderMaxEvents are searched for the first event of a page.
const olderWindows = 10

// page fetches the oldest events of a range, for a list. It is not shared. If the log no longer has the beginning of the range,
// the error is ErrTooOld, and the events are the oldest that it has.
func (o *older) page(ctx context.Context, k olderKey, m engine.Missing) ([]*engine.Event, error) {
	release, err := o.takeTurn(ctx)
	defer release()
	if err != nil {
		return nil, err
	}
	p := o.n.partitions[k.partition]
	k.oldest = m.Oldest
	state, err := o.n.o.Log.State(ctx, k.partition)
	if err != nil {
		return nil, err
	}
	after := max(m.After, max(state.First, 1)-1)
	var tooOld error
	if after > m.After {
		tooOld = ErrTooOld
	}
	// Most keys that are asked for are busy. Otherwise look further, but not without end.
	page := span{epoch: m.Epoch}
	for windows := 0; after < m.Through && len(page.events) == 0; windows++ {
		if windows == olderWindows {
			return nil, ErrTooOld
		}
		through := min(after+uint64(o.n.o.OlderMaxEvents), m.Through)
		err := o.fetch(ctx, k, &page, after, through, false)
		switch {
		case errors.Is(err, ErrTooOld): // removed meanwhile
			tooOld = err
		case err != nil:
			return nil, err
		}
		after = through
	}
	if err := p.checkEpoch(ctx, m.Epoch); err != nil {
		return nil, err
	}
	return page.events, tooOld
}
