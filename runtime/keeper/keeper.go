// Package keeper is the process that lives: parent of every container, holder of the descriptors that must outlive the controller, mover
// of log bytes. It spawns, reaps and records; it thinks about nothing and parses neither packets nor manifests.
//
// Importing the package is what makes a binary a keeper: its init takes over for `BINARY keeper --run-dir DIR`. So that this happens before
// the rest of a large binary is initialised, the package and all it imports use only the cheapest packages of the standard library.
//
// One goroutine, the loop, waits for all descriptors; one waits for children; each request has a goroutine of its own. Containers and
// sandboxes live in maps under one lock. What an upgrade must carry over is in state.go.
package keeper

import (
	"errors"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"berth/runtime/footprint/pages"
	"berth/runtime/keeper/earliest"
	"berth/runtime/keeper/wire"
)

// spawnersCount is the number of children that may be set up at once: a third one only waits for the same locks of the kernel.
const spawnersCount = 2

// keeper is the whole state.
type keeper struct {
	args     arguments
	runDir   string
	dir      int // descriptor of runDir
	lock     int // of the lock file
	listener int
	pidns    int // our own pid namespace
	pause    int // the program of a sandbox's first process
	build    string
	started  time.Time
	loop     *loop
	spawner  chan *spawner
	opening  prologue      // of containers
	gated    prologue      // of sandboxes: goes on when their ids are mapped
	kick     chan struct{} // there may be a child to wait for

	// Used on the loop only.
	buf [64 << 10]byte
	out []byte
	oob [2048]byte

	// forking is held from making a child's pipes until its ends of them are closed: no other child may get a copy.
	forking sync.Mutex

	// starting is held while a proxy is started: one at a time.
	starting sync.Mutex

	// upgrading is held for reading by every request, for writing by an upgrade.
	upgrading sync.RWMutex

	mu         sync.Mutex
	containers map[string]*container
	sandboxes  map[string]*sandbox
	children   map[int]*process // not yet reaped
	proxies    proxies
	conns      map[*conn]struct{}
}

func itoa(n int) string { return strconv.Itoa(n) }

// serve is the last stage of the start, and the rest of the process's life.
func serve(a arguments) int {
	name := [16]byte{'b', 'e', 'r', 't', 'h', '-', 'k', 'e', 'e', 'p', 'e', 'r'}
	_, _, _ = syscall.Syscall(syscall.SYS_PRCTL, prSetName, uintptr(unsafe.Pointer(&name[0])), 0) // only for who looks at ps
	syscall.Umask(0o077)
	ignoreSignals()
	k := &keeper{
		args: a, runDir: a.runDir, build: buildID(), started: time.Now(), kick: make(chan struct{}, 1), lock: -1, listener: -1,
		containers: map[string]*container{}, sandboxes: map[string]*sandbox{}, children: map[int]*process{}, conns: map[*conn]struct{}{},
	}
	if a.ready >= 0 {
		syscall.CloseOnExec(a.ready)
	}
	if what, err := k.prepare(); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			tell(a.ready, "B")
			return 3
		}
		return startFailed(a, what, err)
	}
	go k.reap()
	k.resumeAll()
	k.resumeProxies()
	tell(a.ready, "R")
	k.args.ready = -1
	pages.LetGo() // of the start's
	k.loop.run()
	return 0
}

func (k *keeper) prepare() (what string, err error) {
	if k.dir, err = open(k.runDir, syscall.O_DIRECTORY|syscall.O_RDONLY, 0); err != nil {
		return "cannot open the run directory", err
	}
	if k.loop, err = newLoop(); err != nil {
		return "cannot wait for events", err
	}
	if err := k.restore(); err != nil {
		return "cannot read the state of the keeper before", err
	}
	if k.lock < 0 {
		if k.lock, err = open(k.runDir+"/"+wire.LockName, syscall.O_RDWR|syscall.O_CREAT|syscall.O_NOFOLLOW, 0o600); err != nil {
			return "cannot open the lock", err
		}
	}
	if err := syscall.Flock(k.lock, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return "another keeper serves this directory", err
	}
	for _, f := range k.args.cgroups {
		if err := joinCgroup(f); err != nil {
			return "cannot join " + f, err
		}
	}
	if err := prctl(prSetChildSubreaper, 1); err != nil {
		return "cannot become the reaper of orphans", err
	}
	if err := prctl(prSetDumpable, 0); err != nil {
		return "cannot hide its memory", err
	}
	lowerOOMScore()
	if k.pidns, err = open("/proc/self/ns/pid", syscall.O_RDONLY, 0); err != nil {
		return "cannot open its own pid namespace", err
	}
	if k.pause, err = pauseProgram(); err != nil {
		return "cannot keep the program of sandboxes", err
	}
	if k.opening, err = newPrologue(earliest.NoFile(), false); err != nil {
		return "cannot lay out a child's first steps", err
	}
	if k.gated, err = newPrologue(earliest.NoFile(), true); err != nil {
		return "cannot lay out a sandbox's first steps", err
	}
	k.spawner = make(chan *spawner, spawnersCount)
	for range spawnersCount {
		s, err := newSpawner()
		if err != nil {
			return "cannot map memory for children", err
		}
		k.spawner <- s
	}
	return "cannot listen", k.listen()
}

// lowerOOMScore makes the keeper the last victim of an out-of-memory kill, as far as it may.
func lowerOOMScore() {
	for _, v := range []string{"-999", "-500", "-100"} {
		if writeFile("/proc/self/oom_score_adj", v) == nil {
			return
		}
	}
}

// joinCgroup moves the keeper to the group of a cgroup.procs file.
func joinCgroup(path string) error { return writeFile(path, itoa(os.Getpid())) }

// ignoredSignals: the end of a terminal or of a session is not the keeper's; a client that has gone is an error of its socket.
var ignoredSignals = [...]syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGTSTP, syscall.SIGTTOU}

func ignoreSignals() {
	action := [4]uint64{1} // SIG_IGN
	for _, s := range ignoredSignals {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action[0])), 0, 8, 0, 0)
	}
}

// buildID tells builds apart: the size and time of the binary.
func buildID() string {
	var st syscall.Stat_t
	if syscall.Stat("/proc/self/exe", &st) != nil {
		return ""
	}
	return strconv.FormatInt(st.Size, 16) + "-" + strconv.FormatInt(st.Mtim.Nano(), 16)
}
