package redis

import (
	"errors"
	"strings"

	"github.com/redis/rueidis"

	"fanfare/cluster"
)

// Fields of an entry. The name of the last one ends with the epoch that the entry belongs to.
const (
	fieldKey   = "key"
	fieldHead  = "head"
	fieldFrame = "frame:"
	fieldData  = "data" // of an entry that another program has added
)

var errNoData = errors.New("the entry in the stream has no field data: another program has added it, and must write `key KEY data DATA`")

// decode reads an entry, and the epoch that it belongs to, "" if another program has added it.
func decode(x *rueidis.XRangeSlice, partition int) (e cluster.Entry, epoch string, err error) {
	e = cluster.Entry{Op: cluster.OpEvent, Partition: partition}
	if e.Seq, e.At, err = parseID(x.ID); err != nil {
		return e, "", err
	}
	head, payload, hasPayload := "", "", false
	for _, f := range x.FieldValues {
		switch {
		case f.Field == fieldKey:
			e.Key = f.Value
		case f.Field == fieldHead:
			head = f.Value
		case f.Field == fieldData:
			payload, hasPayload = f.Value, true
		case strings.HasPrefix(f.Field, fieldFrame):
			epoch, payload, hasPayload = f.Field[len(fieldFrame):], f.Value, true
		}
	}
	if !hasPayload {
		e.Op, e.Err = cluster.OpInvalid, errNoData
		return e, "", nil
	}
	cluster.Decode(head, []byte(payload), &e)
	if e.Op != cluster.OpEvent {
		e.Key = ""
	}
	return e, epoch, nil
}

// pageSize is how many entries bring about pageBytes, by those of the last page.
func pageSize(list []rueidis.XRangeSlice) int {
	bytes := 0
	for i := range list {
		for _, f := range list[i].FieldValues {
			bytes += len(f.Value) + 32
		}
	}
	return min(max(pageBytes/(bytes/len(list)+1), 1), maxPage)
}
