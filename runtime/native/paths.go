package native

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"berth/runtime/volume"
)

// layout names every file of the runtime:
//
//	RUN-DIR/boot-id                          another boot: all below pods is history
//	RUN-DIR/root                             empty; each container's root is mounted here, in its own mount namespace
//	RUN-DIR/pods/UID/sandbox.json            record of the pod
//	RUN-DIR/pods/UID/NAME.ATTEMPT.json       record of a container, .exit its end as the keeper saw it, .in, .out and .err its FIFOs
//	RUN-DIR/pods/UID/files/VOLUME            ConfigMaps, Secrets and the like
//	RUN-DIR/pods/UID/memory/VOLUME           emptyDirs in memory, and shm: mounted in the keeper's mount namespace only
//	STATE-DIR/skeleton                       the lowest layer of every container
//	STATE-DIR/pods/UID/volumes/VOLUME        emptyDirs on disk
//	STATE-DIR/volumes/ID/data                what outlives pods, as package volume keeps it
//	STATE-DIR/pods/UID/etc                   hosts, hostname, resolv.conf
//	STATE-DIR/containers/UID/NAME.ATTEMPT    upper, work, termination-log
//	STATE-DIR/logs/NAMESPACE_NAME_UID/CONTAINER/ATTEMPT.log
type layout struct {
	state, run string
}

func (l layout) bootID() string               { return filepath.Join(l.run, "boot-id") }
func (l layout) root() string                 { return filepath.Join(l.run, "root") }
func (l layout) runPods() string              { return filepath.Join(l.run, "pods") }
func (l layout) runPod(uid string) string     { return filepath.Join(l.run, "pods", uid) }
func (l layout) sandbox(uid string) string    { return filepath.Join(l.runPod(uid), sandboxFile) }
func (l layout) files(uid string) string      { return filepath.Join(l.runPod(uid), "files") }
func (l layout) memory(uid string) string     { return filepath.Join(l.runPod(uid), "memory") }
func (l layout) shm(uid string) string        { return filepath.Join(l.runPod(uid), "shm") }
func (l layout) statePods() string            { return filepath.Join(l.state, "pods") }
func (l layout) statePod(uid string) string   { return filepath.Join(l.state, "pods", uid) }
func (l layout) volumes(uid string) string    { return filepath.Join(l.statePod(uid), "volumes") }
func (l layout) disks() volume.Disks          { return volume.Disks(filepath.Join(l.state, "volumes")) }
func (l layout) etc(uid string) string        { return filepath.Join(l.statePod(uid), "etc") }
func (l layout) skeleton() string             { return filepath.Join(l.state, "skeleton") }
func (l layout) containers() string           { return filepath.Join(l.state, "containers") }
func (l layout) podLayers(uid string) string  { return filepath.Join(l.state, "containers", uid) }
func (l layout) logs() string                 { return filepath.Join(l.state, "logs") }
func (l layout) seccomp() string              { return filepath.Join(l.state, "seccomp") }
func (l layout) record(uid, at string) string { return filepath.Join(l.runPod(uid), at+recordSuffix) }
func (l layout) exit(uid, at string) string   { return filepath.Join(l.runPod(uid), at+exitSuffix) }
func (l layout) fifo(uid, at, stream string) string {
	return filepath.Join(l.runPod(uid), at+"."+stream)
}

func (l layout) container(uid, at string) string {
	return filepath.Join(l.podLayers(uid), at)
}

func (l layout) podLogs(namespace, name, uid string) string {
	return filepath.Join(l.logs(), namespace+"_"+name+"_"+uid)
}

const (
	sandboxFile  = "sandbox.json"
	recordSuffix = ".json"
	exitSuffix   = ".exit"
	memorySuffix = "memory"
)

// attemptName is the name of one attempt of a container in the file system: names of containers have no dots.
func attemptName(name string, attempt uint32) string {
	return name + "." + strconv.FormatUint(uint64(attempt), 10)
}

func parseAttemptName(s string) (name string, attempt uint32, ok bool) {
	name, number, ok := strings.Cut(s, ".")
	if !ok {
		return "", 0, false
	}
	n, err := strconv.ParseUint(number, 10, 32)
	return name, uint32(n), err == nil && attemptName(name, uint32(n)) == s
}

// Names become parts of paths and of cgroups: they are checked here, whoever has checked them before.
var (
	uidPattern    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,62}[a-z0-9])?$`)
	namePattern   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	objectPattern = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$`)
)

func checkUID(uid string) error {
	if !uidPattern.MatchString(uid) {
		return fmt.Errorf("cannot use %q as the UID of a pod", uid)
	}
	return nil
}

func checkName(what, name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("cannot use %q as the name of a %s", name, what)
	}
	return nil
}
