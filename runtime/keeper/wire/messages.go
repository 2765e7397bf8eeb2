package wire

// Hello opens a connection, both ways.
type Hello struct {
	Version   int
	PID       int
	Build     string
	StartedAt int64 // Unix nanoseconds
}

// Fields implements Message.
func (m *Hello) Fields(c *Coder) {
	c.Int(&m.Version)
	c.Int(&m.PID)
	c.String(&m.Build)
	c.I64(&m.StartedAt)
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

// Fields implements Message.
func (m *Failure) Fields(c *Coder) {
	c.U32(&m.Code)
	c.U32(&m.Errno)
	c.String(&m.Text)
	c.U32(&m.Step)
	c.U32(&m.Signal)
	c.Bool(&m.TimedOut)
}

// Program is the program of a request. When it is Large, it is the memfd behind the Files descriptors.
type Program struct {
	Inline []byte
	Large  bool
	Files  int
}

func (m *Program) fields(c *Coder) {
	c.Bytes(&m.Inline)
	c.Bool(&m.Large)
	c.Int(&m.Files)
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

// Fields implements Message.
func (m *Sandbox) Fields(c *Coder) {
	c.String(&m.ID)
	c.U64(&m.Flags)
	c.String(&m.UIDMap)
	c.String(&m.GIDMap)
	c.Nested(m.Program.fields)
	c.Bool(&m.KeepAlive)
	c.String(&m.CgroupDir)
	c.I64(&m.Timeout)
}

// SandboxMade is the reply to Sandbox; the network namespace comes along when there is one.
type SandboxMade struct {
	PID   int
	Ticks uint64
}

// Fields implements Message.
func (m *SandboxMade) Fields(c *Coder) {
	c.Int(&m.PID)
	c.U64(&m.Ticks)
}

// ID is a request about one thing.
type ID struct {
	ID string
}

// Fields implements Message.
func (m *ID) Fields(c *Coder) { c.String(&m.ID) }

// Attach asks for a copy of what a container writes, into the pipes that come along.
type Attach struct {
	ID string
	// Patience is how long the container waits for a client that reads nothing, in nanoseconds; then the client is let go. 0 is for ever.
	Patience int64
}

// Fields implements Message.
func (m *Attach) Fields(c *Coder) {
	c.String(&m.ID)
	c.I64(&m.Patience)
}

// Log is where a container's output goes.
type Log struct {
	Stdout, Stderr string
	Owner          uint32
	Path           string
	Size           int64
	Files          int
	// Stdin (from version 3) is a FIFO that the keeper makes and holds open until CloseInput.
	Stdin string
}

// Fields implements Message.
func (m *Log) Fields(c *Coder) {
	c.String(&m.Stdout)
	c.String(&m.Stderr)
	c.U32(&m.Owner)
	c.String(&m.Path)
	c.I64(&m.Size)
	c.Int(&m.Files)
	c.String(&m.Stdin)
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
}

// Fields implements Message.
func (m *Start) Fields(c *Coder) {
	c.String(&m.ID)
	c.String(&m.Sandbox)
	c.U64(&m.Flags)
	c.String(&m.CgroupDir)
	c.Nested(m.Program.fields)
	c.Nested(m.Log.Fields)
	c.String(&m.ExitPath)
	c.Bool(&m.TTY)
	c.I64(&m.Timeout)
	c.U64(&m.Namespaces)
	c.Bool(&m.Attach)
	c.String(&m.Target)
}

// Started is the reply to Start and Exec.
type Started struct {
	PID   int
	Ticks uint64
	At    int64
}

// Fields implements Message.
func (m *Started) Fields(c *Coder) {
	c.Int(&m.PID)
	c.U64(&m.Ticks)
	c.I64(&m.At)
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

// Fields implements Message.
func (m *Exec) Fields(c *Coder) {
	c.String(&m.Container)
	c.U64(&m.Flags)
	c.String(&m.CgroupDir)
	c.Nested(m.Program.fields)
	c.Bool(&m.TTY)
	c.U32(&m.TTYOwner)
	c.I64(&m.Timeout)
}

// Signal asks for a signal to a container, or to a process of Exec on the same connection.
type Signal struct {
	ID     string
	Exec   uint64
	Signal uint32
}

// Fields implements Message.
func (m *Signal) Fields(c *Coder) {
	c.String(&m.ID)
	c.U64(&m.Exec)
	c.U32(&m.Signal)
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

// Fields implements Message.
func (m *Exit) Fields(c *Coder) {
	c.String(&m.ID)
	c.U64(&m.Exec)
	c.Int(&m.PID)
	c.Bool(&m.Known)
	c.U32(&m.Status)
	c.I64(&m.At)
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

// Fields implements Message.
func (m *List) Fields(c *Coder) {
	c.Bool(&m.More)
	Each(c, &m.Containers, (*Container).fields)
	Each(c, &m.Sandboxes, (*SandboxState).fields)
}

func (m *Container) fields(c *Coder) {
	c.String(&m.ID)
	c.String(&m.Sandbox)
	c.Int(&m.PID)
	c.U64(&m.Ticks)
	c.I64(&m.StartedAt)
	c.Bool(&m.Ended)
	c.Nested(m.Exit.Fields)
	c.U64(&m.Dropped)
}

func (m *SandboxState) fields(c *Coder) {
	c.String(&m.ID)
	c.U64(&m.Flags)
	c.Int(&m.PID)
	c.U64(&m.Ticks)
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

// Fields implements Message.
func (m *Adopt) Fields(c *Coder) {
	c.String(&m.ID)
	c.Int(&m.PID)
	c.U64(&m.Ticks)
	c.I64(&m.StartedAt)
	c.String(&m.Sandbox)
	c.U64(&m.SandboxFlags)
	c.Int(&m.SandboxPID)
	c.U64(&m.SandboxTicks)
	c.Nested(m.Log.Fields)
	c.String(&m.ExitPath)
}

// Mount asks for a tmpfs at Path, or (Unmount) for its end.
type Mount struct {
	Path, Options string
}

// Fields implements Message.
func (m *Mount) Fields(c *Coder) {
	c.String(&m.Path)
	c.String(&m.Options)
}

// Join lists `cgroup.procs` files.
type Join struct {
	Files []string
}

// Fields implements Message.
func (m *Join) Fields(c *Coder) { c.Strings(&m.Files) }

// Shutdown ends the keeper.
type Shutdown struct {
	Force bool
}

// Fields implements Message.
func (m *Shutdown) Fields(c *Coder) { c.Bool(&m.Force) }

// Upgrade asks the keeper to execute the binary whose descriptor comes along. Probe is what the binary says about itself.
type Upgrade struct {
	Probe string
}

// Fields implements Message.
func (m *Upgrade) Fields(c *Coder) { c.String(&m.Probe) }

// ProxyState is the reply to ProxyKind: the proxy that is there now.
type ProxyState struct {
	PID   int
	Build string // "" as long as it has not told
	// Sockets are held for the next one.
	Sockets int
}

// Fields implements Message.
func (m *ProxyState) Fields(c *Coder) {
	c.Int(&m.PID)
	c.String(&m.Build)
	c.Int(&m.Sockets)
}

// Serve is how a proxy presents itself.
type Serve struct {
	Build string
	// Leaving is true for one that only finishes what it has begun.
	Leaving bool
}

// Fields implements Message.
func (m *Serve) Fields(c *Coder) {
	c.String(&m.Build)
	c.Bool(&m.Leaving)
}

// Held is one packet of the reply to ServeKind: the names of the descriptors that come along. More tells that another follows.
type Held struct {
	More  bool
	Names []string
}

// Fields implements Message.
func (m *Held) Fields(c *Coder) {
	c.Bool(&m.More)
	c.Strings(&m.Names)
}
