package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanfare/cluster"
)

const (
	// A reader has between lowWater and lowWater+pullBatch messages on their way.
	pullBatch = 1000
	lowWater  = 500
	// pullBytes bounds one request, in bytes. A larger message needs a larger one.
	pullBytes   = 8 << 20
	pullExpires = time.Minute
	// inboxRoom is more than a reader can have on its way, with heartbeats: nothing is dropped on the way to it.
	inboxRoom = 4096

	heartbeat = 800 * time.Millisecond
	// maxSilence is how long a consumer that says nothing is believed to be there.
	maxSilence = 3500 * time.Millisecond
	// inactive is when the server removes the consumer of a reader that has gone.
	inactive = 30 * time.Second
)

var (
	errSilent   = errors.New("the consumer of the stream is silent: its server is gone or busy")
	errWentBack = errors.New("the stream has fewer entries than were read from it: it was restored, damaged or made anew")
)

// reader is one Read.
type reader struct {
	l         *Log
	partition int
	next      uint64 // the sequence that comes next
	handle    func(*cluster.Entry) error
	idle      func(last uint64)
	consumer  string
	inbox     string
	messages  chan *natsgo.Msg
	link      <-chan struct{}
	onWay     int // messages that were asked for and have not come
	settled   bool
}

// Read calls handle for every entry after sequence after, see cluster.Log. It uses an ephemeral pull consumer: nothing is left on
// the server if this process ends, and one reader does not slow another.
//
// It returns an error whenever the consumer is not there any more or answers nothing. A new call goes on where this one has ended.
func (l *Log) Read(ctx context.Context, partition int, after uint64, handle func(*cluster.Entry) error, idle func(last uint64)) error {
	link, _ := l.state()
	if !l.nc.IsConnected() {
		return errLost
	}
	r := &reader{
		l: l, partition: partition, next: after + 1, handle: handle, idle: idle, link: link,
		inbox: natsgo.NewInbox(), messages: make(chan *natsgo.Msg, inboxRoom),
	}
	sub, err := l.nc.ChanSubscribe(r.inbox, r.messages)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := r.open(ctx); err != nil {
		return err
	}
	defer r.remove()
	return r.run(ctx)
}

// open makes the consumer, and checks that the stream is the one that was read before.
func (r *reader) open(ctx context.Context) error {
	stream := r.l.o.StreamName(r.partition)
	r.consumer = "fanfare_" + randomName()
	create := struct {
		Stream string                   `json:"stream_name"`
		Config jetstream.ConsumerConfig `json:"config"`
		Action string                   `json:"action"`
	}{stream, jetstream.ConsumerConfig{
		Name: r.consumer, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.next, AckPolicy: jetstream.AckNonePolicy,
		InactiveThreshold: inactive, Replicas: 1, MemoryStorage: true,
	}, "create"}
	var created struct{}
	if err := r.l.request(ctx, "CONSUMER.CREATE."+stream+"."+r.consumer, create, &created); err != nil {
		return err
	}
	info, err := r.l.info(ctx, r.partition)
	if err == nil {
		err = r.check(info)
	}
	if err != nil {
		r.remove()
	}
	return err
}

// check compares the stream with the one that State has seen last: after a restore the same sequences are other entries.
func (r *reader) check(info *streamInfo) error {
	if known := r.l.created[r.partition].Load(); *known != createdText(info) {
		return fmt.Errorf("%w: it was created at %s, not %s", errWentBack, createdText(info), *known)
	}
	if info.State.Last+1 < r.next {
		return fmt.Errorf("%w: the newest has sequence %d, and %d was read", errWentBack, info.State.Last, r.next-1)
	}
	return nil
}

// remove deletes the consumer. If that fails, the server does so after some time.
func (r *reader) remove() {
	_ = r.l.nc.Publish(r.l.api("CONSUMER.DELETE."+r.l.o.StreamName(r.partition)+"."+r.consumer), nil)
}

func (r *reader) run(ctx context.Context) error {
	silence := time.NewTimer(maxSilence)
	defer silence.Stop()
	for {
		if r.onWay < lowWater {
			if err := r.pull(); err != nil {
				return err
			}
		}
		select {
		case <-r.link: // the caller looks at the state before it goes on, even if messages still come
			return errLost
		default:
		}
		var msg *natsgo.Msg
		select {
		case msg = <-r.messages: // fast path
		default:
			silence.Reset(maxSilence)
			select {
			case msg = <-r.messages:
			case <-silence.C:
				return errSilent
			case <-r.link:
				return errLost
			case <-r.l.closed:
				return errLost
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := r.receive(ctx, msg); err != nil {
			return err
		}
	}
}

// pull asks for more messages.
func (r *reader) pull() error {
	size := max(pullBytes, 2*r.l.nc.MaxPayload())
	request := fmt.Sprintf(`{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`, pullBatch, size, pullExpires, heartbeat)
	r.onWay += pullBatch
	return r.l.nc.PublishRequest(r.l.api("CONSUMER.MSG.NEXT."+r.l.o.StreamName(r.partition)+"."+r.consumer), r.inbox, []byte(request))
}

func (r *reader) receive(ctx context.Context, msg *natsgo.Msg) error {
	d, ok := parseReply(msg.Reply)
	if !ok {
		return r.status(ctx, msg)
	}
	r.onWay--
	switch {
	case d.seq < r.next:
		return nil
	case d.seq > r.next:
		if err := r.fill(ctx, d.seq); err != nil {
			return err
		}
	}
	e := cluster.Entry{Partition: r.partition, Seq: d.seq, At: d.at}
	r.l.decode(msg.Subject, msg.Header, msg.Data, &e)
	if err := r.deliver(&e); err != nil {
		return err
	}
	if d.pending == 0 && !r.settled { // caught up for the first time
		r.settled = true
		r.idle(d.seq)
	}
	return nil
}

func (r *reader) deliver(e *cluster.Entry) error {
	if r.l.o.Disk != nil {
		if err := r.l.o.Disk.Await(r.partition, e.Seq); err != nil {
			return err
		}
	}
	if err := r.handle(e); err != nil {
		return err
	}
	r.next = e.Seq + 1
	return nil
}

// fill handles what is missing before sequence end: the consumer may have been served by a replica that is behind or damaged, so
// the leader is asked. What the leader does not have is a hole.
func (r *reader) fill(ctx context.Context, end uint64) error {
	for r.next < end {
		m, ok, err := r.l.get(ctx, r.partition, getRequest{Seq: r.next, Next: ">"})
		if err != nil {
			return fmt.Errorf("sequences %d to %d are missing: %w", r.next, end-1, err)
		}
		e := cluster.Entry{Op: cluster.OpHole, Partition: r.partition, Seq: end - 1}
		switch {
		case !ok: // nothing at all from here on: then the leader must at least have given the sequences away
			info, err := r.l.info(ctx, r.partition)
			if err != nil {
				return err
			}
			if info.State.Last < end-1 {
				return fmt.Errorf("%w: its leader has sequences to %d, and a consumer has seen %d", errWentBack, info.State.Last, end)
			}
		case m.Seq < end && m.Seq > r.next:
			e.Seq = m.Seq - 1
		case m.Seq == r.next:
			r.l.decodeStored(r.partition, m, &e)
		}
		if err := r.deliver(&e); err != nil {
			return err
		}
	}
	return nil
}

// status handles a message of the consumer itself.
func (r *reader) status(ctx context.Context, msg *natsgo.Msg) error {
	code, text := first(msg.Header, "Status"), first(msg.Header, "Description")
	if pending, err := strconv.Atoi(first(msg.Header, "Nats-Pending-Messages")); err == nil {
		r.onWay = max(r.onWay-pending, 0)
	}
	switch {
	case code == "100": // a heartbeat: there is nothing to read
		if last, err := strconv.ParseUint(first(msg.Header, "Nats-Last-Stream"), 10, 64); err == nil && last >= r.next {
			if err := r.fill(ctx, last+1); err != nil {
				return err
			}
		}
		r.idle(r.next - 1)
		return nil
	case code == "408", code == "404", code == "409" && (strings.Contains(text, "MaxBytes") || strings.Contains(text, "Batch Completed")):
		return nil // a request has ended
	case code == "503":
		return fmt.Errorf("%w: nobody answers for it", errSilent)
	case code == "":
		return nil // not one of a consumer
	}
	return fmt.Errorf("the consumer of the stream has ended: %s %s", code, text)
}
