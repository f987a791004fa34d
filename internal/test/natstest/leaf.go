package natstest

import (
	"fmt"
	"testing"

	"fanfare/internal/test/eventually"
)

// Leaf makes a server with the JetStream domain "hub", and another server that is its leaf node. leafJetStream is what the leaf node's file
// has about JetStream, such as "domain: leaf"; with "" it has none. Neither runs yet.
func Leaf(t testing.TB, leafJetStream string) (hub, leaf *Server) {
	t.Helper()
	hub = &Server{T: t, Name: "hub", JetStream: "domain: hub"}
	leaf = &Server{T: t, Name: "leaf", JetStream: leafJetStream}
	addr := hub.freeAddr("")
	hub.Config = fmt.Sprintf("leafnodes: {listen: %q}", addr)
	leaf.Config = fmt.Sprintf("leafnodes: {reconnect: 1s, remotes: [{url: %q}]}", "nats://"+addr)
	if leafJetStream == "" {
		leaf.Config += "\njetstream: false"
	}
	return hub, leaf
}

// StartLeaf runs both, and waits until they are connected.
func StartLeaf(t testing.TB, leafJetStream string) (hub, leaf *Server) {
	t.Helper()
	hub, leaf = Leaf(t, leafJetStream)
	hub.Start()
	leaf.Start()
	eventually.Holds(t, "the leaf node is connected to its hub", func() (bool, string) {
		var leafz struct {
			Connected int `json:"leafnodes"`
		}
		err := leaf.Monitor("/leafz", &leafz)
		return err == nil && leafz.Connected == 1, fmt.Sprintf("%+v, %v", leafz, err)
	})
	return hub, leaf
}
