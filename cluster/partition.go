package cluster

import "hash/fnv"

// PartitionOf returns the partition, of n, that has the events of a key. It is the same on all nodes and in all versions.
func PartitionOf(key string, n int) int {
	if n <= 1 {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum32() % uint32(n))
}
