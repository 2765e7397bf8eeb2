package main

import (
	"regexp"
	"strings"
)

// letters are what Kubernetes makes names of: no vowels, and no digits that look like letters.
const letters = `[bcdfghjklmnpqrstvwxz2456789]`

// normals are what is different each time, and what stands for it. Applied twice they change nothing more.
var normals = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*( ?Z| ?[+-]\d\d:?\d\d)?( UTC)?`), "TIME"},
	{regexp.MustCompile(`[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}`), "TIME"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UID"},
	{regexp.MustCompile(`(?m)^([IWEF])\d{4} [\d:.]+ +\d+ (\S+?):\d+\]`), "$1 $2]"},
	{regexp.MustCompile(`(resourceVersion"?: ?)"\d+"`), `$1"RV"`},
	{regexp.MustCompile(`127\.0\.0\.1:\d{4,5}`), "SERVER"},
	{regexp.MustCompile(`\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b`), "IP"},
	{regexp.MustCompile(`\b(pod-template-hash|controller-revision-hash)(: |=)"?([a-z-]*?-)?` + letters + `{5,10}"?`), "$1$2${3}HASH"},
	{regexp.MustCompile(`([a-z0-9])-` + letters + `{7,10}-` + letters + `{5}\b`), "$1-HASH-ID"},
	{regexp.MustCompile(`([a-z0-9])-` + letters + `{7,10}\b`), "$1-HASH"},
	{regexp.MustCompile(`([a-z0-9])-` + letters + `{5}\b`), "$1-ID"},
	{regexp.MustCompile(`([a-z0-9])-\d{8}\b`), "$1-MINUTE"},
	{regexp.MustCompile(`\.[0-9a-f]{16}\b`), ".EVENT"},
	{regexp.MustCompile(`\bx\d+ over\b`), "xN over"},
	{regexp.MustCompile(`(?m)(^|[ \t(])\d+(\.\d+)?[smhd](\d+[smh])?($|[ \t)])`), "${1}AGE$4"},
	{regexp.MustCompile(`(?m)(\S)(\t+| *\t *| {2,})`), "$1  "},
	{regexp.MustCompile(`(?m)[ \t]+$`), ""},
}

// normal takes out of a text what is different each time.
func normal(text string) string {
	for _, n := range normals {
		text = n.what.ReplaceAllString(text, n.with)
	}
	return text
}

// normal is the function normal, for the names that this side has.
func (on *side) normal(text string) string {
	text = strings.ReplaceAll(text, on.dir, "DIR")
	if on.node != "" {
		text = regexp.MustCompile(`\b`+regexp.QuoteMeta(on.node)+`\b`).ReplaceAllString(text, "NODE")
	}
	return normal(text)
}
