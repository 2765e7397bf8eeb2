package manifests

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestNewFile(t *testing.T) {
	long := strings.Repeat("n", 253)
	tests := map[string]struct {
		key  Key
		want string // "" for a shortened one
	}{
		"in a namespace":   {Key{Kind: "ConfigMap", Namespace: "shop", Name: "a.b"}, "kubectl/shop.ConfigMap.a.b.yaml"},
		"in none":          {Key{Kind: "ClusterRole", Name: "system:node"}, "kubectl/ClusterRole.system:node.yaml"},
		"a long name":      {key: Key{Kind: "ConfigMap", Namespace: "shop", Name: long}},
		"another":          {key: Key{Kind: "ConfigMap", Namespace: "shop", Name: long[1:] + "x"}},
		"control":          {key: Key{Kind: "ClusterRole", Name: "a\x00b"}},
		"of another kind":  {key: Key{Kind: "ClusterRole", Name: "a\nb"}},
		"letters of yours": {key: Key{Kind: "ClusterRole", Name: "ä"}},
	}
	seen := map[string]string{}
	for name, tt := range tests {
		got := NewFile(tt.key)
		if tt.want != "" && got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		base := filepath.Base(got)
		if len(base) > 255 || !filepath.IsLocal(got) || strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r > '~' }) || !strings.HasSuffix(base, ".yaml") {
			t.Errorf("%s: %q is no good name for a file", name, got)
		}
		if other := seen[got]; other != "" {
			t.Errorf("%s and %s are both %q", name, other, got)
		}
		seen[got] = name
	}
}
