package harness

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Terminal is a program with a terminal of its own, as somebody who types and reads has it.
type Terminal struct {
	TB
	Cmd    *exec.Cmd
	master *os.File

	mu   sync.Mutex
	seen strings.Builder
	done chan error
}

// OnTerminal starts a program on a terminal of this size. It is killed at the end of the test.
func (b *Berth) OnTerminal(cmd *exec.Cmd, columns, rows uint16) *Terminal {
	b.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		b.Fatalf("cannot open a terminal: %v", err)
	}
	var unlock, number int32
	control(b, master, syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	control(b, master, syscall.TIOCGPTN, unsafe.Pointer(&number))
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		b.Fatalf("cannot open a terminal: %v", err)
	}
	defer slave.Close()
	t := &Terminal{TB: b.TB, Cmd: cmd, master: master, done: make(chan error, 1)}
	t.Resize(columns, rows)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		b.Fatalf("cannot start %v: %v", cmd.Args, err)
	}
	go t.read()
	go func() { t.done <- cmd.Wait() }()
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = master.Close()
	})
	return t
}

// control is an ioctl with a pointer.
func control(tb TB, f *os.File, request uintptr, arg unsafe.Pointer) {
	tb.Helper()
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(arg)); e != 0 {
		tb.Fatalf("cannot control a terminal: %v", e)
	}
}

// Resize changes its size; programs are told by SIGWINCH.
func (t *Terminal) Resize(columns, rows uint16) {
	t.Helper()
	size := [4]uint16{rows, columns}
	control(t.TB, t.master, syscall.TIOCSWINSZ, unsafe.Pointer(&size))
}

func (t *Terminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := t.master.Read(buf)
		t.mu.Lock()
		t.seen.Write(buf[:n])
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Seen is everything that was shown so far.
func (t *Terminal) Seen() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen.String()
}

// Type presses keys.
func (t *Terminal) Type(keys string) {
	t.Helper()
	if _, err := t.master.WriteString(keys); err != nil {
		t.Fatalf("cannot type: %v", err)
	}
}

// Await waits until a text is shown.
func (t *Terminal) Await(text string) {
	t.Helper()
	err := Poll(Patience, func() error {
		if !strings.Contains(t.Seen(), text) {
			return fmt.Errorf("%q is not shown, but:\n%s", text, t.Seen())
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// End waits for the program and returns its exit code.
func (t *Terminal) End() int {
	t.Helper()
	select {
	case <-t.done:
		return t.Cmd.ProcessState.ExitCode()
	case <-time.After(Patience):
		t.Fatalf("%v does not end; it shows:\n%s", t.Cmd.Args, t.Seen())
		return -1
	}
}
