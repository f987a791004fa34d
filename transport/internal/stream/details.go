package stream

import (
	"time"

	"fanfare/transport/internal/clientlog"
)

// details are what only some streams have, so that the others need no memory for
// it. They do not change, except where it is said.
type details struct {
	remote, agent string
	keys          []string
	subject       string    // of the grant, "" if unknown
	expires       time.Time // of the grant; zero for never
	asked         time.Time // when the grant was asked for
	address       *address  // that counts the stream; nil without Config.MaxPerAddress
	counted       *subject  // that counts the stream; nil without a subject
	place         int       // in counted.streams, under subjects.mu; notBegun before launch
	logged        bool      // Config.AccessLog was set
	hooked        bool      // Config.OnConnect or OnDisconnect was set

	events, bytes uint64 // written; of the stream's owner
}

// newDetails returns nil if there is nothing to note.
func newDetails(req Request, c *Config) *details {
	d := &details{logged: c.AccessLog, hooked: c.OnConnect != nil || c.OnDisconnect != nil, subject: req.Subject, expires: req.Expires}
	if !d.logged && !d.hooked && d.subject == "" && d.expires.IsZero() && c.MaxPerAddress <= 0 {
		return nil
	}
	d.remote, d.agent, d.keys, d.asked, d.place = req.Remote, req.Agent, req.Keys, req.Asked, notBegun
	return d
}

// count counts events that were written.
func (d *details) count(events, bytes int) {
	if d != nil {
		d.events += uint64(events)
		d.bytes += uint64(bytes)
	}
}

// expired reports whether the grant of the stream has expired.
func (d *details) expired(now time.Time) bool {
	return d != nil && !d.expires.IsZero() && !now.Before(d.expires)
}

// Info is what hooks are told about a stream.
type Info struct {
	Keys    []string
	Subject string // of the grant, "" if unknown
	Remote  string // the client's address
	Agent   string // User-Agent, cut
}

func (d *details) info() Info {
	return Info{Keys: d.keys, Subject: d.subject, Remote: d.remote, Agent: d.agent}
}

// logEnd logs the line of a stream, and calls the hook. Owner only.
func (st *Stream) logEnd(reason string) {
	d, h := st.details, st.hub
	if d == nil {
		return
	}
	c := h.config.Load()
	lasted := time.Duration(h.clock.Load()-st.opened) * time.Millisecond
	if d.logged && c.AccessLog { // both, since the setting may have changed
		h.log.Info("stream ended", "reason", reason, "remote", d.remote, "keys", clientlog.Keys(d.keys), "agent", d.agent, "subject", clientlog.CutTo(d.subject, maxSubject),
			"events", d.events, "bytes", d.bytes, "lag", st.sub.Lag(), "seconds", lasted.Seconds())
	}
	if d.hooked && c.OnDisconnect != nil {
		c.OnDisconnect(d.info(), reason, lasted)
	}
}

// maxSubject bounds a subject in a log line, in bytes.
const maxSubject = 64
