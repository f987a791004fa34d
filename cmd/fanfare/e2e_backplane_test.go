package main_test

import (
	"strings"
	"syscall"
	"testing"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/natstest"
	"fanfare/internal/test/proctest"
)

// A broker that refuses the login is an error with what to do, and nothing tells the password.
func TestBackplaneLogin(t *testing.T) {
	broker := (&natstest.Server{T: t, Config: "authorization {users: [{user: u, password: right}]}"}).Start()
	r := startRedis(t, "--requirepass", "right")
	for name, args := range map[string][]string{
		"natsCredentials": {"--backplane", "nats", "--nats-url", "nats://u:hunter2@" + broker.Addr},
		"redisURL":        {"--backplane", "redis", "--redis-url", "redis://:hunter2@" + r.Addr},
	} {
		code, _, problem := run(t, nil, append(args, "--listen", "127.0.0.1:0", "--admin", "off")...)
		if code != 1 || !strings.Contains(problem, name) || strings.Contains(problem, "hunter2") {
			t.Errorf("%d %s", code, problem)
		}
	}
}

// A node that starts without its broker waits for it, says so, and stops by a signal.
func TestBackplaneIsAway(t *testing.T) {
	r := startRedis(t)
	r.Kill()
	for _, args := range [][]string{
		{"--backplane", "nats", "--nats-url", "nats://" + proctest.FreeAddr(t)},
		{"--backplane", "redis", "--redis-url", r.URL()},
	} {
		s := &proctest.Server{T: t, Binary: binary}
		p := proctest.Start(t, s.Command(append(args, "--listen", "127.0.0.1:0", "--admin", "off")...))
		eventually.Holds(t, "the log says what is missing", func() (bool, string) {
			text := p.Log.String()
			return strings.Contains(text, "trying again"), text
		})
		if code := p.Stop(syscall.SIGTERM); code != 0 || p.Log.Find("stopped") == nil {
			t.Errorf("exit code %d: %s", code, p.Log)
		}
	}
}

// A node that has another number of partitions than its fleet would look for keys where they are not: it ends, and says what to do.
func TestFleetPartitions(t *testing.T) {
	for name, c := range map[string]struct{ flag, want string }{
		"nats":  {"--nats-partitions", "natsStream fanfare-0: the stream exists and is one of 2, but natsPartitions is 3: that cannot be changed"},
		"redis": {"--redis-partitions", `redisPartitions: it is 3, and the log "fanfare" in Redis has 2: the number cannot change; set redisPartitions to 2`},
	} {
		t.Run(name, func(t *testing.T) {
			url := ""
			if name == "nats" {
				url = (&natstest.Server{T: t}).Start().URL()
			} else {
				url = startRedis(t).URL()
			}
			args := []string{"--backplane", name, "--" + name + "-url", url}
			s := start(t, append(args, c.flag, "2")...)
			code, _, problem := run(t, nil, append(args, c.flag, "3", "--listen", "127.0.0.1:0", "--admin", "off")...)
			if code != 1 || !strings.Contains(problem, c.want) {
				t.Errorf("%d %s", code, problem)
			}
			if a := s.PublishText("news", "still there"); a.ID == "" {
				t.Errorf("%+v", a)
			}
		})
	}
}

// A stream of NATS that was restored while no node was running: no id stands for two events, and clients get a gap, although no node
// knows what the stream had (dataDir).
func TestFleetRestored(t *testing.T) {
	broker := (&natstest.Server{T: t}).Start()
	s := start(t, "--backplane", "nats", "--nats-url", broker.URL())
	s.PublishText("news", "kept")
	backup := broker.Backup("fanfare")
	lost := s.PublishText("news", "lost")
	s.Stop(syscall.SIGTERM)
	broker.Restore(backup)
	s.Restart()
	for range 3 { // the sequence of the lost event is given again
		s.PublishText("news", "after")
	}
	stream := s.resume("news", lost.ID)
	if m := stream.Next(); m.Type != "gap" || !strings.Contains(m.Data, `"reason":"epoch"`) {
		t.Errorf("%v, want a gap", m)
	}
}
