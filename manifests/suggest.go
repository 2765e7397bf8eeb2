package manifests

import "strings"

// editDistance is the number of single letters to insert, delete, replace or swap with their neighbour that turn a into b, or limit+1
// when there are more.
func editDistance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit || len(a) > 64 || len(b) > 64 {
		return limit + 1
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return min(prev[len(b)], limit+1)
}

// nearest is the name that word was probably meant to be, "" when none is near.
func nearest(word string, names []string) string {
	limit := 2
	if len(word) < 5 {
		limit = 1
	}
	best, bestCost := "", limit+1
	for _, n := range names {
		cost := editDistance(strings.ToLower(word), strings.ToLower(n), limit)
		if strings.EqualFold(strings.TrimSuffix(word, "s"), strings.TrimSuffix(n, "s")) {
			cost = 0
		}
		if cost < bestCost || cost == bestCost && best != "" && n < best {
			best, bestCost = n, cost
		}
	}
	return best
}
