package nats

import (
	"errors"

	natsgo "github.com/nats-io/nats.go"
)

// busRoom is how many messages wait for the handler. More are lost: it must not block.
const busRoom = 4096

var errBusSize = errors.New("the message is larger than max_payload of the NATS server")

// Send sends data to a node, or to all if to is "", see cluster.Bus.
func (l *Log) Send(to string, data []byte) error {
	if int64(len(data)) > l.nc.MaxPayload() {
		return errBusSize
	}
	return l.nc.Publish(l.busSubject(to), data)
}

// Receive gets what is sent to the node called name and to all.
func (l *Log) Receive(name string, handle func(data []byte)) error {
	// Both go through one channel, so a sender's messages stay in order.
	messages := make(chan *natsgo.Msg, busRoom)
	for _, to := range []string{name, ""} {
		if _, err := l.nc.ChanSubscribe(l.busSubject(to), messages); err != nil {
			return err
		}
	}
	go func() {
		for {
			select {
			case msg := <-messages:
				handle(msg.Data)
			case <-l.closed:
				return
			}
		}
	}()
	return l.nc.Flush()
}

func (l *Log) busSubject(to string) string {
	if to == "" {
		return l.subjects.prefix + ".bus.all"
	}
	b := append(make([]byte, 0, 64), l.subjects.prefix+".bus.node."...)
	b, _ = appendToken(b, to)
	return string(b)
}
