package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lock takes the store's lock. It is held for the moment of a change only, never over the network or the unpacking.
func (s *Store) lock() (unlock func(), err error) {
	f, err := os.OpenFile(s.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock image store: %w", err)
	}
	return func() { f.Close() }, nil
}

// session is the directory in which one process works. The kernel drops its lock when the process ends, however it ends.
type session struct {
	dir string
	fd  *os.File
}

func (s *Store) openSession() (*session, error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir, err := os.MkdirTemp(s.path("t"), "")
	if err != nil {
		return nil, err
	}
	fd, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(fd.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		fd.Close()
		return nil, err
	}
	return &session{dir: dir, fd: fd}, nil
}

func (s *session) close() error {
	err := os.RemoveAll(s.dir)
	if cerr := s.fd.Close(); err == nil {
		err = cerr
	}
	return err
}

// temp makes a directory in the session.
func (s *session) temp(prefix string) (string, error) { return os.MkdirTemp(s.dir, prefix) }

// sweep removes what dead processes left: their sessions, broken records, and layers that no image names.
func (s *Store) sweep() error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	trash, err := s.sweepLocked()
	unlock()
	for _, path := range trash {
		if rerr := os.RemoveAll(path); err == nil {
			err = rerr
		}
	}
	return err
}

// sweepLocked returns directories that are nobody's any more; their removal may take long and needs no lock.
func (s *Store) sweepLocked() ([]string, error) {
	trash, err := s.deadSessions()
	if err != nil {
		return trash, err
	}
	ix, err := s.readIndex()
	if err != nil {
		return trash, err
	}
	for _, path := range ix.broken {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return trash, err
		}
	}
	dropped, err := s.dropLayers(ix)
	return append(trash, dropped...), err
}

// deadSessions finds the sessions without a process. A session that is just being opened is protected by the store's lock.
func (s *Store) deadSessions() ([]string, error) {
	entries, err := os.ReadDir(s.path("t"))
	if err != nil {
		return nil, err
	}
	var dead []string
	for _, e := range entries {
		path := s.path("t", e.Name())
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			if grave, err := s.bury(path); err == nil {
				dead = append(dead, grave)
			}
		}
		f.Close()
	}
	return dead, nil
}

// dropLayers takes the layers that no image of the index names out of the store. The caller holds the lock and removes them afterwards.
func (s *Store) dropLayers(ix *index) ([]string, error) {
	_, named := ix.layers()
	entries, err := os.ReadDir(s.layersDir())
	if err != nil {
		return nil, err
	}
	var dropped []string
	for _, e := range entries {
		if _, ok := named[e.Name()]; ok {
			continue
		}
		grave, err := s.bury(filepath.Join(s.layersDir(), e.Name()))
		if err != nil {
			return dropped, err
		}
		dropped = append(dropped, grave)
	}
	return dropped, nil
}
