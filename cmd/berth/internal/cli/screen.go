package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/term"

	"berth/cmd/berth/internal/daemon"
	"berth/controller"
)

// screen shows what a running berth does: a live table on a terminal, plain lines otherwise.
type screen struct {
	app  *app
	dir  string
	file *os.File // the terminal, nil when there is none
	// intro stands above the live table.
	intro string
}

func (a *app) newScreen(dir string) *screen {
	s := &screen{app: a, dir: dir, intro: a.intro}
	if f, ok := a.out.(*os.File); ok && isTerminal(f) {
		s.file = f
	}
	return s
}

// log is where the daemon's log goes: to the lines, or nowhere while a table is shown (its events are in the table).
func (s *screen) log() logr.Logger {
	if s.file != nil {
		return logr.Discard()
	}
	return lineLog(s.app.err)
}

// show runs until ctx ends.
func (s *screen) show(ctx context.Context, d *daemon.Daemon) {
	for _, w := range d.Warnings() {
		fmt.Fprintln(s.app.err, "warning:", w)
	}
	if s.intro != "" {
		fmt.Fprint(s.app.out, s.intro)
	}
	changes, cancel := d.Controller.Changes()
	defer cancel()
	draw := s.lines()
	if s.file != nil {
		draw = s.live()
	}
	for {
		select {
		case <-ctx.Done():
			status := d.Controller.Status()
			draw(&status)
			return
		case <-changes:
			status := d.Controller.Status()
			draw(&status)
		}
		// At most ten pictures a second: a reader sees no more, and a burst of 300 pods is not slowed by drawing it.
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// live draws the table over the one before.
func (s *screen) live() func(*controller.Status) {
	drawn := 0
	return func(st *controller.Status) {
		width, height, err := term.GetSize(int(s.file.Fd()))
		if err != nil || width <= 0 || height <= 0 {
			width, height = 80, 24
		}
		var b bytes.Buffer
		few, _ := fewFaults(st.Faults)
		table{w: &b, color: colorful(s.file), rows: max(3, height-13-len(few)-len(st.Workloads))}.print(st)
		for _, e := range lastEvents(st, 4) {
			fmt.Fprintln(&b, safe(eventLine(e)))
		}
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) > height-1 {
			lines = append(lines[:height-2], "…")
		}
		var out strings.Builder
		if drawn > 0 {
			fmt.Fprintf(&out, "\x1b[%dA\x1b[J", drawn)
		}
		for _, l := range lines {
			out.WriteString(clip(l, width) + "\n")
		}
		drawn = len(lines)
		fmt.Fprint(s.app.out, out.String())
	}
}

// clip cuts a line to a width, so that it takes one row; colours count nothing and are closed.
func clip(line string, width int) string {
	n, escape := 0, false
	for i, r := range line {
		switch {
		case escape:
			escape = r != 'm'
		case r == '\x1b':
			escape = true
		default:
			if n++; n > width {
				return line[:i] + "\x1b[0m"
			}
		}
	}
	return line
}

// lines prints what is new since the picture before: faults, waiting removals and the verdict. Events are in the log.
func (s *screen) lines() func(*controller.Status) {
	seen := map[string]bool{}
	verdict := ""
	return func(st *controller.Status) {
		now := map[string]bool{}
		say := func(line string) {
			now[line] = true
			if !seen[line] {
				fmt.Fprintln(s.app.out, safe(line))
			}
		}
		for i := range st.Faults {
			say(st.Faults[i].String())
		}
		for _, w := range st.Waiting {
			say(w.Object + " waits to be removed: " + w.Why)
		}
		for i := range st.Workloads {
			if w := &st.Workloads[i]; w.Problem != "" {
				say(w.Kind + "/" + w.Namespace + "/" + w.Name + ": " + w.Problem)
			} else if w.Done {
				say(fmt.Sprintf("%s/%s/%s: %d/%d ready", w.Kind, w.Namespace, w.Name, w.Ready, w.Desired))
			}
		}
		seen = now
		if v := (table{}).verdict(st); v != verdict {
			fmt.Fprintf(s.app.out, "%s: %s\n", safe(s.dir), v)
			verdict = v
		}
	}
}

func lastEvents(st *controller.Status, n int) []controller.Event {
	return st.Events[max(0, len(st.Events)-n):]
}
