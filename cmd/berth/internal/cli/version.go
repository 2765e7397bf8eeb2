package cli

import (
	"runtime/debug"
	"strings"
)

// version is stamped by the Makefile with -ldflags -X.
var version = ""

// Version is the stamped version, else that of the module and commit the binary was built from.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	var v strings.Builder
	v.WriteString(info.Main.Version)
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v.WriteString(" " + s.Value[:12])
		}
	}
	return v.String()
}
