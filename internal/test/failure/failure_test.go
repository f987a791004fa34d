package failure

import "testing"

func TestOf(t *testing.T) {
	for want, do := range map[string]func(testing.TB){
		"":    func(t testing.TB) { t.Log("fine") },
		"1 2": func(t testing.TB) { t.Errorf("%d ", 1); t.Fatalf("%d", 2); t.Errorf("never") },
	} {
		if got := Of(t, do); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	defer func() {
		if p := recover(); p != "other" {
			t.Errorf("recovered %v: a panic of do's own must go on", p)
		}
	}()
	Of(t, func(testing.TB) { panic("other") })
}
