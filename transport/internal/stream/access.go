package stream

import "fanfare/transport/internal/clientlog"

// access is what the log says of a stream when it ends, see Config.AccessLog.
type access struct {
	remote, agent, keys string
	events, bytes       uint64 // written; of the stream's owner
}

func newAccess(req Request) *access {
	return &access{remote: req.Remote, agent: req.Agent, keys: clientlog.Keys(req.Keys)}
}

// count counts events that were written.
func (a *access) count(events, bytes int) {
	if a != nil {
		a.events += uint64(events)
		a.bytes += uint64(bytes)
	}
}

// logEnd logs the line of a stream. Owner only.
func (st *Stream) logEnd(reason string) {
	a, h := st.access, st.hub
	if a == nil || !h.config.Load().AccessLog { // nil if the setting came after the stream
		return
	}
	h.log.Info("stream ended", "reason", reason, "remote", a.remote, "keys", a.keys, "agent", a.agent,
		"events", a.events, "bytes", a.bytes, "lag", st.sub.Lag(), "seconds", float64(h.clock.Load()-st.opened)/1000)
}
