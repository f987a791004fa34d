package main

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// question is what a fleet has to carry.
type question struct {
	subscribers float64
	keys        float64
	broadcasts  float64 // events to all subscribers, a second
	events      float64 // events to the subscriber of one key, a second
	bytes       float64 // of an event on the wire
	batch       float64 // events in a publish request
	tls         bool

	backplane  string
	replicas   float64
	partitions float64 // 0: as many as are needed
	retention  time.Duration

	cores          float64 // of a node
	load           float64 // how much of them may be used
	streamsPerNode float64
	ping           time.Duration
}

func (q question) check() error {
	for _, c := range []struct {
		flag   string
		value  float64
		least  float64
		reason string
	}{
		{"--subscribers", q.subscribers, 1, "how many streams are open"},
		{"--keys", q.keys, 1, "how many keys there are"},
		{"--broadcasts", q.broadcasts, 0, "events a second to all subscribers"},
		{"--events", q.events, 0, "events a second, each to the subscriber of one key"},
		{"--bytes", q.bytes, 1, "the size of an event on the wire"},
		{"--batch", q.batch, 1, "events in a publish request"},
		{"--partitions", q.partitions, 0, "0 for as many as are needed"},
		{"--cores", q.cores, 1, "cores of a node"},
		{"--streams-per-node", q.streamsPerNode, 1, "streams that a node may hold"},
	} {
		if c.value < c.least {
			return fmt.Errorf("%s: %v is less than %v: write %s", c.flag, c.value, c.least, c.reason)
		}
	}
	switch {
	case q.load <= 0 || q.load > 1:
		return fmt.Errorf("--load: %v is not a share: write how much of a node's cores may be used, such as 0.5", q.load)
	case q.ping <= 0:
		return fmt.Errorf("--ping: %s is not a time: write pingInterval, such as 10s", q.ping)
	case q.backplane != "off" && q.backplane != "embedded" && q.backplane != "nats" && q.backplane != "redis":
		return fmt.Errorf("--backplane: %q is not off, embedded, nats or redis", q.backplane)
	case q.replicas != 1 && q.replicas != 3:
		return fmt.Errorf("--replicas: %v was not measured: write 1 or 3", q.replicas)
	}
	return nil
}

// compute writes down what the fleet needs.
func compute(q question, f figures) (*sheet, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	s := &sheet{figures: f}
	fleet := q.backplane == "nats" || q.backplane == "redis"
	load := q.deliveries(s)
	nodes, err := q.nodes(s, load, fleet)
	if err != nil {
		return nil, err
	}
	q.perNode(s, load, nodes)
	switch q.backplane {
	case "nats":
		q.natsBroker(s, load, nodes)
	case "redis":
		q.redisBroker(s, load, nodes)
	case "embedded":
		s.begin("The log, in the process")
		s.limit("events stored a second, by fsync: group", load.logged, f.byName["group"])
		s.add("disk for "+q.retention.String(), "GB", "%s * (%s + %s) * %s / 1e9", load.logged, q.bytes, f.byName["record"], q.retention.Seconds())
	}
	return s, nil
}

// loads are what the subscribers and publishers cause, of all nodes together.
type loads struct {
	logged     float64 // events a second
	deliveries float64
	cores      float64 // without what each node needs for the log
}

func (q question) deliveries(s *sheet) (l loads) {
	f := s.figures.byName
	s.begin("What has to be done, by all nodes together")
	l.logged = s.add("events", "/s", "%s + %s", q.broadcasts, q.events)
	l.deliveries = s.add("deliveries", "/s", "%s * %s + %s", q.subscribers, q.broadcasts, q.events)
	deliver := s.add("deliveries", "cores", "%s * %s / 1e6", l.deliveries, f["delivery"])
	beat := s.add("heartbeats of quiet streams", "cores", "%s / %s * %s / 1e6", q.subscribers, q.ping.Seconds(), f["heartbeat"])
	publish := s.add("publish requests", "cores", "%s / %s * %s / 1e6", l.logged, q.batch, f["publish"])
	stored := 0.0
	if q.backplane != "off" {
		one := f["appendSingle"]
		if q.batch > 1 {
			one = f["appendBatch"]
		}
		stored = s.add("giving them to the log", "cores", "%s * %s / 1e6", l.logged, one)
	}
	l.cores = s.add("together", "cores", "%s + %s + %s + %s", deliver, beat, publish, stored)
	s.add("network to subscribers", "Gb/s", "%s * (%s + %s) * 8 / 1e9", l.deliveries, q.bytes, f["packet"])
	return l
}

func (q question) nodes(s *sheet, l loads, fleet bool) (nodes float64, err error) {
	s.begin("Nodes")
	follow := 0.0
	if q.backplane != "off" {
		follow = s.add("each node follows the whole log", "cores", "%s * %s / 1e6", l.logged, s.figures.byName["follow"])
	}
	room := q.cores*q.load - follow
	if room <= 0 {
		return 0, fmt.Errorf("no number of nodes is enough: each reads all %s events a second, which takes %s of the %s cores that it may use: "+
			"give the nodes more cores, or divide the keys among several fleets", number(l.logged), number(follow), number(q.cores*q.load))
	}
	byStreams := s.ceil("for the streams", "nodes", "%s / %s", q.subscribers, q.streamsPerNode)
	byCores := s.ceil("for the processor time", "nodes", "%s / (%s * %s - %s)", l.cores, q.cores, q.load, follow)
	nodes = math.Max(byStreams, byCores)
	if fleet {
		return s.add("and one that may be away", "nodes", "%s + 1", nodes), nil
	}
	if nodes > 1 {
		return 0, errors.New("one node is not enough, and with backplane " + q.backplane + " there is only one: use nats or redis")
	}
	return 1, nil
}

func (q question) perNode(s *sheet, l loads, nodes float64) {
	f := s.figures.byName
	stream, connect := f["stream"], f["connect"]
	if q.tls {
		stream, connect = f["streamTLS"], f["connectTLS"]
	}
	s.begin("Each node")
	streams := s.add("streams", "", "%s / %s", q.subscribers, nodes)
	most := streams
	if nodes > 1 {
		most = s.add("streams while one node is away", "", "%s / (%s - 1)", q.subscribers, nodes)
	}
	s.add("memory for streams", "GB", "%s * (%s + %s) / 1e6", most, stream, f["socket"])
	s.add("memory for keys, at most", "GB", "%s * %s / 1e9", q.keys, f["key"])
	s.add("network to subscribers", "Gb/s", "%s * (%s + %s) * 8 / 1e9 / %s", l.deliveries, q.bytes, f["packet"], nodes)
	if q.broadcasts > 0 {
		s.add("time of a broadcast, from the first stream to the last", "ms", "%s * %s / 1e3 / %s", streams, f["delivery"], q.cores)
	}
	if nodes > 1 {
		s.add("time of the others when the streams of one node come back", "s", "%s * %s / 1e6 / ((%s - 1) * %s)", streams, connect, nodes, q.cores)
	}
}

func (q question) natsBroker(s *sheet, l loads, nodes float64) {
	f := s.figures.byName
	suffix := fmt.Sprint(q.replicas)
	store := f["storeSingle"+suffix]
	if q.batch > 1 {
		store = f["storeBatch"+suffix]
	}
	s.begin("NATS servers, all together")
	keep := s.add("storing", "cores", "%s * %s / 1e6", l.logged, store)
	give := s.add("giving each event to each node", "cores", "%s * %s * %s / 1e6", l.logged, f["distribute"+suffix], nodes)
	s.add("together", "cores", "%s + %s", keep, give)
	if q.partitions == 0 {
		s.ceil("partitions (natsPartitions)", "", "%s / %s", l.logged, f["partition"+suffix])
	} else {
		s.limit("events of one partition, if keys are spread evenly", s.add("events of one partition", "/s", "%s / %s", l.logged, q.partitions), f["partition"+suffix])
	}
	s.add("network to nodes", "Gb/s", "%s * (%s + %s) * 8 / 1e9 * %s", l.logged, q.bytes, f["record"], nodes)
	s.add("memory for keys, each server", "GB", "%s * %s / 1e9", q.keys, f["brokerKey"])
	s.add("disk for "+q.retention.String()+", each server", "GB", "%s * (%s + %s) * %s / 1e9", l.logged, q.bytes, f["record"], q.retention.Seconds())
}

func (q question) redisBroker(s *sheet, l loads, nodes float64) {
	f := s.figures.byName
	s.begin("Redis")
	s.limit("events stored a second", l.logged, f["redis"])
	s.add("network to nodes", "Gb/s", "%s * (%s + %s) * 8 / 1e9 * %s", l.logged, q.bytes, f["redisEntry"], nodes)
	s.add("memory for "+q.retention.String(), "GB", "%s * (%s + %s) * %s / 1e9", l.logged, q.bytes, f["redisEntry"], q.retention.Seconds())
}
