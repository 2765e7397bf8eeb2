package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"berth/controller"
	"berth/manifests"
)

// table prints a status as one screen.
type table struct {
	w     io.Writer
	color bool
	// rows bounds the number of pods that are listed, 0 for all; a live table must fit on its terminal.
	rows int
}

func (t table) print(s *controller.Status) {
	fmt.Fprintf(t.w, "%s: %s, %s, %s\n", safe(s.Source.Name), counted(s.Source.Files, "file"), counted(s.Source.Objects, "object"), t.verdict(s))
	t.faults(s)
	t.waiting(s)
	t.problems(s)
	t.workloads(s)
	t.pods(s)
	t.published(s)
	t.pulls(s)
	for _, warning := range s.Warnings {
		fmt.Fprintf(t.w, "%s %s\n", t.paint("warning:", yellow), safe(warning))
	}
}

func (t table) verdict(s *controller.Status) string {
	wrong, notes, warnings := len(s.Problems), 0, ""
	for i := range s.Faults {
		if s.Faults[i].Severity == manifests.Error {
			wrong++
		}
	}
	if n := len(s.Faults) - wrong; n > 0 {
		warnings = ", " + counted(n, "warning")
	}
	for i := range s.Workloads {
		if s.Workloads[i].Problem != "" {
			wrong++
		}
		if s.Workloads[i].Note != "" {
			notes++
		}
	}
	wrong += len(s.Problems)
	switch {
	case !s.Ready:
		return "starting"
	case wrong > 0:
		return t.paint(fmt.Sprintf("%d to look at", wrong), red) + warnings
	case s.Converged && notes > 0:
		return t.paint(fmt.Sprintf("as stated, but for %d held or paused", notes), yellow) + warnings
	case s.Converged:
		return t.paint("all as stated", green) + warnings
	default:
		return t.paint("working", yellow) + warnings
	}
}

func (t table) faults(s *controller.Status) {
	if len(s.Faults) == 0 {
		return
	}
	fmt.Fprintln(t.w)
	few, more := fewFaults(s.Faults)
	for i := range few {
		color := red
		if few[i].Severity == manifests.Warning {
			color = yellow
		}
		fmt.Fprintln(t.w, t.paint(safe(few[i].String()), color))
	}
	if more > 0 {
		fmt.Fprintln(t.w, t.paint(fmt.Sprintf("and %d more that is not honoured: `berth validate` names it", more), yellow))
	}
}

// fewFaults leaves out all but the first of the fields that are not honoured, of which a directory of others' manifests may have
// hundreds, and says how many it left out. What is wrong is never left out.
func fewFaults(all []manifests.Fault) (few []manifests.Fault, more int) {
	const most = 5
	for i, seen := 0, 0; i < len(all); i++ {
		if all[i].Verdict != "" {
			if seen++; seen > most {
				more++
				continue
			}
		}
		few = append(few, all[i])
	}
	return few, more
}

func (t table) waiting(s *controller.Status) {
	if len(s.Waiting) == 0 {
		return
	}
	fmt.Fprintln(t.w)
	consent := false
	for _, w := range s.Waiting {
		why := "its file cannot be read as a whole; it stays"
		switch w.Why {
		case controller.WaitConsent:
			why, consent = "waits for consent to be removed", true
		case controller.WaitDelay:
			why = fmt.Sprintf("has vanished, goes in %s", max(0, w.Until.Sub(s.Time)).Round(100*time.Millisecond))
		}
		from := ""
		if w.File != "" {
			from = " (from " + w.File + ")"
		}
		fmt.Fprintf(t.w, "%s%s %s\n", t.paint(safe(w.Object), yellow), safe(from), why)
	}
	if consent {
		fmt.Fprintln(t.w, "  most objects vanished at once, so berth asks first: `berth allow` removes them, restoring the files keeps them")
	}
}

// problems are what the network cannot do.
func (t table) problems(s *controller.Status) {
	if len(s.Problems) == 0 {
		return
	}
	fmt.Fprintln(t.w)
	for _, p := range s.Problems {
		fmt.Fprintf(t.w, "%s %s\n", t.paint(safe(p.Object+": "+p.Reason+":"), red), safe(p.Message))
	}
}

func (t table) workloads(s *controller.Status) {
	if len(s.Workloads) == 0 {
		return
	}
	fmt.Fprintln(t.w)
	tw := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "NAMESPACE\tWORKLOAD\tREADY\tUP-TO-DATE\tAVAILABLE\tAGE\tFILE")
	for i := range s.Workloads {
		w := &s.Workloads[i]
		fmt.Fprintf(tw, "%s\t%s/%s\t%d/%d\t%d\t%d\t%s\t%s\n", w.Namespace, w.Kind, w.Name, w.Ready, w.Desired, w.Updated, w.Available,
			ageText(s.Time.Sub(w.Created)), safe(w.File))
	}
	_ = tw.Flush() // a terminal that is gone
	for i := range s.Workloads {
		w := &s.Workloads[i]
		if w.Problem != "" {
			fmt.Fprintf(t.w, "%s %s\n", t.paint(w.Kind+"/"+w.Name+":", red), safe(w.Problem))
		}
		if w.Note != "" {
			fmt.Fprintf(t.w, "%s %s\n", t.paint(w.Kind+"/"+w.Name+":", yellow), safe(w.Note))
		}
	}
}

func (t table) pods(s *controller.Status) {
	if len(s.Pods) == 0 {
		return
	}
	fmt.Fprintln(t.w)
	tw := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "NAMESPACE\tPOD\tREADY\tSTATUS\tRESTARTS\tADDRESS\tPID\tAGE")
	for i := range s.Pods {
		if t.rows > 0 && i == t.rows {
			break
		}
		p := &s.Pods[i]
		total := 0
		var pids []string
		for _, c := range p.Containers {
			if !c.Init {
				total++
			}
			if c.PID > 0 && c.State == "Running" {
				pids = append(pids, fmt.Sprint(c.PID))
			}
		}
		fmt.Fprintf(tw, "%s\t%s\t%d/%d\t%s\t%d\t%s\t%s\t%s\n", p.Namespace, p.Name, p.Ready, total, safe(p.Reason), p.Restarts,
			dash(p.IP), dash(strings.Join(pids, ",")), ageText(s.Time.Sub(p.Created)))
	}
	_ = tw.Flush() // a terminal that is gone
	if t.rows > 0 && len(s.Pods) > t.rows {
		fmt.Fprintf(t.w, "… and %d more\n", len(s.Pods)-t.rows)
	}
}

func (t table) pulls(s *controller.Status) {
	for _, p := range s.Pulls {
		size := "asking"
		if p.Total > 0 {
			size = bytesText(p.Complete) + " of " + bytesText(p.Total)
		}
		fmt.Fprintf(t.w, "pulling %s: %s, for %s\n", safe(p.Image), size, counted(p.Pods, "pod"))
	}
}

const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
)

func (t table) paint(s, color string) string {
	if !t.color {
		return s
	}
	return color + s + "\x1b[0m"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
