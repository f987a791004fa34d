package redis

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"

	"fanfare/cluster"
)

// errEpoch is the answer to messages for a log that needs a new epoch first.
var errEpoch = errors.New("redis was restarted or another server was promoted, and the log waits for its new epoch")

// errMoved ends a Read of a log that is not the one that its caller knows.
var errMoved = errors.New("redis: the log has gone back or has a new epoch: read its state")

// ErrPartitions says that the log has another number of partitions than this node is set to. Another attempt fails like this one.
var ErrPartitions = errors.New("another number of partitions")

// partitionsError is an ErrPartitions with the numbers.
type partitionsError struct {
	log   string
	has   string
	wants int
}

func (e *partitionsError) Error() string {
	return fmt.Sprintf("redisPartitions: it is %d, and the log %q in Redis has %s: the number cannot change; set redisPartitions to %s, "+
		"as on the other nodes, or choose another redisPrefix", e.wants, e.log, e.has, e.has)
}

func (e *partitionsError) Is(target error) bool { return target == ErrPartitions }

// stays reports whether a connection is still good after err. Redis answers with an error then, and the reason is not that
// this is the wrong server.
func stays(err error) bool {
	if err == nil || rueidis.IsRedisNil(err) {
		return true
	}
	if errors.Is(err, ErrPartitions) {
		return true
	}
	re, ok := rueidis.IsRedisErr(err)
	if !ok {
		return false
	}
	code, _, _ := strings.Cut(re.Error(), " ")
	switch code {
	case "READONLY", "UNBLOCKED", "MASTERDOWN", "LOADING", "MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "LATE", "NOAUTH", "WRONGPASS":
		return false
	}
	return true
}

// refused returns the error of a message that Redis has not stored, by the text of its answer.
func refused(answer string) error {
	// The error of a command in a script begins with its code, or has it after a prefix of the script.
	has := func(code string) bool { return strings.HasPrefix(answer, code) }
	switch {
	case has("CONFLICT"):
		return cluster.ErrConflict
	case has("EPOCH"):
		return fmt.Errorf("%w: %w", cluster.ErrAway, errEpoch)
	case has("OOM"), has("MISCONF"):
		return fmt.Errorf("%w: redis: %s", cluster.ErrFull, answer)
	}
	return fmt.Errorf("%w: redis: %s", cluster.ErrAway, answer)
}
