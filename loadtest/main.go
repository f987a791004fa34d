// Command k6 is k6 with the module k6/x/sse, which opens event streams:
//
//	go build -C loadtest -o k6 . && loadtest/k6 run loadtest/scripts/smoke.ts
//
// It has the arguments and commands of k6. Use it and the scripts beside it for load tests in JavaScript, together with other k6
// tests, from several machines, or in a dashboard. For more exact figures at less cost, use fanload; to compare several servers,
// use bench/peers.
package main

import (
	"go.k6.io/k6/cmd"

	_ "fanfare/loadtest/sse" // registers k6/x/sse
)

func main() { cmd.Execute() }
