package transport

import (
	"errors"
	"strings"
	"testing"

	"fanfare/codec"
)

// TestReservedEvents: by whichever door an event comes whose name clients take for something else, it is counted and told of, or
// refused by its field with nothing published.
func TestReservedEvents(t *testing.T) {
	doors := map[string]func(r *rig, name string) string{
		"JSON": func(r *rig, name string) string {
			return r.call("POST", "/publish?key=k", `{"data":"x","event":"`+name+`"}`, "Content-Type: application/json").body
		},
		"publishAll": func(r *rig, name string) string {
			return r.call("POST", "/publishAll", `{"data":"x","event":"`+name+`"}`, "Content-Type: application/json").body
		},
		"frames, the second": func(r *rig, name string) string {
			return r.call("POST", "/publish?key=k", "data: x\n\nevent: fine\nevent:"+name+"\ndata: x\n\n", "Content-Type: text/event-stream").body
		},
		"batch": func(r *rig, name string) string {
			return r.call("POST", "/batch", `{"op":"publish","key":"k","data":"x","event":"`+name+`"}`).body
		},
		"batch to all": func(r *rig, name string) string {
			return r.call("POST", "/batch", `{"op":"publishAll","data":"x","event":"`+name+`"}`).body
		},
		"frame in a batch": func(r *rig, name string) string {
			return r.call("POST", "/batch", `{"op":"publish","key":"k","frame":"event: `+name+`\ndata: x\n\n"}`).body
		},
		"Go": func(r *rig, name string) string {
			_, err := r.srv.Publish("k", codec.Event{Data: []byte("x"), Event: name})
			return textOf(err)
		},
		"Go to all": func(r *rig, name string) string {
			_, _, err := r.srv.PublishAll(codec.Event{Data: []byte("x"), Event: name})
			return textOf(err)
		},
	}
	for door, publish := range doors {
		t.Run(door, func(t *testing.T) {
			for _, refuse := range []bool{false, true} {
				r := startRig(t, viaFast, rigOptions{Options: Options{RefuseReserved: refuse}})
				for i, name := range []string{"error", "open", "gap", "position", "expired"} {
					got := publish(r, name)
					if refused := strings.Contains(got, "reservedEvents") && strings.Contains(got, name); refused != refuse {
						t.Errorf("%s, refuse %v: %s", name, refuse, got)
					}
					if n := r.metric("fanfare_reserved_events_total"); n != float64(i+1) {
						t.Errorf("%s: counted %v times", name, n)
					}
					if warned := strings.Contains(r.log.String(), "event="+name+" "); warned == refuse {
						t.Errorf("%s, refuse %v: %s", name, refuse, r.log)
					}
				}
				for _, name := range []string{"fine", "Error", "errors", "message"} {
					if got := publish(r, name); strings.Contains(got, "reservedEvents") {
						t.Errorf("%s: %s", name, got)
					}
				}
				if n := r.metric("fanfare_reserved_events_total"); n != 5 {
					t.Errorf("counted %v in the end", n)
				}
				if n := r.metric("fanfare_events_total"); refuse && door != "frames, the second" && n != 4 {
					t.Errorf("%v events were published", n)
				}
			}
		})
	}
}

// TestReservedEventsReload: the setting changes while the server runs.
func TestReservedEventsReload(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, rigOptions{})
	if err := r.reconfigure(Options{RefuseReserved: true}); err != nil {
		t.Fatal(err)
	}
	_, err := r.srv.Publish("k", codec.Event{Data: []byte("x"), Event: "error"})
	var ce *codec.Error
	if !errors.As(err, &ce) || ce.Field != "event" {
		t.Errorf("%v", err)
	}
	if s := r.eng.Stats(); s.Keys != 0 {
		t.Errorf("%+v", s)
	}
}

func textOf(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}
