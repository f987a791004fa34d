package report

import "slices"

// stat is a figure over all rounds.
type stat struct {
	median, low, high float64
	ratio             float64 // median of the ratios to the floor in the same round; 0: none
	n                 int     // rounds that have the figure
	flawed            bool    // not everything was delivered in some round
	atLeast           bool    // a value is only a lower bound
	few               int     // number of events, if there were too few for a figure; 0: there were enough
}

// floors are the peers to which ratios are computed: one without TLS, one with. A comparison has one of them.
var floors = []string{"floor", "floor-tls"}

func (d *Document) floor() string {
	for _, p := range d.Peers {
		if slices.Contains(floors, p.Name) {
			return p.Name
		}
	}
	return floors[0]
}

// stat returns the figure of a view for a peer, in the scenario with a number of subscribers.
func (d *Document) stat(peer string, v *view, subscribers int) stat {
	kind, value := v.kind, v.value
	var s stat
	var all, ratios []float64
	for round := 1; round <= d.Rounds; round++ {
		run := d.find(peer, kind, subscribers, round)
		if run == nil {
			continue
		}
		s.flawed = s.flawed || len(run.Problems) > 0
		if run.Figures == nil {
			continue
		}
		if run.Figures.Events < v.least {
			s.few = max(s.few, run.Figures.Events, 1)
			continue
		}
		n := value(run.Figures)
		if n <= 0 {
			continue
		}
		s.atLeast = s.atLeast || kind == Burst && run.Figures.AtLeast
		all = append(all, n)
		if f := d.find(d.floor(), kind, subscribers, round); f != nil && f.Figures != nil && value(f.Figures) > 0 {
			ratios = append(ratios, n/value(f.Figures))
		}
	}
	if s.n = len(all); s.n > 0 {
		s.median, s.low, s.high = median(all), slices.Min(all), slices.Max(all)
	}
	if len(ratios) > 0 {
		s.ratio = median(ratios)
	}
	return s
}

func (d *Document) find(peer string, kind Kind, subscribers, round int) *Run {
	for i := range d.Runs {
		r := &d.Runs[i]
		if r.Peer == peer && r.Round == round && r.Scenario.Kind == kind && r.Scenario.Subscribers == subscribers {
			return r
		}
	}
	return nil
}

// others returns the median and the maximum of the processor time that other programs and the host used during a run, in cores.
func (d *Document) others() (middle, most float64) {
	var all []float64
	for i := range d.Runs {
		if f := d.Runs[i].Figures; f != nil {
			all = append(all, f.OtherCores+f.StolenCores)
		}
	}
	if len(all) == 0 {
		return 0, 0
	}
	return median(all), slices.Max(all)
}

// subscribers returns the numbers of subscribers in the scenarios of a kind, ascending.
func (d *Document) subscribers(kind Kind) []int {
	var all []int
	for _, s := range d.Scenarios {
		if s.Kind == kind && !slices.Contains(all, s.Subscribers) {
			all = append(all, s.Subscribers)
		}
	}
	slices.Sort(all)
	return all
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
