// Package proctest runs programs in tests: Fanfare's own binaries, redis-server, proxies, browsers, other people's clients.
//
// A package that tests the server builds it once and starts it as often as it likes:
//
//	binary, err := proctest.Build(dir, "../cmd/fanfare")
//	...
//	s := (&proctest.Server{T: t, Binary: binary, Args: []string{"--history", "8"}}).Start()
//	s.Publish("news", `"hello"`)
//	s.Stop(syscall.SIGTERM)
//	s.Restart() // on the addresses of before
//
// Everything that is started here is killed at the end of its test. What it wrote is logged if the test has failed.
package proctest
