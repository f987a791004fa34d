package redis

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"fanfare/cluster"
)

// bus is the cluster.Bus of a Log. It has one connection that receives and one that sends, to the same server. All nodes use the
// primary, or any nodes of a Redis Cluster, which pass messages on to each other.
//
// Send does not wait for Redis: it puts messages into outbox, and a goroutine publishes them in that order. They are lost if the
// connection is.
type bus struct {
	l         *Log
	channel   string // of all nodes; a node's own has its name after a colon
	outbox    chan outgoing
	connected atomic.Bool
	started   atomic.Bool
}

// outgoing is a message, or a mark: sent is closed when everything before it has been sent.
type outgoing struct {
	channel, data string
	sent          chan struct{}
}

// Messages that wait to be sent, and messages that go with one write.
const (
	outboxSize = 4096
	sendBatch  = 64
)

var (
	errBusAway = errors.New("redis: the bus is not connected")
	errBusFull = errors.New("redis: too many messages wait for the bus")
)

// Bus returns the bus that belongs to the log: it uses the same server, and the log's Close ends it.
func (l *Log) Bus() cluster.Bus { return l.bus }

func newBus(l *Log) *bus {
	// Channels are the same in all databases of a Redis, and keys are not.
	return &bus{l: l, channel: l.o.Name + ":bus:" + strconv.Itoa(l.client.SelectDB), outbox: make(chan outgoing, outboxSize)}
}

func (b *bus) Send(to string, data []byte) error {
	m := outgoing{channel: b.channel, data: string(data)}
	if to != "" {
		m.channel = b.own(to)
	}
	if !b.connected.Load() {
		return errBusAway
	}
	select {
	case b.outbox <- m:
		return nil
	default:
		return errBusFull
	}
}

func (b *bus) Receive(name string, handle func(data []byte)) error {
	if b.started.Swap(true) {
		return errors.New("redis: Bus.Receive was called before")
	}
	b.l.done.Go(func() {
		for b.l.ctx.Err() == nil {
			err := b.session(name, handle)
			b.connected.Store(false)
			if b.l.ctx.Err() != nil {
				return
			}
			b.l.explain(err)
			select {
			case <-b.l.ctx.Done():
			case <-time.After(100*time.Millisecond + rand.N(400*time.Millisecond)):
			}
		}
	})
	return nil
}

// flushTimeout is how long Close waits until what was sent last, such as a node's farewell, has reached Redis.
const flushTimeout = time.Second

// flush waits until everything before has been sent, for up to flushTimeout.
func (b *bus) flush() {
	if !b.connected.Load() {
		return
	}
	mark := outgoing{sent: make(chan struct{})}
	timeout := time.After(flushTimeout)
	select {
	case b.outbox <- mark:
	case <-timeout:
		return
	}
	select {
	case <-mark.sent:
	case <-timeout:
	}
}

func (b *bus) own(name string) string { return b.channel + ":" + name }

// session receives and sends until an error.
func (b *bus) session(name string, handle func(data []byte)) (err error) {
	defer b.l.recovered(&err)
	k, err := b.l.dial(b.l.ctx, linkBus)
	if err != nil {
		return err
	}
	defer k.close()
	c := k.dedicated
	ended := c.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) { handle([]byte(m.Message)) },
	})
	defer func() { // wait until no hook is running
		k.hangUp()
		for range ended {
		}
	}()
	answer, cancel := context.WithTimeout(b.l.ctx, b.l.o.Timeout)
	err = c.Do(answer, c.B().Subscribe().Channel(b.channel, b.own(name)).Build()).Error()
	cancel()
	if err != nil {
		return err
	}
	b.connected.Store(true)
	for {
		select {
		case <-b.l.ctx.Done():
			return b.l.ctx.Err()
		case err := <-ended:
			if err == nil {
				err = io.EOF
			}
			return err
		case m := <-b.outbox:
			if err := b.publish(k, m); err != nil {
				return err
			}
		}
	}
}

// publish sends a message, and those that wait with it.
func (b *bus) publish(k *link, m outgoing) error {
	commands := make(rueidis.Commands, 0, sendBatch)
	var marks []chan struct{}
	for {
		if m.sent != nil {
			marks = append(marks, m.sent)
		} else {
			commands = append(commands, k.B().Publish().Channel(m.channel).Message(m.data).Build())
		}
		if len(commands) < sendBatch {
			select {
			case m = <-b.outbox:
				continue
			default:
			}
		}
		break
	}
	if len(commands) > 0 {
		ctx, cancel := context.WithTimeout(b.l.ctx, b.l.o.Timeout)
		defer cancel()
		for _, r := range k.DoMulti(ctx, commands...) {
			if err := r.Error(); err != nil {
				return err
			}
		}
	}
	for _, mark := range marks {
		close(mark)
	}
	return nil
}
