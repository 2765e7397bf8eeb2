package wire

// Hello opens a connection, both ways.
type Hello struct {
	Version   int
	PID       int
	Build     string
	StartedAt int64 // Unix nanoseconds
}

// Code sorts failures.
type Code = uint32

// The codes of Failure.
const (
	CodeInvalid  Code = iota + 1 // the request makes no sense; Text says why
	CodeNotFound                 // no such id
	CodeExists
	CodeBusy
	CodeErrno // Text says what was tried
	CodeStep  // a child failed at Step
)

// Failure is the reply to what could not be done.
type Failure struct {
	Code  Code
	Errno uint32
	Text  string
	// Step is 1 + the index in the program; 0 for a step of the keeper, which Text names.
	Step     uint32
	Signal   uint32
	TimedOut bool
}

// Program is the program of a request. When it is Large, it is the memfd behind the Files descriptors.
type Program struct {
	Inline []byte
	Large  bool
	Files  int
}

// Sandbox asks for a sandbox.
type Sandbox struct {
	ID             string
	Flags          uint64
	UIDMap, GIDMap string
	Program        Program
	KeepAlive      bool
	CgroupDir      string
	Timeout        int64 // nanoseconds
}

// SandboxMade is the reply to Sandbox; the network namespace comes along when there is one.
type SandboxMade struct {
	PID   int
	Ticks uint64
}

// ID is a request about one thing.
type ID struct {
	ID string
}

// Attach asks for a copy of what a container writes, into the pipes that come along.
type Attach struct {
	ID string
	// Patience is how long the container waits for a client that reads nothing, in nanoseconds; then the client is let go. 0 is for ever.
	Patience int64
}

// Log is where a container's output goes.
type Log struct {
	Stdout, Stderr string
	Owner          uint32
	Path           string
	Size           int64
	Files          int
	// Stdin was a FIFO in versions 3 and 4; Start.Input is in its place.
	Stdin string
}

// Start asks for a container.
type Start struct {
	ID, Sandbox string
	Flags       uint64
	CgroupDir   string
	Program     Program
	Log         Log
	ExitPath    string
	TTY         bool
	Timeout     int64
	// Namespaces (CLONE_NEW…, from version 2) makes the sandbox of this id from the container's own first process.
	Namespaces uint64
	// Attach (from version 2) sends Born when the network namespace stands, and leaves it to the client to open the gate.
	Attach bool
	// Target (from version 4) is a running container in whose pid namespace this one is born; "" for none.
	Target string
	// Input (from version 5) makes the pipe of a standard input, and the keeper holds it open until CloseInput.
	Input bool
}

// Started is the reply to Start and Exec.
type Started struct {
	PID   int
	Ticks uint64
	At    int64
}

// Exec asks for a process in a container. Its id is that of the request.
type Exec struct {
	Container string
	Flags     uint64
	CgroupDir string
	Program   Program
	TTY       bool
	TTYOwner  uint32
	Timeout   int64
}

// Signal asks for a signal to a container, or to a process of Exec on the same connection.
type Signal struct {
	ID     string
	Exec   uint64
	Signal uint32
}

// Exit is how a process ended: the event, and part of a record. Exec is the request that started it.
type Exit struct {
	ID     string
	Exec   uint64
	PID    int
	Known  bool
	Status uint32
	At     int64
}

// Container is one element of List.
type Container struct {
	ID, Sandbox string
	PID         int
	Ticks       uint64
	StartedAt   int64
	Ended       bool
	Exit        Exit
	Dropped     uint64
}

// SandboxState is one element of List.
type SandboxState struct {
	ID    string
	Flags uint64
	PID   int
	Ticks uint64
}

// List is one packet of the reply to ListKind; More tells that another follows.
type List struct {
	More       bool
	Containers []Container
	Sandboxes  []SandboxState
}

// Adopt hands over a running process.
type Adopt struct {
	ID           string
	PID          int
	Ticks        uint64
	StartedAt    int64
	Sandbox      string
	SandboxFlags uint64
	SandboxPID   int
	SandboxTicks uint64
	Log          Log
	ExitPath     string
}

// Mount asks for a tmpfs at Path, or (Unmount) for its end.
type Mount struct {
	Path, Options string
}

// Join lists `cgroup.procs` files.
type Join struct {
	Files []string
}

// Shutdown ends the keeper.
type Shutdown struct {
	Force bool
}

// Upgrade asks the keeper to execute the binary whose descriptor comes along. Probe is what the binary says about itself.
type Upgrade struct {
	Probe string
}

// ProxyState is the reply to ProxyKind: the proxy that is there now.
type ProxyState struct {
	PID   int
	Build string // "" as long as it has not told
	// Sockets are held for the next one.
	Sockets int
}

// Serve is how a proxy presents itself.
type Serve struct {
	Build string
	// Leaving is true for one that only finishes what it has begun.
	Leaving bool
}

// Held is one packet of the reply to ServeKind: the names of the descriptors that come along. More tells that another follows.
type Held struct {
	More  bool
	Names []string
}
