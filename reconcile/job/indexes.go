package job

import (
	"slices"
	"strconv"
	"strings"
)

// span is the numbers from first to last.
type span struct{ first, last int }

// indexes is a set of completion indexes as spans in order, none of which touch: a Job may have 100,000 of them.
type indexes []span

// parseIndexes reads the form of a status, "1,3-5", as far as it lies below a bound. What is no number is left out.
func parseIndexes(text string, below int) indexes {
	var out indexes
	for part := range strings.SplitSeq(text, ",") {
		from, to, isSpan := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil || first < 0 {
			continue
		}
		last := first
		if isSpan {
			if last, err = strconv.Atoi(to); err != nil {
				continue
			}
		}
		out = out.union(indexes{{first, min(last, below-1)}})
	}
	return out
}

// String is the form of a status: spans of more than two numbers with a hyphen.
func (s indexes) String() string {
	var parts []string
	for _, v := range s {
		text := strconv.Itoa(v.first)
		switch v.last - v.first {
		case 0:
		case 1:
			text += "," + strconv.Itoa(v.last)
		default:
			text += "-" + strconv.Itoa(v.last)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ",")
}

func (s indexes) len() int {
	n := 0
	for _, v := range s {
		n += v.last - v.first + 1
	}
	return n
}

func (s indexes) has(i int) bool {
	at, found := slices.BinarySearchFunc(s, i, func(v span, i int) int { return v.first - i })
	return found || at > 0 && s[at-1].last >= i
}

func (s indexes) with(i int) indexes {
	if s.has(i) {
		return s
	}
	return s.union(indexes{{i, i}})
}

// union returns a new set.
func (s indexes) union(t indexes) indexes {
	all := append(slices.Clone(s), t...)
	slices.SortFunc(all, func(a, b span) int { return a.first - b.first })
	var out indexes
	for _, v := range all {
		switch n := len(out); {
		case v.last < v.first:
		case n > 0 && v.first <= out[n-1].last+1:
			out[n-1].last = max(out[n-1].last, v.last)
		default:
			out = append(out, v)
		}
	}
	return out
}

// common counts the numbers that are in both sets.
func (s indexes) common(t indexes) int {
	return s.len() + t.len() - s.union(t).len()
}

// missing returns the first n numbers below a bound that are not in the set.
func (s indexes) missing(n, below int) []int {
	var out []int
	next := 0
	for _, v := range append(slices.Clone(s), span{below, below}) {
		for ; next < v.first && next < below && len(out) < n; next++ {
			out = append(out, next)
		}
		next = max(next, v.last+1)
	}
	return out
}
