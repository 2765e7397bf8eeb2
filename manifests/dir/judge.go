package dir

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"berth/manifests"
)

// look is what one look at a file found.
type look struct {
	missing bool
	state   state
	hash    [sha256.Size]byte
	decoded *manifests.Decoded // nil when the content is the known one
}

// parsers is how many files are decoded at once when many changed.
const parsers = 2

// inspectAll looks at files, several at once when they are many. It touches nothing of the loop's state but reads it.
func (l *loop) inspectAll(names []string) []look {
	looks := make([]look, len(names))
	workers := parsers
	if len(names) < 8 { // a goroutine costs more than a small file
		workers = 1
	}
	var wait sync.WaitGroup
	for w := range workers {
		run := func() {
			for i := w; i < len(names); i += workers {
				looks[i] = l.inspect(names[i])
			}
		}
		if workers == 1 {
			run()
			break
		}
		wait.Go(run)
	}
	wait.Wait()
	return looks
}

func (l *loop) inspect(name string) look {
	if !l.tree.folders[strings.TrimPrefix(filepath.Dir(name), ".")] {
		return look{missing: true} // its folder is gone, or a link that the walk did not allow
	}
	path := filepath.Join(l.src.path, filepath.FromSlash(name))
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSymlink != 0 {
		if _, followed := l.tree.seen[name]; !followed {
			return look{missing: true} // a link that the walk did not allow
		}
	} else if err == nil && info.IsDir() {
		return look{missing: true} // a folder took the name, and is read as one
	}
	data, st := readFile(path)
	k := look{state: st, missing: errors.Is(st.err, fs.ErrNotExist) || errors.Is(st.err, syscall.ENOTDIR)}
	if st.err != nil || st.busy {
		return k
	}
	k.hash = sha256.Sum256(data)
	if f := l.files[name]; f == nil || !f.loaded || f.hash != k.hash {
		d := manifests.Decode(name, data)
		k.decoded = &d
	}
	return k
}

// judge decides what a look means: nothing, a new content, or that it must be looked at again.
func (l *loop) judge(name string, k look, now time.Time) {
	f := l.files[name]
	if f == nil {
		if k.missing {
			return
		}
		f = &file{}
		l.files[name] = f
	}
	f.due = time.Time{}
	if !k.state.busy {
		f.busySince = time.Time{}
	}
	if !k.missing {
		f.goneSince = time.Time{}
	}
	switch {
	case k.missing:
		l.judgeMissing(name, f, now)
	case k.state.err != nil:
		l.takeOver(f, unreadable(name, f, k.state.err))
	case k.state.busy:
		l.judgeBusy(name, f, now)
	case !k.state.leases && !l.once && now.UnixNano()-max(k.state.stamp.mtime, k.state.stamp.ctime) < int64(leaselessDelay) && !f.triedFor(k.hash, now, leaselessDelay):
		f.try(k.hash, now, leaselessDelay)
		l.holdUnknown(name, f)
	case k.decoded == nil:
		f.stamp, f.trial = k.state.stamp, time.Time{}
	case f.loaded && !l.once && harms(f, k.decoded) && !f.triedFor(k.hash, now, damageDelay):
		f.try(k.hash, now, damageDelay)
	default:
		f.stamp, f.hash, f.loaded, f.trial = k.state.stamp, k.hash, true, time.Time{}
		l.takeOver(f, *k.decoded)
	}
}

// takeOver takes over what a file says now.
func (l *loop) takeOver(f *file, d manifests.Decoded) {
	if _, ok := l.edits[d.File]; !ok {
		l.edits[d.File] = f.decoded
	}
	f.decoded = d
	if !d.Incomplete {
		f.keys = make(map[manifests.Key]bool, len(d.Objects))
	}
	for _, o := range d.Objects {
		if f.keys == nil {
			f.keys = map[manifests.Key]bool{}
		}
		f.keys[o.Key] = true
	}
	l.changed = true
}

func (l *loop) judgeMissing(name string, f *file, now time.Time) {
	if f.goneSince.IsZero() {
		f.goneSince = now
	}
	if !l.once && now.Sub(f.goneSince) < damageDelay {
		f.due = f.goneSince.Add(damageDelay)
		return
	}
	delete(l.files, name)
	l.current, l.changed = nil, true
}

// judgeBusy waits for a writer. A file that was never read counts as unknown until then.
func (l *loop) judgeBusy(name string, f *file, now time.Time) {
	if f.busySince.IsZero() {
		f.busySince, f.wrote = now, now
	}
	pace := min(max(now.Sub(f.busySince), busyFirst), busyPace)
	f.due = now.Add(min(max(now.Sub(f.wrote), pace), l.src.poll))
	l.holdUnknown(name, f)
}

// holdUnknown makes a file that was never read incomplete: it may hold what an earlier life of berth started.
func (l *loop) holdUnknown(name string, f *file) {
	if f.loaded || f.decoded.Incomplete {
		return
	}
	l.takeOver(f, manifests.Decoded{File: name, Incomplete: true, Faults: []manifests.Fault{
		{File: name, Severity: manifests.Warning, Text: "is being written: it is read when its writer is done"},
	}})
}

// unreadable is the decoded form of a file that exists and cannot be read. Its objects stay what they are.
func unreadable(name string, f *file, err error) manifests.Decoded {
	f.loaded = false // read it anew when it can be read again
	fault := manifests.Fault{File: name, Severity: manifests.Error, Text: err.Error()}
	incomplete := true
	if errors.Is(err, errNotRegular) {
		fault.Severity = manifests.Warning
		incomplete = len(f.keys) > 0
	}
	return manifests.Decoded{File: name, Incomplete: incomplete, Faults: []manifests.Fault{fault}}
}

// harms reports whether a new content takes something away: objects, or correctness. That is what a half-written file looks like.
func harms(f *file, d *manifests.Decoded) bool {
	if d.Incomplete && !f.decoded.Incomplete {
		return true
	}
	now := make(map[manifests.Key]bool, len(d.Objects))
	for _, o := range d.Objects {
		now[o.Key] = true
	}
	for _, o := range f.decoded.Objects {
		if !now[o.Key] {
			return true
		}
	}
	return false
}

// try puts a content on trial: it must be the same after a delay.
func (f *file) try(hash [sha256.Size]byte, now time.Time, delay time.Duration) {
	if f.candidate != hash || f.trial.IsZero() {
		f.candidate, f.trial = hash, now
	}
	f.due = f.trial.Add(delay)
}

func (f *file) triedFor(hash [sha256.Size]byte, now time.Time, delay time.Duration) bool {
	return f.candidate == hash && !f.trial.IsZero() && now.Sub(f.trial) >= delay
}
