package native

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/runtime"
	"berth/runtime/internal/sys"
)

// sandboxRecord is what a new controller must know of a pod. It is written before the first effect, and again when the sandbox stands.
type sandboxRecord struct {
	// Config lacks the content of Files volumes: that is on disk beside the record.
	Config    runtime.SandboxConfig
	Attempt   uint32
	CreatedAt time.Time
	IP        string
	// Address6 is zero in pods that were made while pods had no IPv6: they never get it.
	Address6 netip.Addr `json:",omitzero"`
	// IDBase is what id 0 of the pod is on the machine; 0 without a user namespace.
	IDBase uint32
	// Ready is written when the namespaces exist and hold the address.
	Ready bool
	// Stopped is written before a sandbox is given back, of which all containers have ended for good.
	Stopped bool `json:",omitempty"`
	// Emptied is written with it when what the pod has on disk goes, too.
	Emptied bool `json:",omitempty"`
	// InitPID and InitTicks name the process that keeps a shared pid namespace.
	InitPID   int    `json:",omitempty"`
	InitTicks uint64 `json:",omitempty"`
}

// addresses are all that the pod has.
func (s sandboxRecord) addresses() []string {
	var all []string
	if s.IP != "" {
		all = append(all, s.IP)
	}
	if s.Address6.IsValid() {
		all = append(all, s.Address6.String())
	}
	return all
}

// containerRecord is what a new controller must know of one attempt of a container.
type containerRecord struct {
	Config     runtime.ContainerConfig
	ImageID    string
	LogPath    string
	State      runtime.State
	PID        int       `json:",omitempty"`
	StartTicks uint64    `json:",omitempty"`
	StartedAt  time.Time `json:",omitzero"`
	FinishedAt time.Time `json:",omitzero"`
	ExitCode   int       `json:",omitempty"`
	Signal     int       `json:",omitempty"`
	Reason     string    `json:",omitempty"`
	Message    string    `json:",omitempty"`
	// Process and Caps are what a further process in the container gets too.
	Process *specs.Process
	Caps    uint64
}

// writeRecord replaces a record at once. It is not synced: a record does not outlive the boot.
func writeRecord(path string, record any) error {
	data, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("cannot write record %s: %w", path, err)
	}
	if err := sys.Replace(path, path+tempSuffix, 0o600, data); err != nil {
		return fmt.Errorf("cannot write record: %w", err)
	}
	return nil
}

const tempSuffix = ".new"

func readRecord(path string, record any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot read record: %w", err)
	}
	if err := json.Unmarshal(data, record); err != nil {
		return fmt.Errorf("cannot read record %s: %w", path, err)
	}
	return nil
}

// readPod loads the records of one pod. A pod without a readable sandbox record is reported as such and has no containers; a container's
// record that cannot be read is named in damaged, and the rest counts.
func readPod(l layout, uid string) (p *pod, damaged []string, err error) {
	p = newPod(uid)
	if err := readRecord(l.sandbox(uid), &p.sandboxRecord); err != nil {
		return nil, nil, err
	}
	if p.Config.UID != uid {
		return nil, nil, fmt.Errorf("cannot use record of pod %s: it names pod %q", uid, p.Config.UID)
	}
	entries, err := os.ReadDir(l.runPod(uid))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read pod %s: %w", uid, err)
	}
	for _, e := range entries {
		at, ok := strings.CutSuffix(e.Name(), recordSuffix)
		name, attempt, isRecord := parseAttemptName(at)
		if !ok || !isRecord {
			continue
		}
		c := newContainer()
		if err := readRecord(l.record(uid, at), &c.containerRecord); err != nil || c.Config.Name != name || c.Config.Attempt != attempt {
			damaged = append(damaged, at)
			continue
		}
		p.add(c)
	}
	return p, damaged, nil
}

// recordedPods are the UIDs that have a directory.
func recordedPods(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var uids []string
	for _, e := range entries {
		if checkUID(e.Name()) == nil {
			uids = append(uids, e.Name())
		}
	}
	return uids, nil
}

// makeDirs makes directories that only root may enter.
func makeDirs(dirs ...string) error {
	for _, d := range dirs {
		err := os.Mkdir(d, 0o700) // the parent is there, as a rule
		if err != nil {
			err = os.MkdirAll(d, 0o700)
		}
		if err != nil {
			return fmt.Errorf("cannot make directory: %w", err)
		}
	}
	return nil
}

// removeTree removes a directory of berth's own with everything in it. What is not there is not an error.
func removeTree(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("cannot remove %s: %w", filepath.Base(path), err)
	}
	return nil
}
