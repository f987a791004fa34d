package config

import "strings"

// nearest is the known name that a user most likely meant by name, or "". A name that differs only in case and separators
// (ping-interval, maxclients, HISTORY_TTL) always matches. Otherwise the edit distance decides; if more than a third of the
// letters are wrong, nothing matches.
func nearest(name string, known []string) string {
	folded := fold(name)
	if len(folded) > 64 { // no known name is longer, and the cost of hostile input is bounded
		return ""
	}
	best, bestDistance := "", max(1, len(folded)/3)+1
	for _, k := range known {
		if d := editDistance(folded, fold(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// didYouMean is the end of a message about an unknown name, or "" if no known name is near.
func didYouMean(name string, known []string) string {
	if k := nearest(name, known); k != "" {
		return "; did you mean " + k + "?"
	}
	return ""
}

func fold(name string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(strings.ToLower(name))
}

// editDistance counts the insertions, deletions, substitutions and swaps of adjacent bytes that turn a into b (optimal string
// alignment).
func editDistance(a, b string) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
