//go:build linux

// Package launch starts a peer on free loopback ports, waits until an event is delivered, and stops the peer without leaving
// processes or files behind.
//
//	running, err := launch.Start(ctx, env, peer, check.Probe)
//	// use running.Plan
//	err = running.Stop()
package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"fanfare/bench/peers/catalog"
)

const (
	readyWithin = 30 * time.Second
	stopWithin  = 5 * time.Second // then the process is killed
)

// Running is a started peer.
type Running struct {
	Peer catalog.Peer
	Plan catalog.Plan
	// PIDs are the server's own processes, without helpers. Their children count as well.
	PIDs []int

	dir       string
	processes []*process
	stop      sync.Once
	stopErr   error
}

type process struct {
	cmd   *exec.Cmd
	errs  *tail
	ended chan struct{} // closed when it has ended
}

// Probe waits until a peer delivers an event. Use check.Probe.
type Probe func(ctx context.Context, peer catalog.Peer, plan catalog.Plan) error

// Start starts a peer. If the peer does not get ready, the error has its standard error output.
func Start(ctx context.Context, env *catalog.Env, peer catalog.Peer, probe Probe) (*Running, error) {
	ports, err := freePorts()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(env.Bin, "run-") // short, because Pushpin's sockets are in it, and their paths have a limit
	if err != nil {
		return nil, err
	}
	r := &Running{Peer: peer, dir: dir}
	if r.Plan, err = peer.Plan(ctx, env, ports, dir); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", peer.Name, err), os.RemoveAll(dir))
	}
	for _, c := range r.Plan.Commands {
		if err := r.run(c); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", peer.Name, err), r.Stop())
		}
	}
	ready, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	go func() { // a process that has ended will never be ready
		for _, p := range r.processes {
			select {
			case <-p.ended:
				cancel()
			case <-ready.Done():
			}
		}
	}()
	if err := probe(ready, peer, r.Plan); err != nil {
		said := r.said()
		return nil, errors.Join(fmt.Errorf("%s did not get ready: %w\n%s", peer.Name, err, said), r.Stop())
	}
	return r, nil
}

func (r *Running) run(c catalog.Command) error {
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), c.Env...)
	errs := &tail{}
	cmd.Stdout, cmd.Stderr = errs, errs
	cmd.WaitDelay = time.Second
	// With its own process group, the programs that it starts are stopped with it. And a Ctrl-C in the terminal reaches only the
	// command itself, which then stops the peer in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := fork(cmd); err != nil {
		return err
	}
	p := &process{cmd: cmd, errs: errs, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // its output says how it ended
		close(p.ended)
	}()
	r.processes = append(r.processes, p)
	if !c.Helper {
		r.PIDs = append(r.PIDs, cmd.Process.Pid)
	}
	return nil
}

// forks are done by one thread that lives as long as this process: the kernel sends Pdeathsig when the thread that forked
// ends, not the process, and threads of Go come and go. With it no server survives a command that was killed.
var forks = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func fork(cmd *exec.Cmd) error {
	done := make(chan error)
	forks() <- func() { done <- cmd.Start() }
	return <-done
}

// Stop ends the peer's processes, those that they started, and removes its files. It returns an error if anything is left.
func (r *Running) Stop() error {
	r.stop.Do(func() {
		for i := len(r.processes) - 1; i >= 0; i-- {
			r.stopErr = errors.Join(r.stopErr, r.processes[i].end())
		}
		r.stopErr = errors.Join(r.stopErr, os.RemoveAll(r.dir))
	})
	return r.stopErr
}

func (p *process) end() error {
	pid := p.cmd.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.ended:
	case <-time.After(stopWithin):
	}
	// The group still exists while any process of it does; its number cannot be reused before that.
	for deadline := time.Now().Add(stopWithin); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if syscall.Kill(-pid, syscall.SIGKILL) != nil {
			<-p.ended
			return nil
		}
	}
	return fmt.Errorf("processes of group %d cannot be stopped", pid)
}

func (r *Running) said() []byte {
	var all []byte
	for _, p := range r.processes {
		all = append(all, p.errs.text()...)
	}
	return bytes.TrimSpace(all)
}

// Ended returns an error if a process of the peer has ended by itself.
func (r *Running) Ended() error {
	for _, p := range r.processes {
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended by itself: %s", filepath.Base(p.cmd.Path), p.errs.text())
		default:
		}
	}
	return nil
}

// tail keeps the end of a process's output.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if extra := len(t.buf) - tailBytes; extra > 0 {
		t.buf = t.buf[:copy(t.buf, t.buf[extra:])]
	}
	return len(b), nil
}

func (t *tail) text() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.buf)
}
