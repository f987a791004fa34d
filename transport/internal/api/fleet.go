package api

import (
	"context"

	"fanfare/cluster"
)

// Streams are on all nodes of a fleet, so what concerns them is asked of all nodes, and the answers are added up.

// Answer answers a question about the streams of this node, and ends them where the question says so.
func (a *API) Answer(q cluster.Question) cluster.Answer {
	switch q.Op {
	case "count":
		return cluster.Answer{Count: a.eng.Count(q.Key)}
	case "countAll":
		return cluster.Answer{Count: a.eng.CountAll()}
	case "close":
		return cluster.Answer{Count: a.eng.CloseKey(q.Key)}
	case "closeAll":
		return cluster.Answer{Count: a.eng.CloseAll()}
	case "disconnect":
		return cluster.Answer{Count: a.Disconnect(q.Subject)}
	case "presence":
		return cluster.Answer{Count: a.eng.Count(q.Key), Subjects: a.Presence(q.Key)}
	}
	return cluster.Answer{} // of a newer version
}

// askAll asks all nodes, or this server if there is no fleet, and returns the sums of the answers.
func (a *API) askAll(q cluster.Question) (count int, subjects map[string]int, f fleet) {
	if a.backplane == nil {
		answer := a.Answer(q)
		return answer.Count, answer.Subjects, fleet{}
	}
	q.AfterPublished = q.Op == "close" || q.Op == "closeAll" // otherwise streams would end without what was published before
	answers, silent := a.backplane.Ask(context.Background(), q)
	subjects = map[string]int{}
	for _, answer := range answers {
		count += answer.Count
		for subject, n := range answer.Subjects {
			subjects[subject] += n
		}
	}
	if silent == nil {
		silent = []string{} // [] and not null
	}
	return count, subjects, fleet{Nodes: len(answers), Silent: &silent}
}

// DisconnectAll ends the streams of a subject on all nodes, and returns how many there were.
func (a *API) DisconnectAll(subject string) int {
	n, _, _ := a.askAll(cluster.Question{Op: "disconnect", Subject: subject})
	return n
}

// PresenceOfAll counts the streams on a key by their subjects, on all nodes.
func (a *API) PresenceOfAll(key string) map[string]int {
	_, subjects, _ := a.askAll(cluster.Question{Op: "presence", Key: key})
	return subjects
}
