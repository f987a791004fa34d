package chaos_test

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

// redisFleet is a fleet whose log is in Redis.
type redisFleet struct {
	*fleet
	redis *proctest.Redis
	links []*wiretest.Proxy
}

func newRedisFleet(t *testing.T, nodes int, args ...string) *redisFleet {
	t.Helper()
	// Every command is in the file before it is answered, so kill -9 loses nothing.
	f := &redisFleet{fleet: newFleet(t, 0), redis: (&proctest.Redis{T: t, Args: []string{"--appendonly", "yes", "--appendfsync", "always"}}).Start()}
	f.brokers, f.partitions = 1, 1
	for range nodes {
		l := wiretest.NewProxy(t, f.redis.Addr)
		f.links = append(f.links, l)
		f.addNode(append([]string{"--backplane", "redis", "--redis-url", "redis://" + l.Addr(), "--publish-timeout", "3s"}, args...)...)
	}
	return f
}

func (f *redisFleet) cli(args ...string) {
	f.t.Helper()
	if out, err := exec.Command(proctest.Tool(f.t, "redis-cli"), append([]string{"-p", proctest.Port(f.redis.Addr)}, args...)...).CombinedOutput(); err != nil {
		f.t.Fatalf("redis-cli %v: %v\n%s", args, err, out)
	}
}

// TestRedis kills, stops and cuts off nodes and one Redis that keeps a file.
func TestRedis(t *testing.T) {
	for name, fault := range map[string]func(*redisFleet) (gaps []string){
		"node killed": func(f *redisFleet) []string {
			f.nodes[0].Kill()
			f.flows(5)
			f.nodes[0].Restart()
			return nil
		},
		"Redis killed": func(f *redisFleet) []string {
			f.redis.Kill()
			time.Sleep(time.Second)
			f.redis.Start()
			return nil
		},
		"everything killed": func(f *redisFleet) []string {
			f.redis.Kill()
			for _, n := range f.nodes {
				n.Kill()
			}
			f.redis.Start()
			for _, n := range f.nodes {
				n.Restart()
			}
			return nil
		},
		"Redis stopped": func(f *redisFleet) []string {
			f.redis.Signal(syscall.SIGSTOP)
			time.Sleep(4 * time.Second)
			f.redis.Signal(syscall.SIGCONT)
			return nil
		},
		"node cut off from Redis": func(f *redisFleet) []string {
			f.links[0].Stop()
			f.flows(5)
			time.Sleep(2 * time.Second)
			f.links[0].Resume()
			return nil
		},
		"connections to Redis reset": func(f *redisFleet) []string {
			for range 3 {
				f.flows(3)
				for _, l := range f.links {
					l.Reset()
				}
			}
			return nil
		},
		"rolling restart": func(f *redisFleet) []string {
			for _, n := range f.nodes {
				f.flows(3)
				if code := n.Stop(syscall.SIGTERM); code != 0 {
					f.t.Errorf("exit code %d", code)
				}
				n.Restart()
			}
			return nil
		},
		"data deleted": func(f *redisFleet) []string {
			f.cli("FLUSHALL")
			return []string{"epoch", "history", "lag"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRedisFleet(t, 2)
			f.start(load{})
			f.flows(10)
			gaps := fault(f)
			f.flows(10)
			r := f.finish(gaps...)
			if gaps != nil && r.Reasons["epoch"] == 0 {
				t.Error("no gap has reported an epoch")
			}
		})
	}
}
