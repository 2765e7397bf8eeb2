package edit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What the server shows of every object, and nobody states, is in no file.
func TestClean(t *testing.T) {
	type object = map[string]any
	tests := map[string]struct{ in, want object }{
		"a new namespace": {
			object{"kind": "Namespace", "metadata": object{"name": "a"}, "spec": object{"finalizers": []any{"kubernetes"}}, "status": object{"phase": "Active"}},
			object{"kind": "Namespace", "metadata": object{"name": "a"}},
		},
		"another kind": {
			object{"kind": "ConfigMap", "metadata": object{"name": "a", "uid": "1", "finalizers": []any{"x"}}, "data": object{"k": nil}},
			object{"kind": "ConfigMap", "metadata": object{"name": "a", "finalizers": []any{"x"}}, "data": object{}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Clean(tc.in)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
