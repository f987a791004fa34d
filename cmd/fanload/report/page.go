package report

import (
	_ "embed"
	"encoding/json"
	"html/template"
	"io"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

type plot struct {
	Title string
	SVG   template.HTML
}

// Page writes a self-contained HTML page, without scripts, fonts or requests.
func (r *Result) Page(w io.Writer) error {
	plots := []plot{
		{"Latency by percentile", r.latencyPlot()},
		{"Latency over time, for each interval", r.driftPlot()},
		{"Deliveries a second", r.deliveryPlot()},
		{"Open subscribers", r.openPlot()},
	}
	if r.Server != nil {
		plots = append(plots, plot{"Resident memory of the server", r.memoryPlot()}, plot{"CPU of the server, cores", r.cpuPlot()})
	}
	settings, err := json.MarshalIndent(r.Plan, "", "  ")
	if err != nil {
		return err
	}
	return pageTemplate.Execute(w, struct {
		*Result
		Plots    []plot
		Settings string
	}{r, plots, string(settings)})
}
