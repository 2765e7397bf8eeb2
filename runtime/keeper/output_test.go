package keeper_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"berth/runtime/keeper/client"
	"berth/runtime/keeper/program"
	"berth/runtime/logs"
)

// finish runs a script to its end and returns the text of its log.
func (w *world) finish(r client.StartRequest) string {
	w.t.Helper()
	w.run(r)
	w.wait(r.ID)
	var out bytes.Buffer
	if err := logs.Read(w.t.Context(), r.Log.Path, logs.Options{}, &out); err != nil {
		w.t.Fatal(err)
	}
	return out.String()
}

func TestLongLineWithoutNewline(t *testing.T) {
	w := newWorld(t)
	r := w.request("long", "head -c 1048576 /dev/zero | tr '\\0' x")
	if got := w.finish(r); got != strings.Repeat("x", 1<<20)+"\n" {
		t.Errorf("%d bytes came through", len(got))
	}
	for entry := range strings.Lines(w.logText(r)) {
		if len(entry) > 16<<10+64 {
			t.Fatalf("an entry of %d bytes", len(entry))
		}
	}
}

func TestBinaryOutput(t *testing.T) {
	w := newWorld(t)
	if got := w.finish(w.request("nul", `printf 'a\000b\r\nc\377\n\n\nlast'`)); got != "a\x00b\r\nc\xff\n\n\nlast\n" {
		t.Errorf("got %q", got)
	}
}

func TestFloodIsRotated(t *testing.T) {
	w := newWorld(t)
	r := w.request("flood", "i=0; while [ $i -lt 20000 ]; do echo line number $i of the flood; i=$((i+1)); done")
	r.Log.Size, r.Log.Files = 64<<10, 3
	got := w.finish(r)
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	for i, line := range lines { // the last ones, without a gap
		if want := fmt.Sprintf("line number %d of the flood", 20000-len(lines)+i); line != want {
			t.Fatalf("line %q, want %q", line, want)
		}
	}
	files, _ := filepath.Glob(r.Log.Path + "*")
	total := int64(0)
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += st.Size()
	}
	// Up to a size's worth of entries and one more are written at once, and what does not fit begins the next file.
	if size := r.Log.Size; len(files) != 3 || total > 3*(size+128) || total < size {
		t.Errorf("%d files of %d bytes", len(files), total)
	}
}

func TestFloodKeptWhole(t *testing.T) {
	w := newWorld(t)
	r := w.request("whole", "seq 1 60000; seq 1 1000 >&2")
	got := w.finish(r)
	if n := strings.Count(got, "\n"); n != 61000 {
		t.Errorf("%d of 61000 lines", n)
	}
}

// TestReopenedOutput: an image that opens /dev/stdout anew, as another user.
func TestReopenedOutput(t *testing.T) {
	w := newWorld(t)
	var b program.Builder
	stdio(&b)
	b.Call("become nobody", syscall.SYS_SETRESUID, program.Imm(65534), program.Imm(65534), program.Imm(65534))
	execute(&b, "/bin/sh", "-c", "echo one >>/proc/self/fd/1; echo two >/dev/stdout; echo three >>/dev/stderr")
	r := w.request("reopen", "")
	r.Program = &b
	if got := w.finish(r); got != "one\ntwo\nthree\n" && got != "three\none\ntwo\n" {
		t.Errorf("got %q", got)
	}
}

// TestFullDisk: what cannot be written is dropped and told, and the container goes on.
func TestFullDisk(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(w.dir, "disk")
	// The ballast's room is more than the lines that can wait in the pipe (64 KiB, 11,000 lines) become in the log.
	if err := w.c.Mount(w.ctx(), dir, "size=1536k,mode=755"); err != nil {
		t.Fatal(err)
	}
	r := w.request("full", "seq 1 50000; rm "+dir+"/ballast; echo room again; echo the end")
	r.Log.Path = filepath.Join(dir, "log")
	ballast := client.StartRequest{ID: "ballast", Program: ballastProgram(dir)}
	w.run(ballast)
	w.wait("ballast")
	w.run(r)
	if e := w.wait(r.ID); e.Status.ExitStatus() != 0 {
		t.Errorf("exit = %+v", e)
	}
	st, err := w.c.List(w.ctx())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range st.Containers {
		if c.ID == r.ID && c.Dropped == 0 {
			t.Error("nothing was dropped")
		}
	}
	// The log lies in the keeper's mount namespace: a container reads it.
	show := w.request("show", "cat "+dir+"/log")
	got := w.finish(show)
	if !strings.Contains(got, "bytes of output were lost") || !strings.HasSuffix(got, "stdout F the end\n") {
		t.Errorf("the log ends with %q", got[max(0, len(got)-300):])
	}
}

func ballastProgram(dir string) *program.Builder {
	var b program.Builder
	execute(&b, "/bin/sh", "-c", "head -c 1400000 /dev/zero > "+dir+"/ballast")
	return &b
}

// TestNobodyReads: a keeper that does not read (here: is stopped) blocks a container, and loses nothing.
func TestNobodyReads(t *testing.T) {
	w := newWorld(t)
	c := w.talker("quiet")
	pid := w.c.Info().PID
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		c.say(fmt.Sprint("unheard ", i))
	}
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.logged("line 10 unheard 9")
	c.say("end")
	w.wait("quiet")
}

// TestUnfinishedLineAtExit: the last words are in the log when the end is told, also while another process holds the output open.
func TestUnfinishedLineAtExit(t *testing.T) {
	w := newWorld(t)
	r := w.request("words", "sleep 1000 & echo $!; printf 'last words'")
	r.Flags = 0
	got := w.finish(r)
	var pid int
	if _, err := fmt.Sscan(got, &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if want := fmt.Sprint(pid, "\nlast words\n"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
