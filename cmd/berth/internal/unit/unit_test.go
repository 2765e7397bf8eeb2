package unit

import (
	"slices"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	base := Config{Binary: "/usr/local/bin/berth", Dir: "/srv/manifests", StateDir: "/var/lib/berth", RunDir: "/run/berth"}
	tests := map[string]struct {
		mutate func(*Config)
		line   string
	}{
		"plain":            {func(*Config) {}, "ExecStart=/usr/local/bin/berth up /srv/manifests --state-dir /var/lib/berth --run-dir /run/berth"},
		"notifies":         {func(*Config) {}, "Type=notify"},
		"keeps containers": {func(*Config) {}, "KillMode=process"},
		"delegates":        {func(*Config) {}, "Delegate=yes"},
		"a space":          {func(c *Config) { c.Dir = "/srv/my files" }, `ExecStart=/usr/local/bin/berth up "/srv/my files" --state-dir /var/lib/berth --run-dir /run/berth`},
		"a specifier":      {func(c *Config) { c.Dir = "/srv/%n" }, "ExecStart=/usr/local/bin/berth up /srv/%%n --state-dir /var/lib/berth --run-dir /run/berth"},
		"a dollar":         {func(c *Config) { c.Dir = "/srv/$X" }, "ExecStart=/usr/local/bin/berth up /srv/$$X --state-dir /var/lib/berth --run-dir /run/berth"},
		"more arguments":   {func(c *Config) { c.Args = []string{"--strict"} }, "ExecStart=/usr/local/bin/berth up /srv/manifests --state-dir /var/lib/berth --run-dir /run/berth --strict"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := base
			tc.mutate(&c)
			if !slices.Contains(strings.Split(Text(c), "\n"), tc.line) {
				t.Errorf("no line %q in\n%s", tc.line, Text(c))
			}
		})
	}
}
