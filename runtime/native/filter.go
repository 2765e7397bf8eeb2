package native

import (
	"sync"

	"berth/runtime"
	"berth/runtime/security"
)

// filterCache keeps the filters of the default profile, which follow from the capabilities alone: compiling one takes as long as the
// rest of preparing a start. Profiles of the machine's own may change and are read each time.
type filterCache struct {
	mu   sync.Mutex
	made map[filterKey][]byte
}

type filterKey struct {
	caps            uint64
	noNewPrivileges bool
}

// filter is a container's system call filter. Without no_new_privs it goes on before privileges are dropped and must allow that.
func (r *Runtime) filter(sec runtime.Security, caps uint64) ([]byte, error) {
	wish := sec.Seccomp
	if sec.Privileged {
		wish = runtime.Seccomp{Type: "Unconfined"}
	}
	if wish.Type != "" && wish.Type != "RuntimeDefault" {
		return r.makeFilter(wish, sec, caps)
	}
	key := filterKey{caps, sec.NoNewPrivileges}
	r.filters.mu.Lock()
	defer r.filters.mu.Unlock()
	if f, ok := r.filters.made[key]; ok {
		return f, nil
	}
	f, err := r.makeFilter(wish, sec, caps)
	if err != nil {
		return nil, err
	}
	if r.filters.made == nil {
		r.filters.made = map[filterKey][]byte{}
	}
	r.filters.made[key] = f
	return f, nil
}

func (r *Runtime) makeFilter(wish runtime.Seccomp, sec runtime.Security, caps uint64) ([]byte, error) {
	filter, err := security.Filter(wish, caps, r.dirs.seccomp())
	if err == nil && filter != nil && !sec.NoNewPrivileges {
		err = security.CheckBeforeDrop(filter)
	}
	if err != nil {
		return nil, &runtime.StartError{Reason: runtime.ReasonConfigError, Step: "make the system call filter", Err: err}
	}
	return filter, nil
}
