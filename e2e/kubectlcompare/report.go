package main

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// rule says which lines of a difference are meant to be, and why.
type rule struct {
	step, line *regexp.Regexp
	reason     string
	used       bool
}

// differs has a line for each rule: the steps, the lines of their differences ("-" before what only Kubernetes says, "+" before what only
// berth says), both as regular expressions of the whole, and the reason, with tabs between.
//
//go:embed differs.tsv
var differs string

func readRules() ([]*rule, error) {
	var all []*rule
	for line := range strings.Lines(differs) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 3 || f[2] == "" {
			return nil, fmt.Errorf("cannot read differs.tsv: %q has not three columns", line)
		}
		step, err := regexp.Compile("^(" + f[0] + ")$")
		if err != nil {
			return nil, fmt.Errorf("cannot read differs.tsv: %w", err)
		}
		lines, err := regexp.Compile("^(" + f[1] + ")$")
		if err != nil {
			return nil, fmt.Errorf("cannot read differs.tsv: %w", err)
		}
		all = append(all, &rule{step: step, line: lines, reason: f[2]})
	}
	return all, nil
}

// report is what became of the steps.
type report struct {
	same, meant, different, unknown int
	table, diffs                    strings.Builder
	rules                           []*rule
}

func compare(scripts []script, which *regexp.Regexp, want, got recording, rules []*rule) *report {
	r := &report{rules: rules}
	for i := range scripts {
		s := &scripts[i]
		for _, st := range s.steps {
			id := s.id(st)
			if !which.MatchString(id) {
				continue
			}
			w, ok := want[id]
			if !ok {
				r.unknown++
				fmt.Fprintf(&r.table, "%-52s not recorded\n", id)
				continue
			}
			r.add(id, diff(w, got[id]))
		}
	}
	return r
}

// add counts a step with the lines that differ.
func (r *report) add(id string, lines []string) {
	var rest []string
	reasons := map[string]bool{}
	var why []string
	for _, l := range lines {
		reason := r.reason(id, l)
		if reason == "" {
			rest = append(rest, l)
		} else if !reasons[reason] {
			reasons[reason] = true
			why = append(why, reason)
		}
	}
	switch {
	case len(rest) > 0:
		r.different++
		fmt.Fprintf(&r.table, "%-52s different\n", id)
		fmt.Fprintf(&r.diffs, "\n%s\n  %s\n", id, strings.Join(rest, "\n  "))
	case len(lines) > 0:
		r.meant++
		fmt.Fprintf(&r.table, "%-52s meant: %s\n", id, strings.Join(why, "; "))
	default:
		r.same++
		fmt.Fprintf(&r.table, "%-52s same\n", id)
	}
}

func (r *report) reason(id, line string) string {
	for _, u := range r.rules {
		if u.step.MatchString(id) && u.line.MatchString(line) {
			u.used = true
			return u.reason
		}
	}
	return ""
}

// String is the table of all steps, and the lines that differ for no written reason.
func (r *report) String() string {
	var b strings.Builder
	b.WriteString(r.table.String() + r.diffs.String())
	all := r.same + r.meant + r.different
	fmt.Fprintf(&b, "\n%d of %d steps are the same, %d differ as they are meant to, %d differ", r.same, all, r.meant, r.different)
	if r.unknown > 0 {
		fmt.Fprintf(&b, ", %d are not recorded", r.unknown)
	}
	b.WriteString("\n")
	return b.String()
}

// diff is what only one of two texts has, line by line: "-" before what the first has, "+" before what the second has.
func diff(first, second string) []string {
	a, b := strings.Split(first, "\n"), strings.Split(second, "\n")
	// common[i][j] is the length of the longest common subsequence of a[i:] and b[j:].
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i, x := range slices.Backward(a) {
		for j, y := range slices.Backward(b) {
			if x == y {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			i, j = i+1, j+1
		case common[i+1][j] >= common[i][j+1]:
			out, i = append(out, "-"+a[i]), i+1
		default:
			out, j = append(out, "+"+b[j]), j+1
		}
	}
	for ; i < len(a); i++ {
		out = append(out, "-"+a[i])
	}
	for ; j < len(b); j++ {
		out = append(out, "+"+b[j])
	}
	return out
}
