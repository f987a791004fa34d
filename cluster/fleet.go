package cluster

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"
)

// announceInterval is how often a node announces itself.
const announceInterval = time.Second

// maxNodeName is the longest name of a node, in bytes.
const maxNodeName = 128

// maxQuestions bounds the questions of others that a node answers at the same time, and those of its own that go on after
// FleetTimeout. It does not answer more, so it counts as silent.
const maxQuestions = 256

// Kinds of bus messages.
const (
	kindHello    = "hello"
	kindWho      = "who" // asks everybody for a hello
	kindBye      = "bye"
	kindQuestion = "question"
	kindAnswer   = "answer"
	kindTake     = "take"  // to a leader that is about to end: the sender is ready to lead
	kindGiven    = "given" // the answer: the sender has stopped
	kindClaim    = "claim" // a node that starts asks whether its name is free, see claim
	kindTaken    = "taken" // answers the claim of the instance ID: it is not
)

// busMessage is what nodes send to each other, as JSON.
type busMessage struct {
	Kind     string `json:"kind"`
	Node     string `json:"node"`     // the sender
	Instance string `json:"instance"` // of the sender: another one after a restart

	// hello: what this node knows to be stored, and its part in each job, see leads.go.
	Known []place         `json:"known,omitempty"`
	Jobs  map[string]role `json:"jobs,omitempty"`

	// Witnesses are those of this node, by partition, in the answer to who: see witness.go.
	Witnesses []witness `json:"witnesses,omitempty"`
	// Silent are the nodes that this one names as silent.
	Silent []silentNode `json:"silent,omitempty"`

	// take and given: the job. Data is what the leader says at its end.
	Job  string `json:"job,omitempty"`
	Data []byte `json:"data,omitempty"`

	// question and answer. ID identifies the question.
	ID       string    `json:"id,omitempty"`
	Question *Question `json:"question,omitempty"`
	After    []place   `json:"after,omitempty"` // what a node must have applied before it answers, by partition
	Answer   *Answer   `json:"answer,omitempty"`
	Part     int       `json:"part,omitempty"` // a large answer has several parts, numbered from 0
	Parts    int       `json:"parts,omitempty"`
}

// place is an engine.Position in JSON.
type place struct {
	Epoch uint64 `json:"e"`
	Seq   uint64 `json:"s"`
}

// fleet knows the other nodes and asks them.
type fleet struct {
	n        *Node
	instance string
	answer   func(Question) Answer
	claim    claim
	turns    chan struct{} // has a token for each question of another node that is being answered
	late     chan struct{} // has a token for each question of this node that goes on after FleetTimeout

	mu           sync.Mutex
	members      map[string]*member   // the other nodes, by name
	left         map[string]time.Time // the instances that have said good-bye, and when
	asked        map[string]*inquiry
	jobs         map[string]*job // of this node
	leadsChanged chan struct{}   // closed, and replaced, when the jobs of another node have changed
	announcing   sync.Mutex      // held while an announcement is made and sent; before mu
	lastHello    time.Time       // when an announcement of this node last came back, so the bus works
}

func (f *fleet) init(n *Node) {
	f.n, f.instance = n, n.idPrefix
	f.claim.init(n.o.UniqueName && n.o.Bus != nil)
	f.turns, f.late = make(chan struct{}, maxQuestions), make(chan struct{}, maxQuestions)
	f.members, f.left = map[string]*member{}, map[string]time.Time{}
	f.asked, f.jobs = map[string]*inquiry{}, map[string]*job{}
	f.leadsChanged = make(chan struct{})
	f.answer = func(Question) Answer { return Answer{} }
}

// start begins to announce this node.
func (f *fleet) start() {
	if f.n.o.Bus == nil {
		return
	}
	if err := f.n.o.Bus.Receive(f.n.o.Name, f.receive); err != nil {
		f.n.log.Error("messages of other nodes cannot be received: this node does not answer their questions", "error", err)
	}
	f.n.spawn(func() {
		if !f.claimName() {
			return
		}
		ticker := time.NewTicker(announceInterval)
		defer ticker.Stop()
		for {
			f.announce("")
			select {
			case <-ticker.C:
			case <-f.n.ctx.Done():
				return
			}
			f.checkMembers()
		}
	})
}

// learnTimeout bounds the wait for what other nodes know.
const learnTimeout = 500 * time.Millisecond

// learn asks the known nodes what they know to be stored, and waits for it a short time.
func (f *fleet) learn(ctx context.Context) {
	if f.n.o.Bus == nil {
		return
	}
	began := time.Now()
	if f.send("", busMessage{Kind: kindWho}) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	for ctx.Err() == nil {
		f.mu.Lock()
		waiting := false
		for _, other := range f.members {
			waiting = waiting || !other.silent && other.heard.Before(began)
		}
		f.mu.Unlock()
		if !waiting {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// announce sends a hello to a node, or to all.
func (f *fleet) announce(to string) {
	if f.claim.pending.Load() {
		return
	}
	f.announcing.Lock() // an older announcement must not come after a newer one: it would take back what that one says
	defer f.announcing.Unlock()
	hello := busMessage{Kind: kindHello}
	for _, p := range f.n.partitions {
		at := p.position()
		hello.Known = append(hello.Known, place{at.Epoch, at.Seq})
	}
	f.mu.Lock()
	for name, own := range f.jobs {
		if own.role == "" {
			continue
		}
		if hello.Jobs == nil {
			hello.Jobs = map[string]role{}
		}
		if time.Since(f.lastHello) > leadFor {
			own.cutOff()
		}
		if hello.Jobs[name] = own.role; own.role == "" {
			delete(hello.Jobs, name)
		}
	}
	hello.Silent = f.silentNodes(time.Now())
	f.mu.Unlock()
	if to != "" {
		hello.Witnesses = f.n.witnesses()
	}
	_ = f.send(to, hello) // the metric of the connection shows an error
}

// hearOwn gets an announcement of this node: the bus works, and the others have got it too.
func (f *fleet) hearOwn(m busMessage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastHello = time.Now()
	for name := range m.Jobs {
		if own := f.jobs[name]; own != nil && own.since.IsZero() {
			if own.since = f.lastHello; own.cut {
				own.since, own.cut = own.since.Add(2*announceInterval), false
			}
		}
	}
}

// leave tells all nodes that this one ends.
func (f *fleet) leave() {
	if f.n.o.Bus != nil && !f.claim.pending.Load() {
		_ = f.send("", busMessage{Kind: kindBye}) // otherwise they name it as silent
	}
}

func (f *fleet) send(to string, m busMessage) error {
	m.Node, m.Instance = f.n.o.Name, f.instance
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return f.n.o.Bus.Send(to, data)
}

// receive gets every message, also those of this node. It does not block.
func (f *fleet) receive(data []byte) {
	var m busMessage
	if err := json.Unmarshal(data, &m); err != nil || m.Node == "" {
		f.n.limited.Log(f.n.log, slog.LevelWarn, "bus", "a message on the bus of the fleet is not one of a node: it is ignored", "error", err)
		return
	}
	if m.Instance == f.instance {
		switch m.Kind {
		case kindHello:
			f.hearOwn(m)
		case kindClaim:
			signal(f.claim.heard)
		}
		return
	}
	if m.Node == f.n.o.Name {
		switch {
		case m.Kind == kindClaim:
			f.hearClaim(m)
			return
		case m.Kind == kindTaken && m.ID == f.instance:
			signal(f.claim.taken)
			return
		case m.Kind == kindTaken, f.claim.pending.Load():
			return
		}
		f.n.metrics.conflicts.Inc()
		f.n.limited.Log(f.n.log, slog.LevelError, "name", "another node has the name of this one: give each node a name of its own (nodeName)",
			"nodeName", m.Node)
		return
	}
	switch m.Kind {
	case kindHello:
		f.hear(m)
	case kindWho:
		f.announce(m.Node)
	case kindBye:
		f.hearBye(m)
	case kindQuestion:
		if !f.claim.pending.Load() { // it may be for the node that has the name
			f.hearQuestion(m)
		}
	case kindAnswer:
		f.hearAnswer(m)
	case kindTake:
		f.hearTake(m)
	case kindGiven:
		f.hearGiven(m)
	}
}
