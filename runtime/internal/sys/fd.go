// Package sys is the one door from the runtime to raw kernel calls: typed, close-on-exec, and with descriptors that close once.
package sys

import (
	"os"
	"runtime"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// FD is an open descriptor. It closes once, however often Close is called, and also when it is forgotten.
type FD struct {
	n atomic.Int64
}

// NewFD owns n from now on.
func NewFD(n int) *FD {
	f := &FD{}
	f.n.Store(int64(n))
	runtime.SetFinalizer(f, func(f *FD) { _ = f.Close() })
	return f
}

// Int is the number, or -1 once it is closed. The caller keeps f alive while it uses the number.
func (f *FD) Int() int { return int(f.n.Load()) }

// Close gives the descriptor back. Closing again does nothing.
func (f *FD) Close() error {
	n := int(f.n.Swap(-1))
	if n < 0 {
		return nil
	}
	runtime.SetFinalizer(f, nil)
	return unix.Close(n)
}

// File hands the descriptor over to an *os.File; f is closed afterwards.
func (f *FD) File(name string) *os.File {
	n := int(f.n.Swap(-1))
	runtime.SetFinalizer(f, nil)
	return os.NewFile(uintptr(n), name)
}

// Path is where the kernel says the descriptor leads, seen from this process.
func (f *FD) Path() (string, error) {
	return os.Readlink("/proc/self/fd/" + strconv.Itoa(f.Int()))
}

// Stat describes what the descriptor is open on, also when it was opened with O_PATH.
func (f *FD) Stat() (unix.Stat_t, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(f.Int(), "", &st, unix.AT_EMPTY_PATH) })
	return st, err
}

// IsDir tells whether the descriptor is open on a directory.
func (f *FD) IsDir() (bool, error) {
	st, err := f.Stat()
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, err
}

// retry repeats a call that a signal has interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR { //nolint:errorlint // a raw errno, never wrapped
			return err
		}
	}
}

// StatIn describes what a name in a directory stands for; a symbolic link for itself.
func StatIn(dir *FD, name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(dir.Int(), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}
