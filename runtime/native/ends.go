package native

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/internal/sys"
	"berth/runtime/keeper/client"
)

// endQueue takes the ends of containers from the keeper's connection, which must not wait, to where they are recorded.
type endQueue struct {
	mu   *sync.Mutex // guards list
	list *[]client.Exit
	wake chan struct{}
}

func newEndQueue() endQueue {
	return endQueue{mu: &sync.Mutex{}, list: new([]client.Exit), wake: make(chan struct{}, 1)}
}

func (q endQueue) put(e client.Exit) {
	q.mu.Lock()
	*q.list = append(*q.list, e)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q endQueue) take() []client.Exit {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := *q.list
	*q.list = nil
	return list
}

// ended is called on the keeper's connection: it wakes whoever waits for this container, and leaves the rest to recordEnds.
func (r *Runtime) ended(e client.Exit) {
	r.ends.put(e)
	uid, name, attempt, ok := parseKeeperID(e.ID)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.pods[uid]; p != nil {
		if c := p.find(name, attempt); c != nil {
			c.end()
		}
	}
}

// recordEnds records ends until ctx is done.
func (r *Runtime) recordEnds(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.ends.wake:
		}
		for _, e := range r.ends.take() {
			uid, name, attempt, ok := parseKeeperID(e.ID)
			p := r.pod(uid)
			if !ok || p == nil {
				continue
			}
			// Each pod has its own lock: one whose start takes long must not keep the ends of others waiting.
			r.work.Go(func() { r.recordEndOf(p, name, attempt, e.ExitStatus) })
		}
	}
}

func (r *Runtime) recordEndOf(p *pod, name string, attempt uint32, st client.ExitStatus) {
	p.op.Lock()
	defer p.op.Unlock()
	r.mu.Lock()
	c, removing := p.find(name, attempt), p.removing
	r.mu.Unlock()
	if c == nil {
		return
	}
	if !removing {
		if err := r.recordEnd(p, c, st); err != nil {
			r.opts.Report(err)
		}
		r.nameNetNS(p)
	}
	r.events.tell(p.uid)
}

// recordEnd makes a container ended, with all that can be known about why. p.op is held.
func (r *Runtime) recordEnd(p *pod, c *container, st client.ExitStatus) error {
	r.mu.Lock()
	rec := c.containerRecord
	r.mu.Unlock()
	if rec.State == runtime.Exited {
		return nil
	}
	// What the first process has left behind in its group (it can with a shared pid namespace) ends with it.
	group := r.cgroups.Group(p.uid, rec.Config.Name)
	err := group.Kill()
	ooms, oomErr := group.OOMKills()
	if errors.Is(oomErr, fs.ErrNotExist) {
		oomErr = nil
	}
	rec.State, rec.FinishedAt = runtime.Exited, st.At
	if rec.FinishedAt.IsZero() {
		rec.FinishedAt = r.opts.Now()
	}
	// The keeper takes the time of a start when it has heard of the execve, and on a busy machine a short program has ended by then. What is earlier
	// by more than that comes from a clock that was set back, and stays.
	if early := rec.StartedAt.Sub(rec.FinishedAt); early > 0 && early < time.Second {
		rec.FinishedAt = rec.StartedAt
	}
	rec.ExitCode, rec.Signal, rec.Reason = judge(st, ooms)
	rec.Message = r.message(p.uid, c.at(), rec)
	err = errors.Join(err, oomErr, writeRecord(r.dirs.record(p.uid, c.at()), rec))
	r.mu.Lock()
	c.containerRecord = rec
	r.mu.Unlock()
	c.end()
	return err
}

// judge puts an end into Kubernetes' words.
func judge(st client.ExitStatus, ooms uint64) (code, signal int, reason string) {
	switch {
	case !st.Known:
		return runtime.UnknownExitCode, 0, runtime.ReasonUnknown
	case st.Status.Signaled():
		signal = int(st.Status.Signal())
		code = 128 + signal
	default:
		code = st.Status.ExitStatus()
	}
	switch {
	case code == 0:
		return code, signal, runtime.ReasonCompleted
	case ooms > 0:
		return code, signal, runtime.ReasonOOMKilled
	}
	return code, signal, runtime.ReasonError
}

// Limits of a container's last words: those of the kubelet.
const (
	maxMessage      = 4096
	maxLogMessage   = 2048
	maxLogLines     = 80
	messageLogChunk = 64 << 10
)

// message reads the container's termination message. The file was in the container's hands: only a regular file is read, and not far.
func (r *Runtime) message(uid, at string, rec containerRecord) string {
	if rec.Config.TerminationMessagePath == "" {
		return ""
	}
	text, err := readHead(filepath.Join(r.dirs.container(uid, at), messageFile), maxMessage)
	if err == nil && text == "" && rec.Config.MessageFromLog && rec.ExitCode != 0 {
		text = lastLines(rec.LogPath)
	}
	return text
}

func readHead(path string, limit int64) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", fs.ErrInvalid
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	return strings.ToValidUTF8(string(data), "\uFFFD"), err
}

// lastLines is the end of a log without the time stamps: at most 80 lines and 2048 bytes.
func lastLines(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	if _, err := f.Seek(max(0, info.Size()-messageLogChunk), io.SeekStart); err != nil {
		return ""
	}
	data, err := io.ReadAll(io.LimitReader(f, messageLogChunk))
	if err != nil {
		return ""
	}
	lines := strings.SplitAfter(string(data), "\n")
	lines = lines[max(0, len(lines)-1-maxLogLines):]
	var b strings.Builder
	for _, l := range lines {
		// CRI: time, stream, tag, text.
		if fields := strings.SplitN(l, " ", 4); len(fields) == 4 {
			b.WriteString(fields[3])
		}
	}
	text := b.String()
	return strings.ToValidUTF8(text[max(0, len(text)-maxLogMessage):], "\uFFFD")
}

// lives tells whether the process of a record is still the one it was, in the group it was started in.
func (r *Runtime) lives(uid string, rec containerRecord) bool {
	if rec.PID <= 0 {
		return false
	}
	ticks, err := sys.StartTime(rec.PID)
	if err != nil || ticks != rec.StartTicks {
		return false
	}
	pids, err := r.cgroups.Group(uid, rec.Config.Name).Pids()
	if err != nil {
		return false
	}
	return slices.Contains(pids, rec.PID)
}
