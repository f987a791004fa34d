// Package nats is a source of events: it publishes the messages of NATS subjects as events of keys.
//
//	nats pub prices.eur 12      ─> key "prices.eur", data "12"
//	nats pub app.shop.orders x  ─> key "shop/orders", by the rule "app.*.* -> {1}/{2}"
//
// How to use it:
//
//	rules, err := nats.ParseRules([]string{"prices.>", "app.*.* -> {1}/{2}"})
//	bridge, err := nats.New(nats.Options{URL: url, Rules: rules, Engine: eng, Publish: publish})
//	bridge.Start()
//	defer bridge.Close()
//
// # What may be lost
//
// These are subscriptions of core NATS, which keeps no messages. What was published during an outage of the connection, or what
// the server dropped because this side was too slow, cannot be known. So after each of them every key that the rules cover gets
// an event "gap" before any other event. An application that must not lose events publishes to Fanfare, or to a JetStream stream
// that is the log of the fleet.
//
// # Connections
//
// The bridge connects, subscribes, and runs until the connection fails. Then it waits and connects again. It never gives up. A
// connection that is open but dead is detected by PING. Close drains: what the server has sent is still published.
//
// In a fleet the node that leads subscribes and publishes for all. A queue group would spread the messages over the nodes, and
// they would be stored in another order than they were sent in. When a node that leads is closed, it goes on until the next one is
// subscribed; that one drops what the other one has published, so nothing is lost, repeated or out of order. When a node takes over
// from one that was killed or cut off, the keys get a gap: messages may have come while nobody was subscribed.
package nats
