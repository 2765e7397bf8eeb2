package security

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

// maxProfile is the greatest size of a Localhost profile in bytes; real ones have 10 to 30 KiB.
const maxProfile = 1 << 20

// filters holds what has been compiled: for an instance two or three filters, each some 2 KiB, used at every start.
var filters sync.Map // string → []byte

// Filter returns a system call filter as an array of struct sock_filter, ready for seccomp(2); nil means none (Unconfined, which is also what a
// privileged container has: the caller asks for it). caps is the container's capability set; profileDir holds Localhost profiles.
//
// Calls of foreign kinds (32-bit, x32) fail with ENOSYS, whatever the profile says: it could not speak about them. The result is shared and
// must not be changed.
func Filter(s runtime.Seccomp, caps uint64, profileDir string) ([]byte, error) {
	switch s.Type {
	case "", "RuntimeDefault":
		return cached(fmt.Sprintf("default %x", caps), func() ([]byte, error) { return defaultFilter(caps) })
	case "Unconfined":
		return nil, nil
	case "Localhost":
		text, err := readProfile(profileDir, s.LocalhostProfile)
		if err != nil {
			return nil, fmt.Errorf("cannot read seccomp profile %q: %w", s.LocalhostProfile, err)
		}
		filter, err := cached(fmt.Sprintf("localhost %x %x", caps, sha256.Sum256(text)), func() ([]byte, error) { return localhostFilter(text, caps) })
		if err != nil {
			return nil, fmt.Errorf("cannot use seccomp profile %q: %w", s.LocalhostProfile, err)
		}
		return filter, nil
	}
	return nil, fmt.Errorf("cannot use seccomp profile type %q: it is none of RuntimeDefault, Unconfined, Localhost", s.Type)
}

func cached(key string, compile func() ([]byte, error)) ([]byte, error) {
	if f, ok := filters.Load(key); ok {
		return f.([]byte), nil
	}
	filter, err := compile()
	if err != nil {
		return nil, err
	}
	filters.Store(key, filter)
	return filter, nil
}

// defaultFilter is the profile that Docker and containerd use, with the socket families it means to deny denied by their low 32 bits as well:
// the kernel looks at no others, so 1<<32|AF_ALG would pass a 64-bit comparison.
func defaultFilter(caps uint64) ([]byte, error) {
	profile, err := seccomp.GetDefaultProfile(specFor(caps))
	if err != nil {
		return nil, fmt.Errorf("cannot resolve the default seccomp profile: %w", err)
	}
	eperm := uint(unix.EPERM)
	var deny []specs.LinuxSyscall
	for _, family := range []uint64{unix.AF_ALG, unix.AF_VSOCK} {
		deny = append(deny, specs.LinuxSyscall{
			Names: []string{"socket"}, Action: specs.ActErrno, ErrnoRet: &eperm,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: 0xffff_ffff, ValueTwo: family, Op: specs.OpMaskedEqual}},
		})
	}
	profile.Syscalls = append(deny, profile.Syscalls...)
	return compile(profile)
}

func localhostFilter(text []byte, caps uint64) ([]byte, error) {
	profile, err := parseProfile(text, caps)
	if err != nil {
		return nil, err
	}
	filter, err := compile(profile)
	if err != nil {
		return nil, err
	}
	if call, err := firstDenied(filter, []setupCall{{name: "execve", nr: unix.SYS_EXECVE}}); err != nil || call != "" {
		return nil, errors.Join(err, fmt.Errorf("it does not allow %s, which starts the container's program", call))
	}
	return filter, nil
}

// parseProfile reads a profile in Docker's or the OCI form. What it does not know is an error: a field that is skipped could have been a lock.
func parseProfile(text []byte, caps uint64) (*specs.LinuxSeccomp, error) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	var strict seccomp.Seccomp
	if err := d.Decode(&strict); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more in the file than one profile")
	}
	profile, err := seccomp.LoadProfile(string(text), specFor(caps))
	if err != nil {
		return nil, err
	}
	if profile == nil || profile.DefaultAction == "" {
		return nil, errors.New("it has no defaultAction")
	}
	if profile.ListenerPath != "" || profile.ListenerMetadata != "" {
		return nil, fmt.Errorf("listenerPath: %w", runtime.ErrNotSupported)
	}
	for _, flag := range profile.Flags {
		// These two are satisfied anyway: one thread, and no speculation allowed.
		if flag != "SECCOMP_FILTER_FLAG_TSYNC" && flag != specs.LinuxSeccompFlagSpecAllow {
			return nil, fmt.Errorf("flag %s: %w", flag, runtime.ErrNotSupported)
		}
	}
	return profile, nil
}

// readProfile reads a file below dir; a path that leads out of it, also by symbolic links, and anything but a regular file are refused.
func readProfile(dir, path string) ([]byte, error) {
	if path == "" {
		return nil, errors.New("localhostProfile is empty")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return readRegular(func() (*os.File, error) { return root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) }, maxProfile)
}

// readRegular reads a regular file of at most limit bytes.
func readRegular(open func() (*os.File, error), limit int64) ([]byte, error) {
	f, err := open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("it is larger than %d bytes", limit)
	}
	return text, err
}

func specFor(caps uint64) *specs.Spec {
	return &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilityNames(caps)}}}
}

// encode lays instructions out as the kernel takes them.
func encode(raw []bpf.RawInstruction) []byte {
	out := make([]byte, 0, 8*len(raw))
	for _, r := range raw {
		out = binary.NativeEndian.AppendUint16(out, r.Op)
		out = append(out, r.Jt, r.Jf)
		out = binary.NativeEndian.AppendUint32(out, r.K)
	}
	return out
}
