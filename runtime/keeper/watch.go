package keeper

import (
	"errors"
	"syscall"
	"time"

	"berth/runtime/keeper/wire"
)

// deathPatience is how long a killed child may take to die. One that waits for a dead network file system takes longer: its id is given back
// and the reaper gets it when it goes.
const deathPatience = 2 * time.Second

// watch waits for a child in set-up.
//
//	done pipe:  a byte         the pty stands at its place (tty only): fetch it, then open the gate
//	            end of file    the program was executed, or the child is gone: the report says which
//	pidfd:      readable       the child is gone
//	deadline:                  kill it
type watch struct {
	k        *keeper
	s        *spawner
	b        *birth
	p        *process
	gate     *int
	done     int
	reserved int
	pty      int
	deadline time.Time
}

func (w *watch) wait() *wire.Failure {
	if w.b.cloned != nil {
		if fail := w.b.cloned(w.p, w.gate); fail != nil {
			w.kill()
			if step, _ := w.s.report().Failed(); step >= 0 { // that is why it could not be done
				return w.judge()
			}
			return fail
		}
	}
	if !w.b.tty {
		w.openGate()
	}
	for {
		fds := []pollFD{{fd: int32(w.done), events: pollIn}, {fd: int32(w.p.pidfd), events: pollIn}}
		n, err := poll(fds, int64(time.Until(w.deadline)))
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			w.kill()
			return errnoFailure("wait for the child", err)
		case n == 0:
			return w.timedOut()
		case fds[0].revents != 0:
			var b [1]byte
			if n, err := syscall.Read(w.done, b[:]); n == 1 {
				if fail := w.ready(); fail != nil {
					return fail
				}
				continue
			} else if errors.Is(err, syscall.EINTR) {
				continue
			}
		}
		return w.judge()
	}
}

// ready answers the child's word that its terminal is open.
func (w *watch) ready() *wire.Failure {
	if w.b.tty && w.pty < 0 {
		pty, err := pidfdGetFD(w.p.pidfd, w.reserved)
		if err != nil {
			w.kill()
			return errnoFailure("fetch the terminal", err)
		}
		w.pty = pty
		syscall.CloseOnExec(pty)
	}
	w.openGate()
	return nil
}

func (w *watch) openGate() {
	if *w.gate >= 0 {
		one := [1]byte{1}
		_, _ = syscall.Write(*w.gate, one[:]) // EPIPE: the child is gone, which the pipe tells next
		closeFD(w.gate)
	}
}

// judge says what became of a child that executed its program or is gone.
func (w *watch) judge() *wire.Failure {
	report := w.s.report()
	if step, errno := report.Failed(); step >= 0 {
		w.gone()
		n, name := w.name(step)
		return &wire.Failure{Code: wire.CodeStep, Errno: uint32(errno), Step: n, Text: name}
	}
	entered := report.Entered()
	first := w.b.opening.program.Len()
	if w.b.program.Executes(entered-first) || w.b.closing.Executes(entered-first-w.b.program.Len()) {
		return nil
	}
	w.gone()
	if entered == first+w.b.program.Len()+w.b.closing.Len() && w.p.signaled() == 0 {
		if code := w.p.exitCode(); !w.b.executes && code == 0 {
			return nil
		}
		return &wire.Failure{Code: wire.CodeStep, Text: "run the program to its end, without executing another"}
	}
	n, name := w.name(entered)
	return &wire.Failure{Code: wire.CodeStep, Step: n, Text: name, Signal: uint32(w.p.signaled())}
}

func (w *watch) timedOut() *wire.Failure {
	n, name := w.name(w.s.report().Entered())
	w.kill()
	return &wire.Failure{Code: wire.CodeStep, Step: n, Text: name, TimedOut: true}
}

func (w *watch) kill() {
	w.p.kill()
	w.gone()
}

// gone waits until the child has been reaped.
func (w *watch) gone() {
	select {
	case <-w.p.done:
		return
	default:
	}
	t := time.NewTimer(deathPatience)
	defer t.Stop()
	select {
	case <-w.p.done:
	case <-t.C:
		w.s.orphan = true
	}
}

// name is 1 + the index of a step in the client's program and "", or 0 and the name of the keeper's own step.
func (w *watch) name(step int) (uint32, string) {
	first, last := w.b.opening.program.Len(), w.b.opening.program.Len()+w.b.program.Len()
	switch {
	case step < 0:
		return 0, "begin"
	case step < first:
		return 0, w.b.opening.names[step]
	case step < last:
		return uint32(step-first) + 1, ""
	case step-last < len(w.b.endNames):
		return 0, w.b.endNames[step-last]
	}
	return 0, "end"
}
