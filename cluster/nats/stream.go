package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanfare/cluster"
)

// partitionsKey is the metadata of a stream that says how many there are: the keys of an event's partition depend on it.
const partitionsKey = "fanfare-partitions"

const prepareRetry = 200 * time.Millisecond

type streamInfo struct {
	Config  jetstream.StreamConfig `json:"config"`
	Created time.Time              `json:"created"`
	Domain  string                 `json:"domain"`
	State   struct {
		Messages uint64 `json:"messages"`
		First    uint64 `json:"first_seq"`
		Last     uint64 `json:"last_seq"`
		// Lost counts the sequences between First and Last that have no message, and LostSeqs has them if they were asked for.
		Lost     int      `json:"num_deleted"`
		LostSeqs []uint64 `json:"deleted"`
		// Subjects counts the messages of the subjects that were asked for.
		Subjects map[string]int64 `json:"subjects"`
	} `json:"state"`
}

// info asks the leader of the partition's stream.
func (l *Log) info(ctx context.Context, partition int) (*streamInfo, error) {
	var info streamInfo
	err := l.request(ctx, "STREAM.INFO."+l.o.StreamName(partition), nil, &info)
	if err == nil {
		l.domain.Store(&info.Domain)
	}
	return &info, err
}

// ensureStreams creates the streams that do not exist, and updates or refuses those that have other settings.
func (l *Log) ensureStreams(ctx context.Context) error {
	last := make([]uint64, l.o.Partitions)
	for p := range l.o.Partitions {
		info, err := l.ensureStream(ctx, p)
		// A cluster that has just started has no leader yet, and a leaf node may not be connected yet.
		for began := time.Now(); (temporary(err) || l.unreachable(err, began)) && ctx.Err() == nil; {
			l.limiter.Log(l.log, slog.LevelWarn, "prepare", "JetStream is not ready: trying again", "stream", l.o.StreamName(p), "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(prepareRetry):
			}
			info, err = l.ensureStream(ctx, p)
		}
		if err != nil {
			return fmt.Errorf("natsStream %s: %w", l.o.StreamName(p), err)
		}
		l.remember(p, info)
		last[p] = info.State.Last
		if size := int64(info.Config.MaxMsgSize); size > 0 && (l.maxBytes.Load() == 0 || size < l.maxBytes.Load()) {
			l.maxBytes.Store(size)
		}
	}
	if l.o.Disk != nil {
		return l.o.Disk.Opened(last)
	}
	return nil
}

// temporary reports whether the cluster may answer otherwise soon.
func temporary(err error) bool {
	return isCode(err, codeUnavailable) || isCode(err, codeNotLeader) || isCode(err, codeNoPeers) || isCode(err, codeInsufficient) ||
		isCode(err, codeStreamOffline) || errors.Is(err, errNewStream) || errors.Is(err, context.DeadlineExceeded)
}

func (l *Log) ensureStream(ctx context.Context, p int) (*streamInfo, error) {
	have, err := l.info(ctx, p)
	if isCode(err, codeStreamNotFound) {
		return l.createStream(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	return l.adjustStream(ctx, p, have)
}

// errNewStream says that the stream was created, and that the server which was asked does not know it yet.
var errNewStream = errors.New("NATS: not all servers of the cluster know the new stream yet")

func (l *Log) createStream(ctx context.Context, p int) (*streamInfo, error) {
	if err := l.checkElsewhere(ctx, p); err != nil {
		return nil, err
	}
	config := jetstream.StreamConfig{
		Name:        l.o.StreamName(p),
		Description: "events of Fanfare",
		Subjects:    []string{l.subjects.all(p)},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		AllowDirect: true,
		MaxMsgs:     -1,
		MaxMsgSize:  -1,
		// Neither DenyDelete nor DenyPurge: they can never be taken back, and nodes report entries that an operator removes.
	}
	l.set(&config)
	var info streamInfo
	err := l.request(ctx, "STREAM.CREATE."+config.Name, config, &info)
	if isCode(err, codeSubjectsOverlap) {
		return nil, fmt.Errorf("another stream has the subjects %s: natsPartitions was changed, or another program uses them; "+
			"choose another natsStream: %w", config.Subjects[0], err)
	}
	if isCode(err, codeStorageExceeded) || isCode(err, codeResourcesExceeded) {
		return nil, fmt.Errorf("the server has not enough storage for retentionBytes, %d bytes for each partition: lower it, or raise the "+
			"server's max_file_store: %w", l.o.MaxBytes, err)
	}
	if err != nil {
		return nil, err
	}
	l.log.Info("created the stream", "stream", config.Name, "subjects", config.Subjects[0], "replicas", config.Replicas)
	have, err := l.info(ctx, p) // which also has the domain
	if isCode(err, codeStreamNotFound) {
		return nil, errNewStream
	}
	return have, err
}

// set changes the settings that belong to Fanfare.
func (l *Log) set(c *jetstream.StreamConfig) {
	unlimited := func(n int64) int64 {
		if n == 0 {
			return -1
		}
		return n
	}
	if l.o.Replicas > 0 {
		c.Replicas = l.o.Replicas
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	c.MaxAge, c.MaxBytes, c.MaxMsgsPerSubject = l.o.MaxAge, unlimited(l.o.MaxBytes), unlimited(l.o.MaxPerKey)
	c.Duplicates = l.o.DuplicateWindow
	c.AllowDirect, c.NoAck = true, false
	metadata := map[string]string{partitionsKey: strconv.Itoa(l.o.Partitions)}
	for name, value := range c.Metadata {
		if name != partitionsKey && !strings.HasPrefix(name, "_nats.") { // those are the server's own
			metadata[name] = value
		}
	}
	c.Metadata = metadata
}

// adjustStream refuses a stream that cannot be the log, and updates one that has other limits than the settings say.
func (l *Log) adjustStream(ctx context.Context, p int, have *streamInfo) (*streamInfo, error) {
	c := have.Config
	refuse := func(what string) error {
		return fmt.Errorf("the stream exists and %s: that cannot be changed; choose another natsStream, "+
			"or delete that one with what it has", what)
	}
	switch {
	case !slices.Equal(c.Subjects, []string{l.subjects.all(p)}):
		return nil, refuse(fmt.Sprintf("has the subjects %q instead of %q, so another program uses it", c.Subjects, l.subjects.all(p)))
	case c.Storage != jetstream.FileStorage:
		return nil, refuse("is kept in memory")
	case c.Retention != jetstream.LimitsPolicy:
		return nil, refuse(fmt.Sprintf("removes messages that were read (retention %s)", c.Retention))
	case c.Mirror != nil || len(c.Sources) > 0:
		return nil, refuse("gets messages from other streams (mirror, sources)")
	case c.SubjectTransform != nil:
		return nil, refuse("changes subjects (subject_transform)")
	case c.Sealed:
		return nil, refuse("is sealed")
	}
	if n := c.Metadata[partitionsKey]; n != "" && n != strconv.Itoa(l.o.Partitions) {
		return nil, refuse(fmt.Sprintf("is one of %s, but natsPartitions is %d", n, l.o.Partitions))
	}
	want := c
	l.set(&want)
	changes := differences(c, want)
	if len(changes) == 0 {
		return have, nil
	}
	var info streamInfo
	if err := l.request(ctx, "STREAM.UPDATE."+c.Name, want, &info); err != nil {
		return nil, fmt.Errorf("it has other settings, and the server does not change them (%s): %w", strings.Join(changes, ", "), err)
	}
	l.log.Info("updated the settings of the stream", "stream", c.Name, "changes", strings.Join(changes, ", "))
	return &info, nil
}

// differences names the settings that set would change.
func differences(have, want jetstream.StreamConfig) (changes []string) {
	add := func(name string, have, want any) {
		if have != want {
			changes = append(changes, fmt.Sprintf("%s: %v to %v", name, have, want))
		}
	}
	add("natsReplicas", have.Replicas, want.Replicas)
	add("retentionAge", have.MaxAge, want.MaxAge)
	add("retentionBytes", max(have.MaxBytes, 0), max(want.MaxBytes, 0))
	add("retentionPerKey", max(have.MaxMsgsPerSubject, 0), max(want.MaxMsgsPerSubject, 0)) // NATS: -1 for none
	add("duplicateWindow", have.Duplicates, want.Duplicates)
	add("allow_direct", have.AllowDirect, want.AllowDirect)
	add("no_ack", have.NoAck, want.NoAck)
	add(partitionsKey, have.Metadata[partitionsKey], want.Metadata[partitionsKey])
	return changes
}

// remember keeps which creation of the stream the answers are about.
func (l *Log) remember(p int, info *streamInfo) {
	created := createdText(info)
	l.created[p].Store(&created)
}

func createdText(info *streamInfo) string { return info.Created.UTC().Format(time.RFC3339Nano) }

// State returns the state of a partition as the leader of its stream knows it.
func (l *Log) State(ctx context.Context, p int) (cluster.State, error) {
	info, err := l.info(ctx, p)
	if isCode(err, codeStreamNotFound) { // it was deleted: without another one nothing could be published
		if info, err = l.ensureStream(ctx, p); err == nil {
			l.log.Error("the stream was gone and has been made anew: its events are lost", "stream", l.o.StreamName(p))
		}
	}
	if err != nil {
		return cluster.State{}, err
	}
	s := cluster.State{First: info.State.First, Last: info.State.Last, Created: createdText(info)}
	if info.State.Messages == 0 {
		s.First = s.Last + 1
	}
	// The epoch is asked for after the rest: if another node appends one in between, it is found, or Append with the
	// condition of this state fails.
	m, ok, err := l.get(ctx, p, getRequest{Last: l.subjects.partition(p) + epochToken})
	if err != nil {
		return cluster.State{}, err
	}
	s.Unsynced = l.o.Disk != nil && l.o.Disk.Unsynced(p)
	if ok {
		var e cluster.Entry
		header := l.decodeStored(p, m, &e)
		if e.Op == cluster.OpEpoch { // otherwise somebody else has published there: the node begins an epoch
			s.Epoch, s.EpochSeq, s.EpochEntry, s.Last = e.Epoch, e.EpochSeq, e.Seq, max(s.Last, e.Seq)
			if created := first(header, createdHeader); created != s.Created {
				l.limiter.Log(l.log, slog.LevelWarn, "restored", "the stream was restored from a backup", "stream", l.o.StreamName(p),
					"created", s.Created, "epochOf", created)
				s.Unsynced = true
			}
		}
	}
	l.remember(p, info)
	return s, nil
}

// SeqAt returns the sequence of the first entry that was stored at t or later.
func (l *Log) SeqAt(ctx context.Context, p int, t time.Time) (uint64, error) {
	m, ok, err := l.get(ctx, p, getRequest{Start: &t, Next: ">"})
	if err != nil {
		return 0, err
	}
	if ok {
		return m.Seq, nil
	}
	info, err := l.info(ctx, p)
	if err != nil {
		return 0, err
	}
	return info.State.Last + 1, nil
}
