// Package ledger records what has been published so far, for subscribers that join and leave while a run publishes. The server
// under test cannot be asked: a subscriber that gets nothing does not know that it should have got something. So the publisher
// records for each key what it sends and what is answered, and a subscriber reads the record when it joins and when it leaves.
// The ledger is memory that the processes of a run share. Neither side waits for the other.
package ledger
