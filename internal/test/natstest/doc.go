// Package natstest runs NATS servers with JetStream in tests: the nats-server of the Go module that go.mod pins, as child
// processes on free ports of loopback, each with a folder of its own.
//
//	broker := (&natstest.Server{T: t}).Start()
//	// a client connects to broker.URL()
//	broker.Kill()  // as kill -9 does
//	broker.Start() // on the same address and folder
//
//	fleet := natstest.StartCluster(t, 3, "")
//	fleet.Servers[1].Pause() // SIGSTOP
//
// Everything that is started here ends with its test.
package natstest
