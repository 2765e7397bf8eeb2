package main

import (
	"embed"
	"fmt"
	"path"
	"regexp"
	"strings"
)

//go:embed steps/*.sh
var files embed.FS

// script are the steps of one verb.
type script struct {
	verb string
	// before is run first; what it prints is not compared, and it must succeed.
	before string
	steps  []step
}

// step is a few lines of shell under a name.
type step struct{ name, text string }

// id names a step among all.
func (s *script) id(st step) string { return s.verb + "/" + st.name }

func (s *script) matches(which *regexp.Regexp) bool {
	for _, st := range s.steps {
		if which.MatchString(s.id(st)) {
			return true
		}
	}
	return false
}

const prelude = "prelude.sh"

// readScripts reads the scripts: "## NAME" begins a step, what stands before the first one is the preparation.
func readScripts() ([]script, error) {
	entries, err := files.ReadDir("steps")
	if err != nil {
		return nil, fmt.Errorf("cannot read the steps: %w", err)
	}
	var all []script
	for _, e := range entries {
		if e.Name() == prelude {
			continue
		}
		data, err := files.ReadFile(path.Join("steps", e.Name()))
		if err != nil {
			return nil, fmt.Errorf("cannot read the steps: %w", err)
		}
		s := script{verb: strings.TrimSuffix(e.Name(), ".sh")}
		seen := map[string]bool{}
		for i, block := range sections(string(data)) {
			if i == 0 {
				s.before = block.text
				continue
			}
			if seen[block.name] {
				return nil, fmt.Errorf("cannot read %s: two steps are called %q", e.Name(), block.name)
			}
			seen[block.name] = true
			s.steps = append(s.steps, block)
		}
		all = append(all, s)
	}
	return all, nil
}

// sections cuts a text at its headings; the first one has no name.
func sections(text string) []step {
	all := []step{{}}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			all = append(all, step{name: strings.TrimSpace(name)})
			continue
		}
		all[len(all)-1].text += line
	}
	return all
}
