package main_test

import (
	"strings"
	"testing"

	"fanfare/internal/test/natstest"
	"fanfare/internal/test/wiretest"
)

// Nodes at a leaf node of NATS and at its hub are one fleet. Without natsDomain a node at the leaf node does not begin another.
func TestFleetAtLeafNode(t *testing.T) {
	hub, leaf := natstest.StartLeaf(t, "domain: leaf")
	args := func(url string, more ...string) []string {
		return append([]string{"--backplane", "nats", "--nats-url", url}, more...)
	}
	atHub := start(t, args(hub.URL(), "--node-name", "at-hub")...)
	atLeaf := start(t, args(leaf.URL(), "--node-name", "at-leaf", "--nats-domain", "hub")...)
	awaitNodes(t, atHub, atLeaf)

	// Publish at both in turn: the subscribers of both get the same.
	nodes := []server{atHub, atLeaf}
	streams := []*wiretest.Events{atHub.subscribe("news"), atLeaf.subscribe("news")}
	var ids []string
	for i, text := range []string{"a", "b", "c", "d"} {
		ids = append(ids, nodes[i%2].PublishText("news", text).ID)
		for node, stream := range streams {
			if m := stream.Next(); m.Data != text || m.ID != ids[i] {
				t.Errorf("%s: event %d is %v, want id %s", [...]string{"hub", "leaf node"}[node], i, m, ids[i])
			}
		}
	}
	atLeaf.resume("news", ids[0]).WantData("b", "c", "d")

	code, _, problem := run(t, nil, args(leaf.URL(), "--listen", "127.0.0.1:0", "--admin", "off")...)
	if code != 1 || !strings.Contains(problem, "set natsDomain to that domain") {
		t.Errorf("%d %s", code, problem)
	}
}
