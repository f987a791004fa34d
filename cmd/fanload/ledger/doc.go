// Package ledger is what has been published so far, for those that subscribe and leave while a run publishes. The server
// under test is no witness: a subscriber that gets nothing can't know that it should have. So the publisher writes down for each key what
// it sends and what is answered, and a subscriber looks at its start and at its end. It is memory that the processes of a
// run share: neither side waits for the other.
package ledger
