package cluster

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"time"
)

// Question is a question to all nodes.
type Question struct {
	Op      string `json:"op"` // count, countAll, close, closeAll, disconnect, presence
	Key     string `json:"key,omitempty"`
	Subject string `json:"subject,omitempty"`
	// AfterPublished makes each node act only after it has applied what was published before Ask was called: whatever any
	// node had confirmed by then is delivered first.
	AfterPublished bool `json:"-"`
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
	waitFor map[string]bool     // the nodes that were known at the beginning, this one too, and have not answered
	silent  map[string]bool     // those that were silent at the beginning, or have become so, and have not answered
	done    chan struct{}       // closed when waitFor is empty
	closed  bool
}

// partial is an answer of which not all parts may be there.
type partial struct {
	answer Answer
	left   int
	seen   map[int]bool
}

// OnQuestion sets what answers questions on this node. It is called in a goroutine of its own. Call it before Start.
func (n *Node) OnQuestion(answer func(Question) Answer) { n.fleet.answer = answer }

// Ask asks all nodes, this one too, and returns their answers, and the names of those that have not answered within
// FleetTimeout. Both are sorted by name. It does not wait for nodes that are not heard of, but names them: see
// Options.FleetForgetAfter.
//
// With AfterPublished it first asks the log how far it is. If the log does not answer, nobody has answered within
// FleetTimeout, and all nodes are named, this one too. A node that is named may still act, up to ten times FleetTimeout
// later, or 30 seconds if that is longer.
func (n *Node) Ask(ctx context.Context, q Question) (answers []Answer, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, n.o.FleetTimeout)
	defer cancel()
	f := &n.fleet
	id, asked := f.begin()

	// Ask the others, and answer here.
	acting, stop := context.WithTimeout(n.ctx, n.actFor())
	done := make(chan struct{})
	ok := n.spawn(func() {
		defer close(done)
		defer stop()
		f.ask(acting, id, q)
	})
	if !ok { // closed: nobody is asked
		stop()
		close(done)
	}

	select {
	case <-asked.done:
	case <-ctx.Done():
		f.goOn(done, stop)
	}
	return f.end(id, asked)
}

// actFor is how long after a question a node may act. One that is behind acts late rather than not at all: who asked has
// named it as silent by then.
func (n *Node) actFor() time.Duration { return max(10*n.o.FleetTimeout, 30*time.Second) }

// begin notes a question of this node.
func (f *fleet) begin() (id string, asked *inquiry) {
	id = rand.Text()
	asked = &inquiry{
		answers: map[string]*partial{}, waitFor: map[string]bool{f.n.o.Name: true}, silent: map[string]bool{}, done: make(chan struct{}),
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, other := range f.members {
		if other.silent {
			asked.silent[name] = true
		} else {
			asked.waitFor[name] = true
		}
	}
	f.asked[id] = asked
	return id, asked
}

// ask sends a question to the others, and answers it here while they do.
func (f *fleet) ask(ctx context.Context, id string, q Question) {
	var after []place
	if q.AfterPublished {
		var err error
		if after, err = f.n.logEnds(ctx); err != nil {
			return // all are silent
		}
	}
	if f.n.o.Bus != nil {
		_ = f.send("", busMessage{Kind: kindQuestion, ID: id, Question: &q, After: after}) // otherwise the others are silent
	}
	if a, ok := f.answerHere(ctx, q, after); ok {
		f.hearAnswer(busMessage{Node: f.n.o.Name, ID: id, Answer: &a, Parts: 1})
	}
}

// goOn lets a question of this node go on for as long as actFor says, unless too many do.
func (f *fleet) goOn(done <-chan struct{}, stop func()) {
	select {
	case f.late <- struct{}{}:
	default:
		stop()
		return
	}
	free := func() {
		<-done
		<-f.late
	}
	if !f.n.spawn(free) {
		free() // closed, which has stopped it
	}
}

// end returns the answers to a question.
func (f *fleet) end(id string, asked *inquiry) (answers []Answer, silent []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.asked, id)
	for _, a := range asked.answers {
		if a.left == 0 {
			answers = append(answers, a.answer)
		}
	}
	silent = slices.AppendSeq(silent, maps.Keys(asked.waitFor))
	silent = slices.AppendSeq(silent, maps.Keys(asked.silent))
	slices.Sort(silent)
	slices.SortFunc(answers, func(a, b Answer) int { return strings.Compare(a.Node, b.Node) })
	f.n.metrics.silent.Add(float64(len(silent)))
	return answers, silent
}

func (a *inquiry) closeIfComplete() {
	if len(a.waitFor) == 0 && !a.closed {
		a.closed = true
		close(a.done)
	}
}

// closeInquiries stops waiting for nodes that have left, or have become silent. The caller holds mu.
func (f *fleet) closeInquiries() {
	left := func(name string, _ bool) bool { return name != f.n.o.Name && f.members[name] == nil }
	for _, a := range f.asked {
		for name := range a.waitFor {
			if other := f.members[name]; other != nil && other.silent {
				delete(a.waitFor, name)
				a.silent[name] = true
			}
		}
		maps.DeleteFunc(a.waitFor, left)
		maps.DeleteFunc(a.silent, left)
		a.closeIfComplete()
	}
}

// answerHere answers a question on this node, as soon as what it comes after has been applied.
func (f *fleet) answerHere(ctx context.Context, q Question, after []place) (Answer, bool) {
	if f.n.waitApplied(ctx, after) != nil {
		return Answer{}, false
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
		ctx, cancel := context.WithTimeout(f.n.ctx, f.n.actFor())
		defer cancel()
		if a, ok := f.answerHere(ctx, *m.Question, m.After); ok {
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
		delete(asked.silent, m.Node)
		asked.closeIfComplete()
	}
}
