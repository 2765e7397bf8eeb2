package fields

import (
	"fmt"
	"strings"
)

// Document is FIELDS.md: the table for readers.
func Document() string {
	var b strings.Builder
	b.WriteString("# What berth does with each field\n\n" +
		"Made from the table in this folder by `go generate`; do not edit. " + Summary() + "\n\n" +
		"| verdict | means |\n|---|---|\n" +
		"| honoured | it does what Kubernetes says it does; the test named fails when the field is ignored |\n" +
		"| approximated | it does something close to it, and the table says what is different |\n" +
		"| not enforced | it is taken and kept, and has no effect |\n" +
		"| refused | what uses it does not run, and says why |\n\n" +
		"A verdict other than honoured holds for everything below the field. `Type.field[key]` and `Type.field=value` narrow a row to one key or value.\n" +
		"A status is not the user's and not listed. Kinds of other API groups are left alone, with a warning.\n")
	part := ""
	for _, r := range Rows() {
		if at := heading(r); at != part {
			part = at
			fmt.Fprintf(&b, "\n## %s\n\n| field | verdict | why, or what is different | test |\n|---|---|---|---|\n", part)
		}
		name := r.Field + r.narrow()
		if r.Field == "" {
			name = r.Type
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, r.Verdict, r.Text, r.Test)
	}
	return b.String()
}

func heading(r Row) string {
	if r.Field == "" {
		return "Kinds"
	}
	return r.Type
}

// Summary counts the rows by verdict, in a sentence.
func Summary() string {
	count := map[Verdict]int{}
	for _, r := range Rows() {
		count[r.Verdict]++
	}
	var parts []string
	for _, v := range Verdicts() {
		parts = append(parts, fmt.Sprintf("%d %s", count[v], v))
	}
	return fmt.Sprintf("%d rows: %s.", len(Rows()), strings.Join(parts, ", "))
}
