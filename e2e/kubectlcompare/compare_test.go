package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNormal(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"a table":           {"NAME                   READY   AGE\nweb-5d4f8c7d9b-x2k4q   1/1     2m3s\n", "NAME  READY  AGE\nweb-HASH-ID  1/1  AGE\n"},
		"ages beside":       {"LAST SEEN   FIRST\n3s   4m (x2 over 5m10s)", "LAST SEEN  FIRST\nAGE  AGE (xN over AGE)"},
		"a field of time":   {"    Liveness:   exec [true] delay=1s timeout=2s period=20s", "    Liveness:  exec [true] delay=1s timeout=2s period=20s"},
		"times":             {"Start Time: Fri, 21 Nov 2026 15:39:11 +0000\nat: \"2026-11-21T15:39:11Z\"", "Start Time: TIME\nat: \"TIME\""},
		"ids":               {`uid: 0b1f2d3c-aaaa-bbbb-cccc-0123456789ab, resourceVersion: "77"`, `uid: UID, resourceVersion: "RV"`},
		"addresses":         {"https://127.0.0.1:16443 10.96.0.1", "https://SERVER IP"},
		"a hash as a label": {"pod-template-hash=5d4f8c7d9b\n    pod-template-hash: 5d4f8c7d9b", "pod-template-hash=HASH\n    pod-template-hash: HASH"},
		"a controller's":    {"controller-revision-hash: db-5d4f8c7d9b", "controller-revision-hash: db-HASH"},
		"kubectl's log":     {"E1121 15:39:11.123456    1234 memcache.go:265] no", "E memcache.go] no"},
		"an indent stays":   {"spec:\n    containers:", "spec:\n    containers:"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := normal(tc.in)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(got, normal(got)); diff != "" {
				t.Errorf("once more (-once +twice)\n%s", diff)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	rules, err := readRules()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readScripts(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"-b", "+x", "+d"}, diff("a\nb\nc", "a\nx\nc\nd")); diff != "" {
		t.Errorf("a difference (-want +got)\n%s", diff)
	}
	r := &report{rules: rules}
	r.add("nothing/known", []string{"-a line that no rule is about"})
	r.add("nothing/same", nil)
	if r.different != 1 || r.same != 1 || r.meant != 0 {
		t.Errorf("counted %d different, %d same, %d meant", r.different, r.same, r.meant)
	}
}
