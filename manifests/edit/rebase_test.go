package edit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// What a client changed counts, whatever it saw beside what the file says.
func TestRebase(t *testing.T) {
	tests := map[string]struct{ seen, wish, file, want string }{
		"nothing changed":                  {`{"a": 1, "b": 2}`, `{"a": 1, "b": 2}`, `{"a": 1}`, `{"a": 1}`},
		"one changed":                      {`{"a": 1, "b": 2}`, `{"a": 3, "b": 2}`, `{"a": 1}`, `{"a": 3}`},
		"one added":                        {`{"a": 1, "b": 2}`, `{"a": 1, "b": 2, "c": 3}`, `{"a": 1}`, `{"a": 1, "c": 3}`},
		"one taken out that it saw":        {`{"a": 1, "b": 2, "c": 3}`, `{"b": 2, "c": 3}`, `{"a": 1, "b": 2}`, `{"b": 2}`},
		"one that it did not see stays":    {`{"a": 1, "c": 3}`, `{"a": 2, "c": 3}`, `{"a": 1, "b": 2}`, `{"a": 2, "b": 2}`},
		"one taken out that is not there":  {`{"a": 1, "b": 2}`, `{"a": 3}`, `{"a": 1}`, `{"a": 3}`},
		"a default taken back":             {`{"a": 1, "b": 2}`, `{"a": 1, "b": 0}`, `{"a": 1}`, `{"a": 1, "b": 0}`},
		"further in":                       {`{"m": {"a": 1, "b": 2}}`, `{"m": {"b": 2}}`, `{"m": {"a": 1}}`, `{"m": {}}`},
		"a whole map taken out":            {`{"m": {"a": 1, "b": 2}, "n": 1}`, `{"n": 1}`, `{"m": {"a": 1}, "n": 1}`, `{"n": 1}`},
		"a list as long as the file's":     {`{"l": [{"a": 1, "b": 2}, {"a": 2}]}`, `{"l": [{"a": 3, "b": 2}, {"a": 2}]}`, `{"l": [{"a": 1}, {"a": 2}]}`, `{"l": [{"a": 3}, {"a": 2}]}`},
		"a list that is longer than there": {`{"l": [1, 2]}`, `{"l": [1, 2, 3]}`, `{"l": [1]}`, `{"l": [1, 2, 3]}`},
		"of another type":                  {`{"v": {"a": 1}}`, `{"v": [1]}`, `{"v": {"a": 1, "b": 2}}`, `{"v": [1]}`},
	}
	read := func(text string) (v map[string]any) {
		if err := utiljson.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for name, tt := range tests {
		if diff := cmp.Diff(any(read(tt.want)), rebase(read(tt.seen), read(tt.wish), read(tt.file), nil, "")); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}
