package nats

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

// Options say where the log is and how it is kept. URL is required. The zero value of every other field is its default.
type Options struct {
	// URL has the addresses of the servers, joined by commas (natsURL). The scheme tls:// asks for TLS; a user and password,
	// or a token, may stand before the host.
	URL string
	// Credentials is the path of a credentials file, with a JWT and its key (natsCredentials).
	Credentials string
	// TLS is used where the server asks for TLS. nil: the roots of the system.
	TLS *tls.Config
	// Name is the name of the connection in the server's monitoring. Default "fanfare".
	Name   string
	Logger *slog.Logger

	// Domain is the domain of the JetStream that has the streams (natsDomain). "": the one of the server, or of its account. The
	// server may be a leaf node that leads to another domain.
	Domain string
	// Stream is the name of the stream, and the beginning of its subjects unless it is the default, "fanfare", which has
	// subjects that begin with "ff" (natsStream). With several partitions it is followed by a hyphen and a number.
	Stream string
	// Partitions is the number of streams (natsPartitions). Default 1. It cannot be changed once there are streams.
	Partitions int
	// Replicas is on how many servers each stream is kept (natsReplicas). 0: 1 for a new stream, and as it is for one that exists.
	Replicas int
	// MaxAge, MaxBytes and MaxPerKey bound what the log keeps: the age of events (retentionAge), the bytes of each
	// partition (retentionBytes) and the events of each key (retentionPerKey). 0: no bound.
	MaxAge    time.Duration
	MaxBytes  int64
	MaxPerKey int64
	// DuplicateWindow is how long the log remembers message IDs (duplicateWindow). Default 30 s.
	DuplicateWindow time.Duration
	// MaxEventBytes is the largest event that Fanfare accepts (maxEventBytes). Open logs a warning if the server takes less.
	MaxEventBytes int

	// Disk tells what is on disk if the server is in this process, see the package embedded. nil: the server alone knows.
	Disk Disk

	dial       []natsgo.Option // more options of the connection
	domainWait time.Duration   // how long Open waits for the domain to answer
}

// Disk is what a server in this process knows of its disk.
type Disk interface {
	// Sync returns when what the server has acknowledged is as safe as the fsync setting says. acked has the newest sequence of
	// each partition that the caller has got an acknowledgment for, 0 if none.
	Sync(acked []uint64) error
	// Await returns when the entries of a partition up to seq may be delivered: a loss of power must not take back what clients
	// have.
	Await(partition int, seq uint64) error
	// Err returns why nothing can be stored now, such as a full disk, or nil.
	Err() error
	// Opened is called once, when the streams exist. last has the newest sequence of each partition.
	Opened(last []uint64) error
	// Unsynced reports whether entries that the log had confirmed may be lost, see cluster.State.
	Unsynced(partition int) bool
	// Stored is called after an entry of the partition was stored; epoch says that an epoch begins there.
	Stored(partition int, seq uint64, epoch bool)
}

// WithConnection returns a copy of the options with more options of the NATS connection, such as a connection to a server in
// this process.
func (o Options) WithConnection(more ...natsgo.Option) Options {
	o.dial = append(o.dial[:len(o.dial):len(o.dial)], more...)
	return o
}

const (
	defaultStream          = "fanfare"
	defaultPrefix          = "ff"
	defaultDuplicateWindow = 30 * time.Second
	maxPartitions          = 1024
	// defaultDomainWait is longer than a leaf node needs to connect again after a restart of its hub.
	defaultDomainWait = 15 * time.Second
)

func (o Options) withDefaults() (Options, error) {
	if o.URL == "" {
		return o, errors.New("natsURL: it is empty: set the address of a NATS server, such as nats://127.0.0.1:4222")
	}
	if o.Name == "" {
		o.Name = "fanfare"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Stream == "" {
		o.Stream = defaultStream
	}
	if err := checkName("natsStream", o.Stream); err != nil {
		return o, err
	}
	if err := checkName("natsDomain", o.Domain); err != nil {
		return o, err
	}
	if o.domainWait == 0 {
		o.domainWait = defaultDomainWait
	}
	if o.Partitions == 0 {
		o.Partitions = 1
	}
	if o.Partitions < 0 || o.Partitions > maxPartitions {
		return o, fmt.Errorf("natsPartitions: %d is not between 1 and %d", o.Partitions, maxPartitions)
	}
	if o.DuplicateWindow == 0 {
		o.DuplicateWindow = defaultDuplicateWindow
	}
	for name, negative := range map[string]bool{
		"natsReplicas": o.Replicas < 0, "retentionAge": o.MaxAge < 0, "retentionBytes": o.MaxBytes < 0, "retentionPerKey": o.MaxPerKey < 0,
		"duplicateWindow": o.DuplicateWindow < 0,
	} {
		if negative {
			return o, fmt.Errorf("%s: it is negative", name)
		}
	}
	if o.MaxAge > 0 && o.DuplicateWindow > o.MaxAge {
		return o, fmt.Errorf("duplicateWindow: %s is longer than retentionAge, %s: NATS does not allow it", o.DuplicateWindow, o.MaxAge)
	}
	return o, nil
}

// checkName refuses what is not a name of JetStream and a token of a subject.
func checkName(setting, name string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	if strings.Trim(name, allowed) != "" || len(name) > 128 {
		return fmt.Errorf("%s: %.140q is not a valid name: use up to 128 letters, digits, hyphens and underscores", setting, name)
	}
	return nil
}

// prefix begins the subjects of the log.
func (o Options) prefix() string {
	if o.Stream == defaultStream {
		return defaultPrefix
	}
	return o.Stream
}

// StreamName is the name of a partition's stream.
func (o Options) StreamName(partition int) string {
	if o.Partitions == 1 {
		return o.Stream
	}
	return fmt.Sprintf("%s-%d", o.Stream, partition)
}
