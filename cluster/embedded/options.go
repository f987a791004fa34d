package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fanfare/cluster/nats"
)

// Fsync says when events are written to the disk itself.
type Fsync uint8

const (
	// FsyncGroup syncs before publishes are answered and events are delivered, once for all that wait.
	FsyncGroup Fsync = iota
	// FsyncAlways makes the server sync each event on its own.
	FsyncAlways
	// FsyncInterval syncs every Options.Interval; publishes do not wait for it.
	FsyncInterval
)

// ParseFsync parses the name of a value: group, always or interval.
func ParseFsync(name string) (Fsync, error) {
	for f := FsyncGroup; f <= FsyncInterval; f++ {
		if f.String() == name {
			return f, nil
		}
	}
	return 0, fmt.Errorf("fsync: %.40s is not one of group, always, interval", name)
}

// String returns the name of the value.
func (f Fsync) String() string {
	switch f {
	case FsyncGroup:
		return "group"
	case FsyncAlways:
		return "always"
	case FsyncInterval:
		return "interval"
	}
	return fmt.Sprintf("Fsync(%d)", uint8(f))
}

// Options say where the log is and how safe it is. Dir is required. The zero value of every other field is its default.
type Options struct {
	// Dir is a directory of this process alone (dataDir). Open makes it.
	Dir string
	// Fsync says when events are on disk (fsync).
	Fsync Fsync
	// Interval is the time between two syncs with FsyncInterval. Default 1 s.
	Interval time.Duration
	// Log has the name, retention, duplicate window, logger and partitions of the log. MaxBytes is lowered to what the disk has
	// room for. URL, Credentials, TLS, Replicas and Disk do not count.
	Log nats.Options

	serverBytes int64 // that the server may use, see fit
}

const (
	defaultInterval = time.Second
	// serverInterval is how often the server syncs what it changes besides messages, if Fsync is not FsyncInterval.
	serverInterval = 30 * time.Second

	minPayload = 1 << 20
	// payloadRoom is for headers: the log's own, and a long key.
	payloadRoom = 64 << 10
)

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("dataDir: it is empty: set the directory that keeps the events")
	}
	if o.Fsync > FsyncInterval {
		return o, fmt.Errorf("fsync: %s is not valid", o.Fsync)
	}
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	if o.Interval < 0 {
		return o, fmt.Errorf("the interval of fsync, %s, is negative", o.Interval)
	}
	if o.Log.Logger == nil {
		o.Log.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Log.Stream == "" {
		o.Log.Stream = "fanfare"
	}
	if o.Log.Partitions == 0 {
		o.Log.Partitions = 1
	}
	o.Log.URL, o.Log.Credentials, o.Log.TLS, o.Log.Replicas = "nats://embedded", "", nil, 1
	return o, nil
}
