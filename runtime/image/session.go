package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

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
//
// A full disk has no room for a directory. What is there can be used, and removed, all the same: the directory is then made when something
// is to be written.
type session struct {
	home string   // where sessions are
	fd   *os.File // of home

	mu   sync.Mutex
	dir  string   // "" until it is made
	held *os.File // of dir, locked
}

func (s *Store) openSession() (*session, error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	fd, err := os.Open(s.path("t"))
	if err != nil {
		return nil, err
	}
	made := &session{home: fd.Name(), fd: fd}
	if _, err := made.place(); err != nil && !isFull(err) {
		fd.Close()
		return nil, err
	}
	return made, nil
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// place is the session's directory, which is made if need be. A sweep that comes between its making and its locking takes it for dead: then there
// is another one.
func (s *session) place() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.dir == "" {
		dir, err := os.MkdirTemp(s.home, "")
		if err != nil {
			return "", err
		}
		held, err := os.Open(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		err = unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if _, gone := os.Lstat(dir); err == nil && gone == nil {
			s.dir, s.held = dir, held
			break
		}
		held.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return "", err
		}
	}
	return s.dir, nil
}

func (s *session) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.fd.Close()
	if s.dir != "" {
		err = errors.Join(os.RemoveAll(s.dir), s.held.Close(), err)
	}
	return err
}

// temp makes a directory in the session.
func (s *session) temp(prefix string) (string, error) {
	dir, err := s.place()
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(dir, prefix)
}

// file makes a file in the session.
func (s *session) file(prefix string) (*os.File, error) {
	dir, err := s.place()
	if err != nil {
		return nil, err
	}
	return os.CreateTemp(dir, prefix)
}

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
