package catalog

import (
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	all, err := Find("")
	if err != nil || len(all) < 10 || all[0].Name != "floor" {
		t.Fatalf("%d peers, %v; want all, the floor first", len(all), err)
	}
	two, err := Find("nchan, fanfare")
	if err != nil || len(two) != 2 || two[0].Name != "fanfare" || two[1].Name != "nchan" {
		t.Fatalf("%v %v; want the two in the catalogue's order", two, err)
	}
	if _, err := Find("fanfare,nobody"); err == nil || !strings.Contains(err.Error(), `"nobody"`) || !strings.Contains(err.Error(), "mercure") {
		t.Fatalf("error %v; want the unknown name and the known ones", err)
	}
}

func TestPeersAreWhole(t *testing.T) {
	names := map[string]bool{}
	for _, p := range Peers() {
		r := p.Routes
		if p.Name == "" || names[p.Name] || p.Settings == "" || p.Version == nil || p.Plan == nil {
			t.Errorf("%q: a field is empty, or the name is there twice", p.Name)
		}
		names[p.Name] = true
		if !strings.HasPrefix(r.Subscribe, "{{.Base}}/") || !strings.HasPrefix(r.Publish, "{{.PublishBase}}/") ||
			!strings.Contains(r.PublishBody, ".Payload") {
			t.Errorf("%s: routes %+v", p.Name, r)
		}
	}
}
