package engine

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestReconfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rule := func(name string) *KeyOptions {
			if name == "special" {
				return &KeyOptions{MaxSubscribers: 1}
			}
			return nil
		}
		o := Options{Key: KeyOptions{History: 64, HistoryTTL: time.Hour}, KeyRule: rule}
		e := New(o)
		defer e.Close()
		last := publish(t, e, "k", 100)
		publish(t, e, "special", 1)
		oldest := Position{last.Epoch, 0}.String()
		if _, got := resumed(t, e, oldest, "k"); len(got) != 65 {
			t.Errorf("%d items at the beginning", len(got))
		}

		o.Key.History = 16 // the next sweep applies this to the events that are kept already
		e.Reconfigure(o)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, got := resumed(t, e, oldest, "k"); len(got) != 17 {
			t.Errorf("%d items with a shorter history", len(got))
		}
		o.Key.HistoryBytes = 15 // "96"…"99", "100": 11 bytes, and two more
		e.Reconfigure(o)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := mustKey(t, e, "k").bytes.Load(); got != 15 {
			t.Errorf("%d bytes with a lower limit for the key", got)
		}
		o.MaxHistoryBytes = 5 // applies at once
		e.Reconfigure(o)
		synctest.Wait()
		if got := e.Stats().HistoryBytes; got < 4 || got > 4+2 {
			t.Errorf("%d bytes with a lower limit for all keys, want only the newest events and half of the limit", got)
		}
		o.Key.HistoryTTL = time.Minute
		e.Reconfigure(o)
		time.Sleep(70 * time.Second)
		synctest.Wait()
		if got := mustKey(t, e, "special").bytes.Load(); e.Stats().Keys != 1 || got != 1 {
			t.Errorf("%+v with a shorter TTL, the key with its own rule has %d bytes", e.Stats(), got)
		}

		subscribe(t, e, "", "special")
		_, err := e.Subscribe(new(Subscriber), []string{"special"}, "", new(countSink))
		wantLimit(t, err, "maxClients", 1, "special")
		o.KeyRule, o.MaxKeys = nil, 1
		e.Reconfigure(o)
		subscribe(t, e, "", "special")
		_, err = e.Publish("k", text("x"))
		wantLimit(t, err, "maxKeys", 1, "k")
	})
}

// TestReconfigureDuringLookup creates keys while the rules change. At the end every key has the options of the last
// rules.
func TestReconfigureDuringLookup(t *testing.T) {
	e := start(t, Options{})
	var all sync.WaitGroup
	for worker := range 2 {
		all.Go(func() {
			for n := range 3000 {
				publish(t, e, fmt.Sprint(worker, n), 1)
			}
		})
		all.Go(func() {
			for n := range 200 {
				e.Reconfigure(Options{Key: KeyOptions{History: 8 + n}})
			}
		})
	}
	all.Wait()
	want := e.rules.Load().base
	for k := range e.allKeys() {
		if k.opts.Load() != want {
			t.Fatalf("key %s has %+v, want %+v", k.name, k.opts.Load(), want)
		}
	}
}

// TestRulesChangeDuringLookup: the rules change between the two loads of the lookup.
func TestRulesChangeDuringLookup(t *testing.T) {
	var e *Engine
	calls := 0
	rule := func(string) *KeyOptions {
		if calls++; calls <= 2 {
			e.rules.Store(&keyRules{base: (&KeyOptions{History: 8 << calls}).withDefaults(), rule: e.rules.Load().rule})
		}
		return nil
	}
	e = start(t, Options{KeyRule: rule})
	publish(t, e, "k", 1)
	if got, want := mustKey(t, e, "k").opts.Load(), e.rules.Load().base; got != want || calls != 3 {
		t.Errorf("%+v after %d calls, want %+v", got, calls, want)
	}
}

func TestRuleOptionsAreShared(t *testing.T) {
	full := &KeyOptions{History: 8, HistoryBytes: 100, HistoryTTL: time.Minute, MaxSubscribers: 5}
	partial := &KeyOptions{History: 8}
	e := start(t, Options{KeyRule: func(name string) *KeyOptions {
		if name == "partial" {
			return partial
		}
		return full
	}})
	publish(t, e, "a", 1)
	publish(t, e, "partial", 1)
	if mustKey(t, e, "a").opts.Load() != full {
		t.Error("complete options were copied")
	}
	if o := mustKey(t, e, "partial").opts.Load(); o.HistoryBytes == 0 || o.History != 8 || partial.HistoryBytes != 0 {
		t.Errorf("%+v from %+v", o, partial)
	}
}
