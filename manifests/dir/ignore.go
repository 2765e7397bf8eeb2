package dir

import (
	"path/filepath"
	"strings"
)

// isManifest reports whether a file of this name is read: only .yaml, .yml and .json, and nothing that editors, version control or
// copying leave behind (.web.yaml.swp, #web.yaml#, .#web.yaml, web.yaml~, .web.yaml.AbC123).
func isManifest(name string) bool {
	if isHidden(name) || strings.HasPrefix(name, "#") || strings.HasSuffix(name, "~") {
		return false
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// isHidden reports whether a file or directory is not looked at: .git, and the ..data of a mounted ConfigMap (reached by its links).
func isHidden(name string) bool { return strings.HasPrefix(name, ".") }
