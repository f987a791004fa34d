package cluster

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"time"

	"fanfare/engine"
)

// Question is a question to all nodes. After has the positions that a node must have applied before it acts, one for each
// partition, 0 for none: what was published before is delivered first.
type Question struct {
	Op      string   `json:"op"` // count, countAll, close, closeAll, disconnect, presence
	Key     string   `json:"key,omitempty"`
	Subject string   `json:"subject,omitempty"`
	After   []uint64 `json:"after,omitempty"`
}

// Answer is what one node says.
type Answer struct {
	Node     string         `json:"node"`
	Count    int            `json:"count"`
	Subjects map[string]int `json:"subjects,omitempty"`
}

// answerBytes is about how many bytes of subjects one message has. A broker takes a megabyte by default.
const answerBytes = 256 << 10

// inquiry is a question of this node that waits for answers. It is guarded by fleet.mu.
type inquiry struct {
	answers map[string]*partial // by node
	waitFor map[string]bool     // the nodes that were known at the beginning and have not answered
	done    chan struct{}       // closed when waitFor is empty
	closed  bool
}

// partial is an answer of which not all parts may be there.
type partial struct {
	answer Answer
	left   int
	seen   map[int]bool
}

// OnQuestion sets what answers questions on this node. It is called in a goroutine of its own, after the positions of
// Question.After have been applied. Call it before Start.
func (n *Node) OnQuestion(answer func(Question) Answer) { n.fleet.answer = answer }

// Ask asks all nodes, this one too, and returns their answers, and the names of those that are known and have not
// answered within FleetTimeout. Both are sorted by name. Without a broker it returns the answer of this node, and names
// the nodes that were known before.
func (n *Node) Ask(ctx context.Context, q Question) (answers []Answer, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, n.o.FleetTimeout)
	defer cancel()
	f := &n.fleet
	epochs := make([]uint64, len(n.partitions))
	for i, p := range n.partitions {
		epochs[i], _ = p.current()
	}

	// Ask the others.
	id := rand.Text()
	asked := &inquiry{answers: map[string]*partial{}, waitFor: map[string]bool{}, done: make(chan struct{})}
	f.mu.Lock()
	for name := range f.members {
		asked.waitFor[name] = true
	}
	f.asked[id] = asked
	asked.closeIfComplete()
	f.mu.Unlock()
	if n.o.Bus != nil {
		_ = f.send("", busMessage{Kind: kindQuestion, ID: id, Question: &q, Epochs: epochs}) // otherwise all are silent
	}

	// Answer it here, while the others do.
	own, answered := f.answerHere(ctx, q, epochs)
	select {
	case <-asked.done:
	case <-ctx.Done():
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.asked, id)
	if answered {
		answers = append(answers, own)
	} else {
		silent = append(silent, n.o.Name)
	}
	for _, a := range asked.answers {
		if a.left == 0 {
			answers = append(answers, a.answer)
		}
	}
	silent = slices.AppendSeq(silent, maps.Keys(asked.waitFor))
	slices.Sort(silent)
	slices.SortFunc(answers, func(a, b Answer) int { return strings.Compare(a.Node, b.Node) })
	n.metrics.silent.Add(float64(len(silent)))
	return answers, silent
}

func (a *inquiry) closeIfComplete() {
	if len(a.waitFor) == 0 && !a.closed {
		a.closed = true
		close(a.done)
	}
}

// closeInquiries stops waiting for nodes that have left. The caller holds mu.
func (f *fleet) closeInquiries() {
	for _, a := range f.asked {
		maps.DeleteFunc(a.waitFor, func(name string, _ bool) bool { return f.members[name] == nil })
		a.closeIfComplete()
	}
}

// answerHere answers a question on this node, as soon as what it comes after has been applied.
func (f *fleet) answerHere(ctx context.Context, q Question, epochs []uint64) (Answer, bool) {
	for i, seq := range q.After {
		if i >= len(f.n.partitions) || i >= len(epochs) || seq == 0 {
			continue
		}
		done, cancel := f.n.partitions[i].waitApplied(engine.Position{Epoch: epochs[i], Seq: seq})
		select {
		case <-done:
		case <-ctx.Done():
			cancel()
			return Answer{}, false
		}
	}
	a := f.answer(q)
	a.Node = f.n.o.Name
	return a, true
}

// hearQuestion answers a question of another node.
func (f *fleet) hearQuestion(m busMessage) {
	if m.Question == nil {
		return
	}
	select {
	case f.turns <- struct{}{}:
	default:
		return // too many at the same time: this node counts as silent
	}
	ok := f.n.spawn(func() {
		defer func() { <-f.turns }()
		// A node that is behind acts late rather than not at all: who asked has named it as silent by then.
		ctx, cancel := context.WithTimeout(f.n.ctx, max(10*f.n.o.FleetTimeout, 30*time.Second))
		defer cancel()
		if a, ok := f.answerHere(ctx, *m.Question, m.Epochs); ok {
			f.sendAnswer(m, a)
		}
	})
	if !ok {
		<-f.turns
	}
}

// sendAnswer sends an answer, in several parts if it has many subjects.
func (f *fleet) sendAnswer(m busMessage, a Answer) {
	parts := []Answer{{Node: a.Node, Count: a.Count}}
	size := 0
	for subject, count := range a.Subjects {
		if size > answerBytes {
			parts = append(parts, Answer{Node: a.Node})
			size = 0
		}
		last := &parts[len(parts)-1]
		if last.Subjects == nil {
			last.Subjects = map[string]int{}
		}
		last.Subjects[subject] = count
		size += 2*len(subject) + 16
	}
	for i := range parts {
		if err := f.send(m.Node, busMessage{Kind: kindAnswer, ID: m.ID, Answer: &parts[i], Part: i, Parts: len(parts)}); err != nil {
			return // this node counts as silent
		}
	}
}

// hearAnswer takes an answer, or a part of one.
func (f *fleet) hearAnswer(m busMessage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked[m.ID]
	if asked == nil || m.Answer == nil || m.Part < 0 || m.Part >= m.Parts {
		return // too late
	}
	a := asked.answers[m.Node]
	if a == nil {
		a = &partial{answer: Answer{Node: m.Node}, left: m.Parts, seen: map[int]bool{}}
		asked.answers[m.Node] = a
	}
	if a.seen[m.Part] {
		return
	}
	a.seen[m.Part] = true
	a.left--
	a.answer.Count += m.Answer.Count
	if len(m.Answer.Subjects) > 0 && a.answer.Subjects == nil {
		a.answer.Subjects = map[string]int{}
	}
	maps.Copy(a.answer.Subjects, m.Answer.Subjects)
	if a.left == 0 {
		delete(asked.waitFor, m.Node)
		asked.closeIfComplete()
	}
}
