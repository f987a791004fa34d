package codec

import "testing"

func TestGap(t *testing.T) {
	key, after, next, missed := "a\"b", "x-1", "x-4", int64(2)
	for want, g := range map[string]Gap{
		`{"key":null,"reason":"epoch","missed":null,"after":null,"next":null}`:   {Reason: "epoch"},
		`{"key":"a\"b","reason":"source","missed":2,"after":"x-1","next":"x-4"}`: {&key, "source", &missed, &after, &next},
	} {
		ev := g.Event()
		if string(ev.Data) != want || ev.Event != "gap" || ev.ID != "" || !ev.Notice {
			t.Errorf("%s: %+v", ev.Data, ev)
		}
	}
}
