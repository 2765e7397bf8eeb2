package client

import (
	"os"
	"syscall"
	"time"

	"berth/runtime/keeper/program"
	"berth/runtime/keeper/wire"
)

// Info is what a keeper says about itself.
type Info struct {
	Version   int
	PID       int
	Build     string
	StartedAt time.Time
}

// SandboxRequest asks for the namespaces that the containers of a pod share.
type SandboxRequest struct {
	ID string
	// Flags are CLONE_NEW{USER,NET,IPC,UTS,PID}: what the sandbox gets of its own. What is left out stays the keeper's.
	Flags uintptr
	// UIDMap and GIDMap are the texts of /proc/PID/uid_map and gid_map; used with CLONE_NEWUSER.
	UIDMap, GIDMap string
	// Program runs in the sandbox's new namespaces as (their) root, in the host's mount namespace, after the id maps are written. It ends
	// by running off its end or by NRExit 0. nil for none. Slots 0.. are Files.
	Program *program.Builder
	Files   []int
	// KeepAlive leaves a tiny process as pid 1 of the new pid namespace; required with CLONE_NEWPID and only useful there.
	KeepAlive bool
	// CgroupDir is where the process of KeepAlive is born; "" for the keeper's own group. cgroup v2 only.
	CgroupDir string
	// Timeout ends a set-up that hangs; 0 means 30 s.
	Timeout time.Duration
}

// Sandbox is what a keeper has made of a SandboxRequest.
type Sandbox struct {
	ID string
	// NetNS is the sandbox's network namespace, nil when it has none of its own. The caller closes it.
	NetNS *os.File
	// PID is the process that keeps the pid namespace, in the host's numbers, and its start time; 0 without KeepAlive.
	PID        int
	StartTicks uint64
}

// Log says where the output of a container goes.
type Log struct {
	// Stdout and Stderr are paths of FIFOs below the run directory, made (or made anew) by the keeper with mode 0622. With a terminal both
	// stay empty. Two empty paths without a terminal: the program cares for its output itself.
	Stdout, Stderr string
	// Owner is the (host) uid of the FIFOs, and of the pipe of Input.
	Owner uint32
	// Path is the log file in CRI format, in a directory that only root can write. Files is the number of files kept in all.
	Path  string
	Size  int64 // 0 means 10 MiB
	Files int   // 0 means 5
}

func (l Log) wire() wire.Log {
	return wire.Log{Stdout: l.Stdout, Stderr: l.Stderr, Owner: l.Owner, Path: l.Path, Size: l.Size, Files: l.Files}
}

// StartRequest asks for a container.
type StartRequest struct {
	// ID is "UID/CONTAINER/ATTEMPT". An ended container keeps its id until Forget.
	ID string
	// Sandbox is the id of the sandbox whose descriptors fill SlotUserNS…SlotPIDNS; "" for none. When the sandbox has a pid namespace
	// the child is born in it, and Flags must not have CLONE_NEWPID.
	Sandbox string
	// Flags are for clone3: CLONE_NEWNS|CLONE_NEWPID and so on.
	Flags uintptr
	// CgroupDir is a cgroup v2 directory the child is born in; "" for none.
	CgroupDir string
	Program   *program.Builder
	Files     []int
	Log       Log
	// ExitPath is the file that the exit record is written to; see ReadExit. "" for none.
	ExitPath string
	// TTY: the program opens a pty and hands its master over by SlotPTY, SlotReady and SlotGate, and the master is the log's source.
	TTY bool
	// Timeout is the time until the program must have been executed; 0 means 30 s.
	Timeout time.Duration
	// Namespaces are CLONE_NEW{NET,IPC,UTS} of a sandbox that there is not yet: the container makes it, and its program begins with what a
	// SandboxRequest's would do. When the start fails there is no sandbox either. The keeper must speak version 2 (Info).
	Namespaces uintptr
	// Attach, with CLONE_NEWNET among Namespaces, is called while the program runs, with the new network namespace. The program does not
	// get past its reading of SlotGate before Attach has returned nil, and ends there otherwise. Not together with TTY.
	Attach func(netns *os.File) error
	// Target is a running container whose pid namespace the new one shares; Flags must not ask for another. "" for none. It is not found when that
	// container has ended. The keeper must speak version 4.
	Target string
	// Input makes the pipe of a standard input that ends with CloseInput, and its end to read from is SlotStdin. Whoever the program becomes may
	// open it again through /proc/self/fd, also when it has ended: a FIFO would wait there for a writer. The keeper must speak version 5.
	Input bool
}

// VersionNamespaces is the version of the protocol from which StartRequest has Namespaces.
const VersionNamespaces = 2

// VersionAttach is the version of the protocol from which there are Attach and CloseInput.
const VersionAttach = 3

// VersionTarget is the version of the protocol from which there is StartRequest.Target.
const VersionTarget = 4

// VersionInput is the version of the protocol from which there are StartRequest.Input and Input.
const VersionInput = 5

// Started is a container whose program has been executed.
type Started struct {
	PID int
	// StartTicks is field 22 of /proc/PID/stat: with PID it names the process for good.
	StartTicks uint64
	At         time.Time
}

// ExecRequest asks for a further process in a running container.
type ExecRequest struct {
	// Container is the id of a running container. The child is born in its pid namespace and finds its pidfd at SlotTarget.
	Container string
	// Flags are for clone3; normally 0: the program joins the other namespaces by setns(SlotTarget, …).
	Flags     uintptr
	CgroupDir string
	Program   *program.Builder
	// Files are slots 0..: the streams, for instance.
	Files []int
	// TTY: the keeper opens a pty of the container's devpts, puts its own end at SlotTTY owned by TTYOwner (a host uid), and returns the master.
	TTY      bool
	TTYOwner uint32
	Timeout  time.Duration
}

// ExitStatus is how a process ended.
type ExitStatus struct {
	// Known is false when nobody could see the status: the process was adopted and the kernel is older than 6.15.
	Known  bool
	Status syscall.WaitStatus
	At     time.Time
}

// Exit is the end of a container.
type Exit struct {
	ID  string
	PID int
	ExitStatus
}

// Container is a keeper's record of a container.
type Container struct {
	ID, Sandbox string
	PID         int
	StartTicks  uint64
	StartedAt   time.Time
	// Ended tells whether the process is gone; Exit is valid then.
	Ended bool
	Exit  ExitStatus
	// Dropped counts bytes of output that could not be written.
	Dropped uint64
}

// SandboxState is a keeper's record of a sandbox.
type SandboxState struct {
	ID         string
	Flags      uintptr
	PID        int // of KeepAlive
	StartTicks uint64
}

// State is all that a keeper holds.
type State struct {
	Containers []Container
	Sandboxes  []SandboxState
}

// AdoptRequest hands a process that another keeper left to this one.
type AdoptRequest struct {
	ID         string
	PID        int
	StartTicks uint64
	StartedAt  time.Time
	// Sandbox, when the keeper does not hold it yet, is made from the namespaces of PID that SandboxFlags (CLONE_NEW…) name.
	Sandbox      string
	SandboxFlags uintptr
	// SandboxPID and SandboxTicks name the process of KeepAlive; 0 for none.
	SandboxPID   int
	SandboxTicks uint64
	Log          Log
	ExitPath     string
}

// SpawnOptions are the options of Spawn. The zero value is useful.
type SpawnOptions struct {
	// CgroupFiles are `cgroup.procs` files the keeper writes itself to before it serves.
	CgroupFiles []string
}
