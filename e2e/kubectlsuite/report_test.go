package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	rules, err := parseRules("run_apart\t-\tnot served\nrun_some\tcrds? \tno such kind\n")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := "run_apart() {\n  kube::test::get_object_assert a b c\n}\nrun_some() {\n  kube::test::get_object_assert a b c\n  x=$(y)\n" +
		"  kube::test::if_has_string a b\n  kube::test::if_has_string a c\n}\nrun_late() {\n  kube::test::if_has_string a b\n  wait-for-pods-with-label a b\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "x.sh"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	sites, err := readSites(dir)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{
		"run_apart\tapart\t\t\t",
		"run_some\tpassed\tx.sh:5\tget_object_assert a b c\t", "run_some\tfailed\tx.sh:7\tif_has_string a b\tFAIL", "run_some\tfailed\tx.sh:8\tget_object_assert crds c\tFAIL",
		"run_some\tend\t\t\t", "run_some\ttook\t\t3\t",
		"run_late\tpassed\tx.sh:11\tif_has_string a b\t", "run_late\tlate\t\t\t", "run_late\ttook\t\t180\t",
	}
	got := newReport(strings.Join(lines, "\n"), rules, sites)
	want := map[string]tally{"run_apart": {skipped: 1}, "run_some": {passed: 1, failed: 1, skipped: 1, seconds: "3 s"}, "run_late": {passed: 1, unreached: 1, seconds: "180 s"}}
	have := map[string]tally{}
	for name, t := range got.tallies {
		have[name] = *t
	}
	if diff := cmp.Diff(want, have, cmp.AllowUnexported(tally{})); diff != "" {
		t.Errorf("tallies (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"not served": 1, "no such kind": 1}, got.reasons); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	if !strings.Contains(got.String(), "2 of 4 assertions that apply passed: 50.0 %") {
		t.Errorf("the report says\n%s", got)
	}
}

func TestSkipsCanBeRead(t *testing.T) {
	rules, err := readRules()
	if err != nil {
		t.Fatal(err)
	}
	if rules.reason("run_crd_tests", "") == "" || rules.reason("run_pod_tests", "get_object_assert pods a b") != "" {
		t.Error("the wrong functions are apart")
	}
}
