// Package unit writes the systemd service that runs berth on a directory.
package unit

import (
	"fmt"
	"strings"
)

// Config is what a unit needs to know. All paths are absolute.
type Config struct {
	Binary, Dir, StateDir, RunDir string
	// Args are further arguments of `berth up`.
	Args []string
}

// Text is the unit file.
//
// KillMode=process: only the controller is ended with the service; the keeper and the containers go on, so that a restart is an upgrade.
// LimitNPROC=infinity: containers inherit it, and the kernel counts a user's processes over all of them; each pod has its own limit.
// Delegate=yes: systemd leaves cgroups alone that berth makes. The keeper moves to a top-level group of its own anyway.
func Text(c Config) string {
	args := []string{c.Binary, "up", c.Dir, "--state-dir", c.StateDir, "--run-dir", c.RunDir}
	args = append(args, c.Args...)
	for i, a := range args {
		args[i] = quote(a)
	}
	return fmt.Sprintf(`[Unit]
Description=berth keeps this machine in the state that %s declares
After=network-online.target local-fs.target
Wants=network-online.target
RequiresMountsFor=%s

[Service]
Type=notify
NotifyAccess=main
ExecStart=%s
KillMode=process
Delegate=yes
Restart=always
RestartSec=1
TimeoutStartSec=300
TimeoutStopSec=15
OOMScoreAdjust=-900
TasksMax=infinity
LimitNOFILE=1048576
LimitNPROC=infinity

[Install]
WantedBy=multi-user.target
`, specifier(c.Dir), quote(c.StateDir), strings.Join(args, " "))
}

// quote makes one word of an argument (systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting").
func quote(s string) string {
	s = specifier(s)
	s = strings.ReplaceAll(s, "$", "$$")
	if !strings.ContainsAny(s, " \t\"'\\;") && s != "" {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// specifier keeps a percent sign from being read as one (systemd.unit(5), "Specifiers"), and a line from ending.
func specifier(s string) string {
	return strings.NewReplacer("%", "%%", "\n", " ").Replace(s)
}
