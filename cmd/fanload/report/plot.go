package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// The size of a plot in SVG units, and its margins for the axes.
const (
	plotWidth, plotHeight             = 760, 260
	left, right, above, below         = 78, 16, 20, 40
	innerWidth, innerHeight           = plotWidth - left - right, plotHeight - above - below
	gridLines                         = 5
	logMinimum                float64 = 1
)

// maxGap is how many points in a row may lack a reading before the curve is interrupted.
const maxGap = 3

// curve is a series of points, joined by lines. A y of NaN is a point without a reading.
type curve struct {
	name string // for the legend; "": none
	x, y []float64
}

func (c *curve) add(x, y float64) { c.x, c.y = append(c.x, x), append(c.y, y) }

// line is a plot: curves with axes.
type line struct {
	curves []curve
	xName  string
	xLabel func(float64) string
	yLabel func(float64) string
	logX   bool
	logY   bool
	ticks  []float64 // of x; nil: round ones from 0 to end
	end    float64   // of x, if ticks is nil: all plots over time have the same axis
}

// svg draws the plot. All texts in it come from this program's own formats.
func (l line) svg() template.HTML {
	var x, y []float64
	for _, c := range l.curves {
		for i, v := range c.y {
			if !math.IsNaN(v) {
				x, y = append(x, c.x[i]), append(y, v)
			}
		}
	}
	if len(x) < 2 {
		return `<p class="none">Nothing was measured.</p>`
	}
	ys := scale(y, l.logY, true)
	yTicks := ys.round()
	xs, xTicks := axis{high: max(l.end, 1e-3)}, l.ticks
	if xTicks == nil {
		step := roundStep(xs.high / (gridLines - 1))
		for v := 0.0; v <= xs.high; v += step {
			xTicks = append(xTicks, v)
		}
	} else {
		xs = scale(x, l.logX, false)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, plotWidth, plotHeight, template.HTMLEscapeString(l.xName))
	for _, v := range yTicks {
		y := above + innerHeight*(1-ys.at(v))
		fmt.Fprintf(&b, `<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/><text class="y" x="%d" y="%.1f">%s</text>`,
			left, y, plotWidth-right, y, left-8, y+4, template.HTMLEscapeString(l.yLabel(v)))
	}
	for _, v := range xTicks {
		x := left + innerWidth*xs.at(v)
		if x < left-1 || x > plotWidth-right+1 {
			continue
		}
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text class="x" x="%.1f" y="%d">%s</text>`,
			x, above, x, above+innerHeight, x, above+innerHeight+16, template.HTMLEscapeString(l.xLabel(v)))
	}
	for n, c := range l.curves {
		c.draw(&b, fmt.Sprintf("line c%d", n), xs, ys)
		if c.name != "" {
			at := left + 8 + n*130
			fmt.Fprintf(&b, `<line class="line c%d" x1="%d" y1="%d" x2="%d" y2="%d"/><text x="%d" y="%d">%s</text>`,
				n, at, above-10, at+18, above-10, at+24, above-6, template.HTMLEscapeString(c.name))
		}
	}
	fmt.Fprintf(&b, `<text class="x" x="%d" y="%d">%s</text></svg>`, left+innerWidth/2, plotHeight-6, template.HTMLEscapeString(l.xName))
	return template.HTML(b.String())
}

// draw joins the points, except across long gaps. It draws a single point as a dot.
func (c *curve) draw(b *strings.Builder, class string, xs, ys axis) {
	gap := maxGap + 1
	open := false
	for i := range c.x {
		if math.IsNaN(c.y[i]) {
			gap++
			continue
		}
		at := fmt.Sprintf("%.1f,%.1f", left+innerWidth*xs.at(c.x[i]), above+innerHeight*(1-ys.at(c.y[i])))
		if gap > maxGap {
			if open {
				b.WriteString(`"/>`)
			}
			open = true
			fmt.Fprintf(b, `<polyline class="%s" points="%s`, class, at)
		}
		b.WriteString(" " + at)
		gap = 0
	}
	if open {
		b.WriteString(`"/>`)
	}
}

// axis maps values to 0..1.
type axis struct {
	low, high float64
	log       bool
}

// scale makes an axis that spans the values, from 0 if zero is set.
func scale(values []float64, log, zero bool) axis {
	a := axis{low: math.Inf(1), high: math.Inf(-1), log: log}
	for _, v := range values {
		if log {
			v = math.Log10(max(v, logMinimum))
		}
		a.low, a.high = min(a.low, v), max(a.high, v)
	}
	if zero && !log {
		a.low = min(a.low, 0)
	}
	if log && zero {
		a.low, a.high = math.Floor(a.low), math.Ceil(a.high)
	}
	if a.high-a.low < 1e-9 {
		a.high = a.low + 1
	}
	return a
}

func (a axis) at(v float64) float64 {
	if a.log {
		v = math.Log10(max(v, logMinimum))
	}
	return (v - a.low) / (a.high - a.low)
}

// round widens the axis to round ends, and returns the values of the grid lines.
func (a *axis) round() (ticks []float64) {
	if a.log {
		for v := math.Floor(a.low); v <= math.Ceil(a.high); v++ {
			ticks = append(ticks, math.Pow(10, v))
		}
		return ticks
	}
	step := roundStep((a.high - a.low) / (gridLines - 1))
	a.low = math.Floor(a.low/step) * step
	a.high = a.low + step*math.Ceil((a.high-a.low)/step-1e-9)
	for i := 0; float64(i) <= (a.high-a.low)/step+0.5; i++ {
		ticks = append(ticks, a.low+float64(i)*step)
	}
	return ticks
}

// roundStep is the next number above v that is 1, 2, 2.5 or 5 times a power of ten.
func roundStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 2.5, 5} {
		if f*power >= v*(1-1e-9) {
			return f * power
		}
	}
	return 10 * power
}

func (r *Result) latencyPlot() template.HTML {
	var c curve
	l := line{
		xName: "percentile", logX: true, logY: true, yLabel: duration, ticks: []float64{1, 2, 10, 100, 1000, 10_000, 100_000, 1e6},
		xLabel: func(v float64) string { return fmt.Sprintf("%g%%", math.Round((100-100/v)*1e6)/1e6) },
	}
	for _, p := range r.Curve {
		// With 1/(1-q), each nine takes the same space. The maximum is drawn at one in count.
		x := float64(r.Latency.Count)
		if p.Percentile < 100 {
			x = min(x, 1/(1-p.Percentile/100))
		}
		c.add(x, float64(p.Micros))
	}
	l.curves = []curve{c}
	return l.svg()
}

// driftPlot shows a drift or a pause, which the percentiles of the whole run hide.
func (r *Result) driftPlot() template.HTML {
	p50, p99, top, late := curve{name: "p50"}, curve{name: "p99"}, curve{name: "max"}, curve{name: "behind schedule"}
	for _, p := range r.Timeline {
		if s := p.Latency; s != nil {
			p50.add(p.At, float64(s.P50))
			p99.add(p.At, float64(s.P99))
			top.add(p.At, float64(s.Max))
		} else {
			for _, c := range []*curve{&p50, &p99, &top} {
				c.add(p.At, math.NaN())
			}
		}
		if p.Late > 0 {
			late.add(p.At, float64(p.Late))
		} else {
			late.add(p.At, math.NaN())
		}
	}
	return line{xName: "seconds", xLabel: digits, yLabel: duration, logY: true, end: r.lastSample(), curves: []curve{p50, p99, top, late}}.svg()
}

// lastSample is the time of the last sample, in seconds.
func (r *Result) lastSample() float64 {
	if n := len(r.Timeline); n > 0 {
		return r.Timeline[n-1].At
	}
	return 0
}

func (r *Result) timePlot(label func(float64) string, value func(prev, p Point) (float64, bool)) template.HTML {
	var c curve
	for i, p := range r.Timeline {
		prev := Point{}
		if i > 0 {
			prev = r.Timeline[i-1]
		}
		if v, ok := value(prev, p); ok {
			c.add(p.At, v)
		}
	}
	return line{xName: "seconds", xLabel: digits, yLabel: label, end: r.lastSample(), curves: []curve{c}}.svg()
}

func (r *Result) deliveryPlot() template.HTML {
	return r.timePlot(func(v float64) string { return number(v) + "/s" }, func(prev, p Point) (float64, bool) {
		return float64(p.Delivered-prev.Delivered) / (p.At - prev.At), p.At > prev.At
	})
}

func (r *Result) memoryPlot() template.HTML {
	return r.timePlot(size, func(_, p Point) (float64, bool) { return float64(p.RSS), p.RSS > 0 })
}

func (r *Result) openPlot() template.HTML {
	return r.timePlot(number, func(_, p Point) (float64, bool) { return float64(p.Open), true })
}

func (r *Result) cpuPlot() template.HTML {
	return r.timePlot(digits, func(prev, p Point) (float64, bool) {
		return float64(p.CPU-prev.CPU) / 1e6 / (p.At - prev.At), p.At > prev.At && prev.CPU > 0
	})
}
