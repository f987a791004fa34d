package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"fanfare/cluster/nats"
)

const (
	// readyTimeout bounds how long the server may take to read its files.
	readyTimeout = 10 * time.Minute
	// consumersMemory bounds what readers need; events are on disk.
	consumersMemory = 64 << 20
)

// Log is a cluster.Log and a cluster.Bus with a server in this process. Make one with Open.
type Log struct {
	*nats.Log
	o    Options
	disk *disk
	lock *os.File
	host *host
	// messages tells of errors, so that supervise looks at the server.
	messages *serverLog

	stop      chan struct{}
	done      sync.WaitGroup
	closeOnce sync.Once
}

// host has the server that runs now: after an error of the disk another takes its place.
type host struct {
	mu     sync.Mutex
	server *server.Server
}

func (h *host) get() *server.Server {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.server
}

func (h *host) set(s *server.Server) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.server = s
}

// InProcessConn makes a connection for the client.
func (h *host) InProcessConn() (net.Conn, error) {
	if s := h.get(); s != nil {
		return s.InProcessConn()
	}
	return nil, errClosed
}

func (h *host) shutdown() {
	if s := h.get(); s != nil {
		s.Shutdown()
		s.WaitForShutdown()
		h.set(nil)
	}
}

// Open starts the server on the directory and opens the log. It returns an error that says what to do if another process has the
// directory, or if it cannot be written.
func Open(ctx context.Context, o Options) (*Log, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("dataDir %s: %w", o.Dir, err)
	}
	lock, err := acquire(o.Dir)
	if err != nil {
		return nil, err
	}
	o.serverBytes = o.fit()
	l := &Log{o: o, lock: lock, host: &host{}, messages: newServerLog(o.Log.Logger), stop: make(chan struct{})}
	if l.disk, err = openDisk(o); err != nil {
		l.abort()
		return nil, err
	}
	s, err := start(ctx, o, l.messages)
	if err != nil {
		l.abort()
		return nil, err
	}
	l.host.set(s)
	o.Log.Disk = l.disk
	if l.Log, err = nats.Open(ctx, o.Log.WithConnection(natsgo.InProcessServer(l.host))); err != nil {
		l.abort()
		return nil, fmt.Errorf("dataDir %s: %w", o.Dir, err)
	}
	l.disk.begin()
	l.done.Go(l.supervise)
	return l, nil
}

// Close ends the connection and the server, and notes that everything is on disk.
func (l *Log) Close() {
	l.closeOnce.Do(func() {
		close(l.stop)
		l.done.Wait()
		l.Log.Close()
		l.host.shutdown()
		l.disk.end()
		_ = l.lock.Close()
	})
}

// abort undoes what Open has done. The directory stays marked as it was.
func (l *Log) abort() {
	l.host.shutdown()
	if l.disk != nil {
		l.disk.abandon()
	}
	_ = l.lock.Close()
}

// start runs a server that listens to nobody.
func start(ctx context.Context, o Options, messages *serverLog) (*server.Server, error) {
	interval := serverInterval
	if o.Fsync == FsyncInterval {
		interval = o.Interval
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "fanfare", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: o.Dir, JetStreamMaxMemory: consumersMemory, JetStreamMaxStore: o.serverBytes,
		SyncAlways: o.Fsync == FsyncAlways, SyncInterval: interval,
		MaxPayload: int32(max(minPayload, o.Log.MaxEventBytes) + payloadRoom),
	})
	if err != nil {
		return nil, fmt.Errorf("dataDir %s: %w", o.Dir, err)
	}
	s.SetLoggerV2(messages, false, false, false)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Start()
	}()
	ready := s.ReadyForConnections(timeout(ctx))
	if ready && s.JetStreamEnabled() {
		<-done
		return s, nil
	}
	s.Shutdown()
	s.WaitForShutdown()
	<-done
	if err := messages.fatal(); err != nil {
		return nil, fmt.Errorf("dataDir %s: the log cannot be opened: %w", o.Dir, err)
	}
	return nil, fmt.Errorf("dataDir %s: the log has not been read in time", o.Dir)
}

func timeout(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(time.Until(deadline), readyTimeout)
	}
	return readyTimeout
}

// blocks is the folder with the messages of a stream.
func blocks(dir, stream string) string {
	return filepath.Join(dir, "jetstream", "$G", "streams", stream, "msgs")
}

// blockRange returns the numbers of the oldest and the newest block in a folder, and whether there is one.
func blockRange(folder string) (oldest, newest int, ok bool, err error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, err
	}
	for _, entry := range entries {
		n, block := blockNumber(entry.Name())
		if !block {
			continue
		}
		if !ok {
			oldest, newest, ok = n, n, true
		}
		oldest, newest = min(oldest, n), max(newest, n)
	}
	return oldest, newest, ok, nil
}

// blockNumber reads the number of a name such as 12.blk.
func blockNumber(name string) (n int, ok bool) {
	text, ok := strings.CutSuffix(name, ".blk")
	if !ok || text == "" || len(text) > 9 {
		return 0, false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		n = n*10 + int(text[i]-'0')
	}
	return n, true
}
