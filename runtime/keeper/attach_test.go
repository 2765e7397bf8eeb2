package keeper_test

import (
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/runtime/keeper/client"
	"berth/runtime/keeper/program"
)

// withInput is a request whose script has a standard input that can end.
func (w *world) withInput(id, script string) client.StartRequest {
	r := w.request(id, "")
	r.Input = true
	var b program.Builder
	b.Call("put stdin in place", syscall.SYS_DUP3, program.Slot(program.SlotStdin), program.Imm(0), program.Imm(0))
	stdio(&b)
	execute(&b, "/bin/sh", "-c", script)
	r.Program = &b
	return r
}

func (w *world) input(r client.StartRequest) *os.File {
	w.t.Helper()
	f, err := w.c.Input(w.ctx(), r.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = f.Close() })
	return f
}

func (w *world) attach(id string) (out, errOut *os.File) {
	w.t.Helper()
	out, errOut, err := w.c.Attach(w.ctx(), id, false, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _, _ = out.Close(), errOut.Close() })
	return out, errOut
}

// Who attaches gets every byte from then on, also half a line, also when it reads late; who leaves disturbs nobody.
func TestAttach(t *testing.T) {
	w := newWorld(t)
	r := w.withInput("a", "read x; printf 'prompt> '; read x; seq 1 60000; seq 1 9 >&2; printf end")
	w.run(r)
	in := w.input(r)
	first, firstErr := w.attach("a")
	gone, _ := w.attach("a")
	late, lateErr := w.attach("a")
	_, _ = io.WriteString(in, "go\n")
	prompt := make([]byte, len("prompt> "))
	if _, err := io.ReadFull(first, prompt); err != nil || string(prompt) != "prompt> " {
		t.Fatalf("%q, %v", prompt, err)
	}
	_ = gone.Close()
	_, _ = io.WriteString(in, "go on\n")
	all := make(chan string, 1)
	go func() {
		p, _ := io.ReadAll(first)
		all <- string(p)
	}()
	if _, err := io.ReadFull(late, prompt); err != nil || string(prompt) != "prompt> " {
		t.Fatalf("%q, %v", prompt, err)
	}
	rest, _ := io.ReadAll(late)
	e1, _ := io.ReadAll(firstErr)
	e2, _ := io.ReadAll(lateErr)
	got, want := <-all, numbers(60000)+"end"
	if got != want || string(rest) != want {
		t.Errorf("%d and %d of %d bytes", len(got), len(rest), len(want))
	}
	if string(e1) != numbers(9) || string(e2) != numbers(9) {
		t.Errorf("standard error %q and %q", e1, e2)
	}
	if e := w.wait("a"); e.Status.ExitStatus() != 0 {
		t.Errorf("exit %+v", e)
	}
	if _, _, err := w.c.Attach(w.ctx(), "a", false, 0); err == nil {
		t.Error("attached to what has ended")
	}
}

func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strconv.Itoa(i + 1))
		b.WriteByte('\n')
	}
	return b.String()
}

// A client that reads nothing is let go, and the container goes on.
func TestAttachedClientThatSleeps(t *testing.T) {
	w := newWorld(t)
	r := w.withInput("s", "read x; seq 1 60000")
	w.run(r)
	out, errOut, err := w.c.Attach(w.ctx(), "s", false, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = out.Close(), errOut.Close() }()
	_, _ = io.WriteString(w.input(r), "go\n")
	w.wait("s")
	if got, err := io.ReadAll(out); err != nil || len(got) == 0 || len(got) >= len(numbers(60000)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// A standard input stays open while clients come and go, across an upgrade, and ends when it is told to.
func TestCloseInput(t *testing.T) {
	w := newWorld(t)
	r := w.withInput("c", "cat; echo over; cat /dev/stdin; echo again")
	w.run(r)
	for _, text := range []string{"one ", "two "} {
		in := w.input(r)
		_, _ = io.WriteString(in, text)
		_ = in.Close()
	}
	out, _ := w.attach("c")
	in := w.input(r)
	_, _ = io.WriteString(in, "three ")
	if err := w.c.CloseInput(w.ctx(), "c"); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(in, "four ")
	_ = in.Close()
	got, _ := io.ReadAll(out)
	if e := w.wait("c"); e.Status.ExitStatus() != 0 || !strings.HasSuffix("one two three four over\nagain\n", string(got)) || !strings.Contains(string(got), "over") {
		t.Errorf("%q, %+v", got, e)
	}
	if log := w.logText(r); !strings.Contains(log, "one two three four over") {
		t.Errorf("log %q", log)
	}
}
