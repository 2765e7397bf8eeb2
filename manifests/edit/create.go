package edit

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"berth/manifests"
)

// New is the text of a file that states one object, without anything that the server sets. It is read once more before it is handed out.
func New(file string, gvk schema.GroupVersionKind, key manifests.Key, obj map[string]any) ([]byte, error) {
	wish, err := Canonical(gvk, obj)
	if err != nil {
		return nil, err
	}
	wish = Clean(wish)
	withoutNoise(wish)
	wished, err := read(key, wish)
	if err != nil {
		return nil, err
	}
	data := []byte(renderBlock(wish, 0, style{step: 2}) + "\n")
	after := manifests.Decode(file, data)
	if err := verify(manifests.Decoded{Objects: []manifests.Object{wished}}, after, key, []manifests.Object{wished}); err != nil {
		return nil, fmt.Errorf("cannot write %s: %w", file, err)
	}
	return data, nil
}

// withoutNoise takes out the empty maps that clients written in Go send because their types have no way to leave them out.
func withoutNoise(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range []string{"resources", "strategy", "updateStrategy"} {
			if m, ok := v[name].(map[string]any); ok && len(m) == 0 {
				delete(v, name)
			}
		}
		for _, below := range v {
			withoutNoise(below)
		}
	case []any:
		for _, below := range v {
			withoutNoise(below)
		}
	}
}
