package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// The plots' size in SVG units, and the room for the axes.
const (
	plotWidth, plotHeight             = 760, 260
	left, right, above, below         = 78, 16, 12, 40
	innerWidth, innerHeight           = plotWidth - left - right, plotHeight - above - below
	gridLines                         = 5
	logMinimum                float64 = 1
)

// line is one plot: points joined, with axes.
type line struct {
	x, y   []float64
	xName  string
	xLabel func(float64) string
	yLabel func(float64) string
	logX   bool
	logY   bool
	ticks  []float64 // of x; nil: evenly
}

// svg draws it. All text in it comes from this program's own formats.
func (l line) svg() template.HTML {
	if len(l.x) < 2 {
		return `<p class="none">Nothing was measured.</p>`
	}
	xs, ys := scale(l.x, l.logX, false), scale(l.y, l.logY, true)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, plotWidth, plotHeight, template.HTMLEscapeString(l.xName))
	for i := range gridLines {
		f := float64(i) / (gridLines - 1)
		y := above + innerHeight*(1-f)
		fmt.Fprintf(&b, `<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/><text class="y" x="%d" y="%.1f">%s</text>`,
			left, y, plotWidth-right, y, left-8, y+4, template.HTMLEscapeString(l.yLabel(ys.back(f))))
	}
	ticks := l.ticks
	for i := 0; ticks == nil && i < gridLines || i < len(l.ticks); i++ {
		v := xs.back(float64(i) / (gridLines - 1))
		if ticks != nil {
			v = ticks[i]
		}
		x := left + innerWidth*xs.at(v)
		if x < left-1 || x > plotWidth-right+1 {
			continue
		}
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text class="x" x="%.1f" y="%d">%s</text>`,
			x, above, x, above+innerHeight, x, above+innerHeight+16, template.HTMLEscapeString(l.xLabel(v)))
	}
	b.WriteString(`<polyline class="line" points="`)
	for i := range l.x {
		fmt.Fprintf(&b, "%.1f,%.1f ", left+innerWidth*xs.at(l.x[i]), above+innerHeight*(1-ys.at(l.y[i])))
	}
	fmt.Fprintf(&b, `"/><text class="x" x="%d" y="%d">%s</text></svg>`, left+innerWidth/2, plotHeight-6, template.HTMLEscapeString(l.xName))
	return template.HTML(b.String())
}

// axis maps values to 0..1.
type axis struct {
	low, high float64
	log       bool
}

// scale spans the values, from 0 on if zero is set.
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

func (a axis) back(f float64) float64 {
	v := a.low + f*(a.high-a.low)
	if a.log {
		return math.Pow(10, v)
	}
	return v
}

func (r *Result) latencyPlot() template.HTML {
	l := line{
		xName: "percentile", logX: true, logY: true, yLabel: duration, ticks: []float64{1, 2, 10, 100, 1000, 10_000, 100_000, 1e6},
		xLabel: func(v float64) string { return fmt.Sprintf("%g%%", math.Round((100-100/v)*1e6)/1e6) },
	}
	for _, p := range r.Curve {
		// 1/(1-q): each nine takes the same room. The maximum stands where one in count would be.
		x := float64(r.Latency.Count)
		if p.Percentile < 100 {
			x = min(x, 1/(1-p.Percentile/100))
		}
		l.x, l.y = append(l.x, x), append(l.y, float64(p.Micros))
	}
	return l.svg()
}

func (r *Result) timePlot(label func(float64) string, value func(prev, p Point) (float64, bool)) template.HTML {
	l := line{xName: "seconds", xLabel: digits, yLabel: label}
	for i, p := range r.Timeline {
		prev := Point{}
		if i > 0 {
			prev = r.Timeline[i-1]
		}
		if v, ok := value(prev, p); ok {
			l.x, l.y = append(l.x, p.At), append(l.y, v)
		}
	}
	return l.svg()
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
