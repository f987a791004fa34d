package report

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Plots returns the SVG files by name.
func (d *Document) Plots() map[string]string {
	all := map[string]string{}
	for _, v := range d.views() {
		if len(d.subscribers(v.kind)) > 0 {
			all[v.file+".svg"] = d.plot(v)
		}
	}
	return all
}

// Measures of a plot, in SVG units.
const (
	plotWidth = 760
	left      = 110 // names of the servers
	right     = 110 // figures after the longest bar
	top       = 64
	barHeight = 13
	groupGap  = 10
)

// colors for the numbers of subscribers, from few to many. They can be distinguished in gray and on a dark background.
var colors = []string{"#7fb2e5", "#2f78c4", "#12406f", "#c98a1b"}

// plot draws a bar for each server and number of subscribers. The bar shows the median; a line shows the lowest and the highest
// round. The scale is linear and begins at 0. A bar that is more than 6 times the median bar is cut, so that the others remain
// readable.
func (d *Document) plot(v view) string {
	numbers := d.subscribers(v.kind)
	var all []float64
	peers := d.peers(v.kind)
	for _, p := range peers {
		for _, n := range numbers {
			if s := d.stat(p.Name, &v, n); s.n > 0 {
				all = append(all, s.median)
			}
		}
	}
	end := 1.0
	if len(all) > 0 {
		end = math.Min(largest(all), 6*median(all))
	}
	group := len(numbers)*barHeight + groupGap
	height := top + len(peers)*group + 10
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s" `+
		`font-family="system-ui, sans-serif" font-size="12">`+"\n", plotWidth, height, plotWidth, height, html.EscapeString(v.title))
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	fmt.Fprintf(&b, `<text x="10" y="22" font-size="15" font-weight="600">%s</text>`+"\n", html.EscapeString(v.title))
	x := left
	for i, n := range numbers {
		fmt.Fprintf(&b, `<rect x="%d" y="36" width="12" height="12" fill="%s"/><text x="%d" y="46">%s subscribers</text>`+"\n",
			x, colors[i%len(colors)], x+17, thousands(n))
		x += 150
	}
	scale := func(value float64) float64 { return math.Min(value/end, 1) * (plotWidth - left - right) }
	for i, p := range peers {
		y := top + i*group
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-8, y+len(numbers)*barHeight/2+4, html.EscapeString(p.Name))
		for j, n := range numbers {
			bar(&b, y+j*barHeight, colors[j%len(colors)], v, d.stat(p.Name, &v, n), end, scale)
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func bar(b *strings.Builder, y int, color string, v view, s stat, end float64, scale func(float64) float64) {
	if s.n == 0 {
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="#777" font-size="10">not measured</text>`+"\n", left+4, y+barHeight-3)
		return
	}
	text := v.show(s.median)
	if s.median > end {
		text = "» " + text
	}
	if s.flawed {
		text += " †"
	}
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, left, y, scale(s.median), barHeight-2, color)
	if s.n > 1 {
		middle := float64(y) + float64(barHeight-2)/2
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#000" stroke-width="1.2"/>`,
			left+scale(s.low), left+scale(s.high), middle, middle)
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%d" font-size="10">%s</text>`+"\n", left+math.Max(scale(s.median), scale(s.high))+5, y+barHeight-3, text)
}

func largest(v []float64) float64 {
	m := v[0]
	for _, f := range v {
		m = math.Max(m, f)
	}
	return m
}
