package engine

import (
	"fmt"
	"strings"
	"testing"
)

// keptText is what Kept visits of a key, the newest first.
func keptText(e *Engine, name string, most int) string {
	var all []string
	e.Kept(name, func(p Past) bool {
		text := fmt.Sprintf("%s@%d", p.Bytes(), p.Position.Seq)
		if p.All {
			text += "*"
		}
		all = append(all, text)
		return len(all) < most
	})
	return strings.Join(all, " ")
}

func TestKept(t *testing.T) {
	e := New(Options{Key: KeyOptions{History: 8}})
	defer e.Close()
	plain := func(text string) Frame { return Frame{Bytes: []byte(text), IDAt: -1} }
	if got := keptText(e, "k", 100); got != "" || e.Stats().Keys != 0 {
		t.Errorf("%q of a key that does not exist; there are %d keys", got, e.Stats().Keys)
	}
	for i := range 10 {
		if _, err := e.Publish("k", plain(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if got := keptText(e, "k", 100); got != "9@10 8@9 7@8 6@7 5@6 4@5 3@4 2@3" {
		t.Error(got)
	}
	if got := keptText(e, "k", 2); got != "9@10 8@9" {
		t.Error(got)
	}
	var p Past
	e.Kept("k", func(newest Past) bool { p = newest; return false })
	if got, err := e.Publish("k", plain("next")); err != nil || got.Epoch != p.Epoch {
		t.Errorf("%+v after %+v, %v", got, p, err)
	}
	if e.PartitionOf("k") != 0 || e.Count("k") != 0 {
		t.Error("a partition or a subscriber")
	}
}

func TestKeptInLog(t *testing.T) {
	of := func(key string) int { return len(key) % 2 }
	e := New(Options{Log: &LogOptions{Partitions: 2, PartitionOf: of}, Key: KeyOptions{History: 8}})
	defer e.Close()
	e.SetEpoch(0, NewEpoch(), 0, Frame{})
	e.SetEpoch(1, NewEpoch(), 0, Frame{})
	at := int64(0)
	apply := func(partition int, seq uint64, key, text string) {
		at++
		if err := e.Apply(LogEntry{Partition: partition, Seq: seq, At: at, Key: key, All: key == "", Frame: Frame{Bytes: []byte(text), IDAt: -1}}); err != nil {
			t.Fatal(err)
		}
	}
	apply(0, 5, "ab", "one")
	apply(0, 7, "", "all")
	apply(1, 3, "a", "other partition")
	apply(0, 9, "ab", "two")
	apply(0, 11, "", "more")
	if got := keptText(e, "ab", 100); got != "more@11* two@9 all@7* one@5" {
		t.Error(got)
	}
	if got := keptText(e, "a", 100); got != "more@11* other partition@3 all@7*" {
		t.Error(got)
	}
	if got := keptText(e, "no key", 3); got != "more@11* all@7*" {
		t.Error(got)
	}
	if e.PartitionOf("a") != 1 || e.PartitionOf("ab") != 0 {
		t.Error("partitions")
	}
}
