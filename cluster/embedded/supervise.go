package embedded

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// After an error of the disk the server is started again when the disk can be written: it stores nothing until then. The pause
	// between attempts doubles from firstRestart to lastRestart while they fail.
	firstRestart = time.Second
	lastRestart  = 30 * time.Second
	// probeSize is how much must fit on the disk.
	probeSize = 1 << 20
)

// supervise looks at the server when it has reported an error. A stream whose file cannot be written, because the disk is full,
// acknowledges nothing any more, not even when there is room again. So the server is started again then.
func (l *Log) supervise() {
	for {
		select {
		case <-l.messages.errors:
		case <-l.stop:
			return
		}
		if err := l.health(); err != nil {
			l.restart(err)
		}
	}
}

// health returns why the server cannot store events, or nil.
func (l *Log) health() error {
	s := l.host.get()
	switch status := s.Healthz(&server.HealthzOptions{}); {
	case !s.JetStreamEnabled():
		return errors.New("JetStream has stopped")
	case status.Error != "":
		return errors.New(status.Error)
	}
	return nil
}

// restart refuses events until the server works again.
func (l *Log) restart(err error) {
	l.disk.fail(err)
	l.o.Log.Logger.Error("the disk cannot be written: events are refused until it can", "dataDir", l.o.Dir, "err", err)
	for pause := firstRestart; ; pause = min(2*pause, lastRestart) {
		select {
		case <-time.After(pause):
		case <-l.stop:
			return
		}
		if err = probe(l.o.Dir); err == nil {
			err = l.startAgain()
		}
		if err == nil {
			break
		}
	}
	l.disk.fail(nil)
	l.o.Log.Logger.Info("the disk can be written again", "dataDir", l.o.Dir)
}

// startAgain puts another server in the place of the one that has failed. The client connects to it by itself.
func (l *Log) startAgain() error {
	l.host.shutdown()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // Close does not wait for a large log
		select {
		case <-l.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	s, err := start(ctx, l.o, l.messages)
	if err != nil {
		return err
	}
	l.host.set(s)
	return l.health()
}

// probe writes to the disk.
func probe(dir string) error {
	name := filepath.Join(dir, "probe")
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeSize))
	err = errors.Join(err, f.Sync(), f.Close(), os.Remove(name))
	return err
}
