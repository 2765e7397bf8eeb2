package keeper

import (
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"berth/runtime/keeper/wire"
)

const (
	defaultLogSize  = 10 << 20
	defaultLogFiles = 5
)

// logFile is a log with its older files: PATH, PATH.1 (the one before) … PATH.N. A full disk never stops the container: what cannot be written
// is counted and dropped, and the log says so when there is room again. Used on the loop only.
type logFile struct {
	path    string
	fd      int
	size    int64
	max     int64
	files   int
	torn    bool // the last write was cut short in the middle of a line
	dropped atomic.Uint64
	noted   uint64 // how much of dropped the log has been told
}

func newLogFile(l *wire.Log) *logFile {
	f := &logFile{path: l.Path, fd: -1, max: l.Size, files: l.Files}
	if f.max <= 0 {
		f.max = defaultLogSize
	}
	if f.files <= 0 {
		f.files = defaultLogFiles
	}
	return f
}

// open opens the file for appending. Its directory must be one that only we can write, so that the name is nobody else's.
func (f *logFile) open() error {
	i := len(f.path) - 1
	for ; i > 0 && f.path[i] != '/'; i-- {
	}
	var st syscall.Stat_t
	if i <= 0 {
		return syscall.EINVAL
	}
	if err := syscall.Lstat(f.path[:i], &st); err != nil {
		return err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR || int(st.Uid) != syscall.Geteuid() || st.Mode&0o022 != 0 {
		return syscall.EPERM
	}
	fd, err := open(f.path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_APPEND|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return err
	}
	if err := syscall.Fstat(fd, &st); err == nil && st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		err = syscall.EPERM
		syscall.Close(fd)
		return err
	}
	f.fd, f.size = fd, st.Size
	return nil
}

func (f *logFile) close() { closeFD(&f.fd) }

// write appends whole lines.
func (f *logFile) write(p []byte) {
	if f.size > 0 && f.size+int64(len(p)) > f.max {
		f.rotate()
	}
	if f.fd < 0 && f.open() != nil {
		f.dropped.Add(uint64(len(p)))
		return
	}
	if f.torn && f.put([]byte{'\n'}) == 1 {
		f.torn = false
	}
	if f.dropped.Load() > f.noted && !f.torn {
		f.note()
	}
	n := 0
	if !f.torn {
		n = f.put(p)
	}
	if n < len(p) {
		f.dropped.Add(uint64(len(p) - n))
		f.torn = f.torn || n > 0 && p[n-1] != '\n'
	}
}

// note tells the reader of the log what is missing.
func (f *logFile) note() {
	lost := f.dropped.Load()
	line := time.Now().UTC().AppendFormat(nil, timeFormat)
	line = append(line, " stderr F berth: "...)
	line = strconv.AppendUint(line, lost-f.noted, 10)
	line = append(line, " bytes of output were lost: the log could not be written\n"...)
	if n := f.put(line); n == len(line) {
		f.noted = lost
	} else if n > 0 {
		f.torn = true
	}
}

// put writes and returns how much went.
func (f *logFile) put(p []byte) int {
	n := 0
	for n < len(p) {
		m, err := syscall.Write(f.fd, p[n:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || m <= 0 {
			break
		}
		n += m
	}
	f.size += int64(n)
	return n
}

// rotate starts a new file. The directory is root's alone, so names are safe. When a rename fails the old file goes on growing: an output that
// nobody can read is worse.
func (f *logFile) rotate() {
	for i := f.files - 1; i >= 1; i-- {
		from := f.path
		if i > 1 {
			from += "." + itoa(i-1)
		}
		if err := syscall.Rename(from, f.path+"."+itoa(i)); err != nil && err != syscall.ENOENT {
			return
		}
	}
	if f.files == 1 {
		_ = syscall.Unlink(f.path) // when it stays it goes on growing, as above
	}
	closeFD(&f.fd)
	f.size, f.torn = 0, false
}
