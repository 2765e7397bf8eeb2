package main

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// rule says which assertions do not count, and why: those of functions whose whole name matches, or of them those whose words match.
type rule struct {
	function, words *regexp.Regexp
	reason          string
}

type rules []rule

// skips has a line for each rule: function, words (or "-" for the whole function, which is not run then) and the reason, with tabs between.
//
//go:embed skips.tsv
var skips string

func readRules() (rules, error) { return parseRules(skips) }

func parseRules(text string) (rules, error) {
	var all rules
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 3 || f[2] == "" {
			return nil, fmt.Errorf("cannot read the skips: %q has not three columns", line)
		}
		r := rule{reason: f[2]}
		var err error
		if r.function, err = regexp.Compile("^(" + f[0] + ")$"); err != nil {
			return nil, fmt.Errorf("cannot read the skips: %w", err)
		}
		if f[1] != "-" {
			if r.words, err = regexp.Compile(f[1]); err != nil {
				return nil, fmt.Errorf("cannot read the skips: %w", err)
			}
		}
		all = append(all, r)
	}
	return all, nil
}

// functions is a regular expression of the functions that are not run.
func (all rules) functions() string {
	names := []string{"none"}
	for _, r := range all {
		if r.words == nil {
			names = append(names, strings.Trim(r.function.String(), "^$"))
		}
	}
	return strings.Join(names, "|")
}

// reason is why an assertion does not count, or "".
func (all rules) reason(function, words string) string {
	for _, r := range all {
		if r.function.MatchString(function) && (r.words == nil || r.words.MatchString(words)) {
			return r.reason
		}
	}
	return ""
}

// sites are the places of assertions in the text of each function.
type sites map[string]map[string]bool

var (
	head = regexp.MustCompile(`^([a-z_A-Z0-9]+)\(\) *\{`)
	call = regexp.MustCompile(`^\s*(kube::test::\S*(assert|if_has_|if_empty_|if_sort_|results::diff)|wait-for-pods-with-label )`)
)

func readSites(dir string) (sites, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.sh"))
	if err != nil {
		return nil, err
	}
	all := sites{}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		function, n := "", 0
		for line := range strings.Lines(string(data)) {
			n++
			if m := head.FindStringSubmatch(line); m != nil {
				function = m[1]
				all[function] = map[string]bool{}
			}
			if function != "" && call.MatchString(line) {
				all[function][fmt.Sprintf("%s:%d", filepath.Base(path), n)] = true
			}
		}
	}
	return all, nil
}

// tally is what became of the assertions of one function.
type tally struct {
	passed, failed, skipped, unreached int
	seconds                            string
}

type report struct {
	order    []string
	tallies  map[string]*tally
	failures []string
	stops    []string
	reasons  map[string]int
}

func newReport(results string, rules rules, all sites) *report {
	r := &report{tallies: map[string]*tally{}, reasons: map[string]int{}}
	reached, ended, apart := sites{}, map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(results) {
		f := strings.SplitN(strings.TrimRight(line, "\n"), "\t", 5)
		if len(f) != 5 {
			continue
		}
		function, place, words := f[0], f[2], f[3]
		t := r.of(function)
		switch f[1] {
		case "passed", "failed":
			if reached[function] == nil {
				reached[function] = map[string]bool{}
			}
			reached[function][place] = true
			r.count(t, f, rules.reason(function, words))
		case "stopped":
			if rules.reason(function, words) == "" {
				r.stops = append(r.stops, fmt.Sprintf("%s %s: %s", function, place, words))
			}
		case "took":
			t.seconds = words + " s"
		case "end":
			ended[function] = true
		case "apart":
			apart[function] = true
		}
	}
	for function, t := range r.tallies {
		switch {
		case apart[function]:
			t.skipped = len(all[function])
			r.reasons[rules.reason(function, "")] += t.skipped
		case !ended[function] && t.seconds != "":
			t.unreached = max(0, len(all[function])-len(reached[function]))
		}
	}
	return r
}

func (r *report) of(function string) *tally {
	t := r.tallies[function]
	if t == nil {
		t = &tally{}
		r.tallies[function] = t
		r.order = append(r.order, function)
	}
	return t
}

func (r *report) count(t *tally, f []string, reason string) {
	switch {
	case reason != "":
		t.skipped++
		r.reasons[reason]++
	case f[1] == "passed":
		t.passed++
	default:
		t.failed++
		r.failures = append(r.failures, fmt.Sprintf("%s %s: %s\n    %s", f[0], f[2], f[3], f[4]))
	}
}

// String is the table of the functions, what failed, and what is apart and why.
func (r *report) String() string {
	var b strings.Builder
	var sum tally
	fmt.Fprintf(&b, "%-48s %7s %7s %11s %6s\n", "function", "passed", "failed", "not reached", "apart")
	line := func(name string, t *tally) {
		fmt.Fprintf(&b, "%-48s %7d %7d %11d %6d  %s\n", name, t.passed, t.failed, t.unreached, t.skipped, t.seconds)
	}
	for _, name := range r.order {
		t := r.tallies[name]
		if t.passed+t.failed+t.unreached+t.skipped == 0 {
			continue
		}
		line(name, t)
		sum.passed, sum.failed, sum.skipped, sum.unreached = sum.passed+t.passed, sum.failed+t.failed, sum.skipped+t.skipped, sum.unreached+t.unreached
	}
	line("all", &sum)
	fmt.Fprintln(&b, "\nfailed:")
	for _, f := range r.failures {
		fmt.Fprintln(&b, f)
	}
	fmt.Fprintln(&b, "\ncommands that failed where the tests expect none to (no assertion of their own):")
	for _, s := range r.stops {
		fmt.Fprintln(&b, s)
	}
	fmt.Fprintln(&b, "\napart:")
	for _, reason := range slices.Sorted(maps.Keys(r.reasons)) {
		fmt.Fprintf(&b, "%5d %s\n", r.reasons[reason], reason)
	}
	if all := sum.passed + sum.failed + sum.unreached; all > 0 {
		fmt.Fprintf(&b, "\n%d of %d assertions that apply passed: %.1f %%\n", sum.passed, all, 100*float64(sum.passed)/float64(all))
	}
	return b.String()
}
