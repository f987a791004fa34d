// Command k6 is k6 with the module k6/x/sse, which opens event streams:
//
//	go build -C loadtest -o k6 . && loadtest/k6 run loadtest/scripts/smoke.ts
//
// It takes the arguments of k6 and knows all of its commands.
package main

import (
	"go.k6.io/k6/cmd"

	_ "fanfare/loadtest/sse" // registers k6/x/sse
)

func main() { cmd.Execute() }
