// Package security turns a wish for trust into what the kernel takes: a capability set, a system call filter, numeric ids, and the paths
// and devices a container may see.
package security

import "berth/runtime"

// User is who a container's process is.
type User struct {
	UID, GID uint32
	// Groups are the supplementary groups, without duplicates.
	Groups []uint32
	// Home is the value for HOME.
	Home string
}

// Device is a device node every container has.
type Device struct {
	// Path is absolute, inside the container.
	Path         string
	Major, Minor uint32
	// Mode holds the permission bits.
	Mode uint32
}

// Capabilities returns the set of a container as a bit mask. Names are known in any case, with and without CAP_; ALL is every one this kernel has.
func Capabilities(s runtime.Security) (uint64, error) { return 0, runtime.ErrNotSupported }

// Filter returns a system call filter as an array of struct sock_filter, ready for seccomp(2); nil means none (Unconfined, which is also what a
// privileged container has: the caller asks for it). caps is the container's capability set; profileDir holds Localhost profiles.
func Filter(s runtime.Seccomp, caps uint64, profileDir string) ([]byte, error) {
	return nil, runtime.ErrNotSupported
}

// CheckBeforeDrop returns an error that names the first call the filter denies of those a container's set-up makes after a filter that is
// installed before privileges are dropped, which is the order without no_new_privs.
func CheckBeforeDrop(filter []byte) error { return runtime.ErrNotSupported }

// LookupUser decides who a container runs as. layers are the image's, lowest first (runtime.Image.Layers); imageUser is the image's USER.
// A pod's fsGroup is one of sec.SupplementalGroups here: the caller adds it.
func LookupUser(layers []string, imageUser string, sec runtime.Security) (User, error) {
	return User{}, runtime.ErrNotSupported
}

// MaskedPaths are hidden from containers unless they are privileged or their /proc is unmasked.
func MaskedPaths() []string { return nil }

// ReadonlyPaths cannot be written by containers unless they are privileged or their /proc is unmasked.
func ReadonlyPaths() []string { return nil }

// DefaultDevices are the device nodes every container has.
func DefaultDevices() []Device { return nil }
