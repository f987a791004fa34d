//go:build linux

package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"fanfare/bench/peers/catalog"
	"fanfare/bench/peers/launch"
)

// Size is how much is measured.
type Size struct {
	Subscribers int // of each node
	Events      int
	InFlight    int // publish requests at the same time
}

// Result is what one fleet did. Times of the processor are those of all nodes together, and of the broker.
type Result struct {
	Fleet              string        `json:"fleet"`
	Size               Size          `json:"size"`
	AckP50, AckP99     time.Duration // from a publish to its answer
	DeliverP50         time.Duration // from a publish to a subscriber
	DeliverP99         time.Duration
	Rate               float64       // events a second
	NodesCPU           time.Duration // for each event
	BrokerCPU          time.Duration
	Lost, Again, Wrong int // deliveries that are missing, come twice, come in another order
}

// running is a fleet that runs.
type running struct {
	fleet            Fleet
	broker, nodes    *launch.Running
	streams, publish []string // addresses
}

// start starts the broker, then the nodes.
func start(ctx context.Context, env *catalog.Env, f Fleet) (*running, error) {
	ports, err := launch.FreePorts(1 + 2*Nodes)
	if err != nil {
		return nil, err
	}
	r := &running{fleet: f}
	at := address(ports[0])
	r.broker, err = launch.Start(ctx, env, catalog.Peer{Name: f.Name + "'s broker", Plan: func(ctx context.Context, env *catalog.Env, _ catalog.Ports, dir string) (catalog.Plan, error) {
		args, err := f.Broker(ctx, env, dir, ports[0])
		return catalog.Plan{Commands: []catalog.Command{{Args: args}}}, err
	}}, func(ctx context.Context, _ catalog.Peer, _ catalog.Plan) error { return listens(ctx, at) })
	if err != nil {
		return nil, err
	}
	for i := range Nodes {
		stream, publish := ports[1+2*i], ports[2+2*i]
		if f.OnePort {
			publish = stream
		}
		r.streams, r.publish = append(r.streams, address(stream)), append(r.publish, address(publish))
	}
	r.nodes, err = launch.Start(ctx, env, catalog.Peer{Name: f.Name, Plan: func(ctx context.Context, env *catalog.Env, _ catalog.Ports, dir string) (plan catalog.Plan, err error) {
		for i := range Nodes {
			args, err := f.Node(ctx, env, dir, at, i+1, ports[1+2*i], ports[2+2*i])
			if err != nil {
				return plan, err
			}
			plan.Commands = append(plan.Commands, catalog.Command{Args: args})
		}
		return plan, nil
	}}, func(ctx context.Context, _ catalog.Peer, _ catalog.Plan) error {
		for _, addr := range slices.Concat(r.streams, r.publish) {
			if err := listens(ctx, addr); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, r.broker.Stop())
	}
	return r, nil
}

func (r *running) stop() error { return errors.Join(r.nodes.Stop(), r.broker.Stop()) }

// listens waits until somebody accepts connections.
func listens(ctx context.Context, addr string) error {
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nobody listens on %s: %w", addr, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Measure starts a fleet, measures it with each of the sizes, and stops it.
func Measure(ctx context.Context, env *catalog.Env, f Fleet, sizes []Size) (results []Result, err error) {
	r, err := start(ctx, env, f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	for i, size := range sizes {
		result, err := r.measure(ctx, "key"+strconv.Itoa(i), size)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, errors.Join(err, r.nodes.Ended(), r.broker.Ended()))
		}
		results = append(results, result)
	}
	return results, nil
}

func (r *running) measure(ctx context.Context, key string, size Size) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}}
	defer client.CloseIdleConnections()
	result := Result{Fleet: r.fleet.Name, Size: size}

	// A node may refuse everything until it has found its broker.
	for patience, node := time.Now().Add(time.Minute), 0; node < Nodes; {
		if err := r.publishOne(ctx, client, node, key, -1); err == nil {
			node++
		} else if time.Now().After(patience) {
			return result, err
		} else {
			time.Sleep(50 * time.Millisecond)
		}
	}
	subscribers := make([]*subscriber, Nodes*size.Subscribers)
	failed := make(chan error, len(subscribers))
	for i := range subscribers {
		subscribers[i] = &subscriber{events: size.Events, seen: make([]time.Time, size.Events)}
		go func() {
			failed <- subscribers[i].read(ctx, client, "http://"+r.streams[i%Nodes]+r.fleet.Subscribe(key))
		}()
	}
	// Nothing else shows for all servers that a stream will receive the next event: number -1 is published until each has one.
	for ready := 0; ready < len(subscribers); {
		if err := r.publishOne(ctx, client, 0, key, -1); err != nil {
			return result, err
		}
		select {
		case err := <-failed:
			return result, err
		case <-time.After(100 * time.Millisecond):
		}
		ready = 0
		for _, s := range subscribers {
			if s.started() {
				ready++
			}
		}
	}

	nodes, broker := groupsCPU(r.nodes.PIDs), groupsCPU(r.broker.PIDs)
	begin := time.Now()
	acks, sent, err := r.publishAll(ctx, client, key, size)
	if err != nil {
		return result, err
	}
	result.Rate = float64(size.Events) / time.Since(begin).Seconds()
	quiet := 0
	for last := -1; quiet < 50; { // all have all, or nothing has come for five seconds
		total := 0
		for _, s := range subscribers {
			total += s.count()
		}
		if total >= len(subscribers)*size.Events {
			break
		}
		if quiet++; total != last {
			quiet, last = 0, total
		}
		time.Sleep(100 * time.Millisecond)
	}
	events := time.Duration(size.Events)
	result.NodesCPU, result.BrokerCPU = (groupsCPU(r.nodes.PIDs)-nodes)/events, (groupsCPU(r.broker.PIDs)-broker)/events

	var delays []time.Duration
	for _, s := range subscribers {
		s.mu.Lock()
		for n, at := range s.seen {
			if at.IsZero() {
				result.Lost++
			} else {
				delays = append(delays, at.Sub(sent[n]))
			}
		}
		result.Again += s.again
		if size.InFlight == 1 { // otherwise there is no order to keep
			result.Wrong += s.wrong
		}
		s.mu.Unlock()
	}
	result.AckP50, result.AckP99 = quantiles(acks)
	result.DeliverP50, result.DeliverP99 = quantiles(delays)
	return result, nil
}

// publishAll publishes the events 0 to Events-1, to each node in turn.
func (r *running) publishAll(ctx context.Context, client *http.Client, key string, size Size) (acks []time.Duration, sent []time.Time, err error) {
	acks, sent = make([]time.Duration, size.Events), make([]time.Time, size.Events)
	todo, failed := make(chan int), make(chan error, size.InFlight)
	for range size.InFlight {
		go func() {
			var err error
			for n := range todo {
				if err != nil {
					continue
				}
				sent[n] = time.Now()
				err = r.publishOne(ctx, client, n%Nodes, key, n)
				acks[n] = time.Since(sent[n])
			}
			failed <- err
		}()
	}
	for n := range size.Events {
		todo <- n
	}
	close(todo)
	for range size.InFlight {
		err = errors.Join(err, <-failed)
	}
	return acks, sent, err
}

// padding makes an event as large as those of the other scenarios.
var padding = strings.Repeat("x", 40)

func (r *running) publishOne(ctx context.Context, client *http.Client, node int, key string, number int) error {
	path, contentType, body := r.fleet.Publish(key, fmt.Sprintf(`{"p":"%s","n":%d}`, padding, number))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.publish[node]+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", contentType)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if response.StatusCode/100 != 2 || err != nil || r.fleet.Accepted != nil && !r.fleet.Accepted(answer) {
		return fmt.Errorf("publish to node %d: %s, %v, %.200s", node+1, response.Status, err, answer)
	}
	return nil
}

// subscriber is one stream.
type subscriber struct {
	events int

	mu           sync.Mutex
	begun        bool
	seen         []time.Time // of each event
	got, last    int
	again, wrong int
}

func (s *subscriber) started() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

func (s *subscriber) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

func (s *subscriber) read(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("a stream is answered with %s", response.Status)
	}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		_, after, found := strings.Cut(lines.Text(), `"n":`)
		number, err := strconv.Atoi(strings.TrimRight(after, "}"))
		if !found || err != nil {
			continue
		}
		s.note(number, time.Now())
	}
	return errors.New("a stream ended")
}

func (s *subscriber) note(number int, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.begun = true; {
	case number < 0 || number >= s.events:
	case !s.seen[number].IsZero():
		s.again++
	default:
		s.seen[number] = at
		s.got++
		if number < s.last {
			s.wrong++
		}
		s.last = number
	}
}

func quantiles(d []time.Duration) (p50, p99 time.Duration) {
	if len(d) == 0 {
		return 0, 0
	}
	slices.Sort(d)
	return d[len(d)/2], d[len(d)*99/100]
}

// groupsCPU is the processor time of the process groups, to a hundredth of a second.
func groupsCPU(groups []int) (sum time.Duration) {
	files, _ := os.ReadDir("/proc")
	for _, f := range files {
		text, err := os.ReadFile("/proc/" + f.Name() + "/stat")
		if err != nil {
			continue // not a process, or it has ended
		}
		_, after, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(after)
		if len(fields) < 13 {
			continue
		}
		if group, err := strconv.Atoi(fields[2]); err != nil || !slices.Contains(groups, group) {
			continue
		}
		for _, ticks := range fields[11:13] { // utime and stime
			n, _ := strconv.Atoi(ticks)
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}
