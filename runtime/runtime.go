// Package runtime is the contract between the controller and the machine: sandboxes, containers and images as plain data, in OCI terms.
//
// A sandbox is what the containers of one pod share: namespaces, an address, a cgroup, volumes. A container is one process tree in it.
// The package knows no Kubernetes; the object that a sandbox runs for travels as an opaque label.
package runtime

import (
	"context"
	"io"
	"net"
	"net/netip"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Pods lists pods, and reaches their files. All methods are idempotent and safe for concurrent use; calls for one UID must not overlap.
type Pods interface {
	Sandboxes
	// List returns every pod the machine has, from the run directory and the kernel, whoever started it.
	List(ctx context.Context) ([]PodStatus, error)
	// Status returns one pod, or ErrNotFound.
	Status(ctx context.Context, uid string) (PodStatus, error)
	// UpdateFiles replaces the content of volumes of Files, each at once for whoever reads it; the pod's other volumes stay as they are.
	// Containers go on running and find the new files under the same paths.
	UpdateFiles(ctx context.Context, uid string, volumes []Volume) error
	// SetObject replaces the object that the sandbox carries (SandboxConfig.Object), also for the next controller.
	SetObject(ctx context.Context, uid string, object []byte) error
	// ReadFile returns a small regular file that the pod has written into one of its emptyDirs, or ErrNotFound.
	ReadFile(ctx context.Context, uid, volume, path string) ([]byte, error)
}

// Sandboxes makes and removes sandboxes, under the rules of Pods.
type Sandboxes interface {
	// RunSandbox makes the sandbox, or a new one (Attempt+1) when the old has lost its namespaces.
	// The record of it is written before the first effect.
	RunSandbox(ctx context.Context, cfg SandboxConfig) (SandboxStatus, error)
	// StopSandbox gives back what the sandbox of ended containers has of the machine: namespaces, address, cgroups, mounts. The records of the
	// pod and its containers stay, and so do logs, writable layers and emptyDirs on disk, until RemoveSandbox. A container that has not ended is
	// an error; a sandbox that is not there, or stopped already, is none. With empty writable layers and emptyDirs go as well.
	StopSandbox(ctx context.Context, uid string, empty bool) error
	// RemoveSandbox kills what still runs and removes every trace but the logs: processes, cgroups, namespaces, address, directories.
	// Removing what is not there is not an error.
	RemoveSandbox(ctx context.Context, uid string) error
}

// Containers runs processes in sandboxes.
type Containers interface {
	// StartContainer makes a container and returns when its program has been executed. The image must be present.
	// A *StartError says which step failed.
	StartContainer(ctx context.Context, uid string, cfg ContainerConfig) (ContainerStatus, error)
	// SignalContainer sends a signal to the container's first process. An ended container is not an error.
	SignalContainer(ctx context.Context, uid, name string, signal int) error
	// KillContainer ends every process of the container's cgroup with SIGKILL. It does not wait.
	KillContainer(ctx context.Context, uid, name string) error
	// RemoveContainer drops an ended attempt: its record, cgroup and writable layer. Its log stays until the pod's successor is removed.
	RemoveContainer(ctx context.Context, uid, name string, attempt uint32) error
}

// Executor runs further programs inside running containers.
type Executor interface {
	// Exec runs a program in a container and returns its exit code. The streams of cfg are used until it has ended.
	Exec(ctx context.Context, uid, name string, cfg ExecConfig) (exitCode int, err error)
}

// Dialer reaches pods from the machine.
type Dialer interface {
	// Dial opens a connection to addr, HOST:PORT, on behalf of a pod, from the machine's own network. An empty host is the pod's own
	// address; for a pod in the machine's network that is the machine itself. network is "tcp" or "udp". A pod that the machine
	// does not have is ErrNotFound.
	Dial(ctx context.Context, uid, network, addr string) (net.Conn, error)
}

// Events tells that something changed.
type Events interface {
	// Events calls handle with the name of each pod that changed, until ctx ends. It never blocks the machine: events of one
	// pod may be merged, and an event with an empty UID means "look at everything again".
	Events(ctx context.Context, handle func(Event)) error
}

// Images keeps the unpacked images of this machine.
type Images interface {
	// Image returns a stored image by reference, or ErrNotFound. It does no network I/O.
	Image(ctx context.Context, ref string) (Image, error)
	// Pull fetches and unpacks an image and returns when it is on disk (synced). Concurrent pulls of one reference share the work. Any number may be asked for
	// at once: it is the runtime that has some of them wait.
	Pull(ctx context.Context, ref string, opts PullOptions) (Image, error)
}

// Volumes keeps storage that outlives pods, controllers and boots. Its methods are idempotent and safe for concurrent use.
type Volumes interface {
	// MakeVolume makes an empty volume that anybody may write; it is on disk (synced) when it returns. Of one that exists only the label is
	// replaced. ErrDiskFull when there is no room for it.
	MakeVolume(ctx context.Context, v StoredVolume) error
	// ListVolumes returns every volume there is, sorted by ID, whoever made it. What cannot be read has no label.
	ListVolumes(ctx context.Context) ([]StoredVolume, error)
	// RemoveVolume deletes a volume with its data. While a pod's sandbox has it that is ErrInUse. Removing what is not there is not an error.
	RemoveVolume(ctx context.Context, id string) error
}

// StoredVolume names a volume of Volumes.
type StoredVolume struct {
	// ID is made of [a-z0-9.-] and at most 253 bytes.
	ID string
	// Label is kept beside the data and returned as it is: what the volume is for, should everything else be lost.
	Label []byte
	// NoData is a label alone, for what is somewhere else. No pod can have it.
	NoData bool
}

// Event names a pod whose state changed. It carries no state: the reader looks.
type Event struct {
	UID string
}

// SandboxConfig is the wish for what the containers of one pod share.
type SandboxConfig struct {
	// UID names every cgroup, directory and address of the pod. It is made of [a-z0-9-] and at most 64 bytes.
	UID       string
	Namespace string
	Name      string
	Hostname  string
	// FQDN is the pod's full name; its own /etc/hosts knows it by that, too. "" for none.
	FQDN string
	// Object is carried as it is and returned in PodStatus: the object this sandbox runs for.
	Object []byte
	// HostNetwork, HostPID and HostIPC share the machine's namespaces instead of making new ones.
	HostNetwork, HostPID, HostIPC bool
	// SharePID gives all containers one pid namespace.
	SharePID bool
	// ShareMemory gives all containers one /dev/shm; without it each has its own. Set it for pods with several containers.
	ShareMemory bool
	// UserNamespace maps the pod's ids to a range of its own. ErrNotSupported where the kernel cannot.
	UserNamespace bool
	DNS           DNS
	// Hosts are further lines of /etc/hosts.
	Hosts []HostAlias
	// Sysctls are set in the pod's own namespaces.
	Sysctls map[string]string
	// FSGroup owns the pod's volumes and is a supplementary group of every container; nil for none.
	FSGroup *int64
	// FSGroupOnRootMismatch leaves volumes alone whose topmost directory is the group's already; else everything below it is looked at.
	FSGroupOnRootMismatch bool
	// PidsLimit is the greatest number of tasks in the pod; 0 means the default of 4096.
	PidsLimit int64
	Volumes   []Volume
}

// DNS is the resolver configuration of a pod; the zero value means the machine's own.
type DNS struct {
	Servers, Searches, Options []string
}

// HostAlias is one line of /etc/hosts.
type HostAlias struct {
	IP        string
	Hostnames []string
}

// Volume is storage of one pod. Exactly one source is set.
type Volume struct {
	Name     string
	EmptyDir *EmptyDir
	HostPath *HostPath
	Disk     *Disk
	Files    *Files
	// Image is the id of an image whose files the volume shows, read-only and without programs. Its containers hold it as their own.
	Image string
}

// Disk is storage of Volumes. RunSandbox fails when it is not there.
type Disk struct {
	ID string
}

// EmptyDir is a directory that lives as long as the pod.
type EmptyDir struct {
	// Memory puts it on a tmpfs.
	Memory bool
	// SizeLimit is in bytes; 0 means none. It is enforced on tmpfs only.
	SizeLimit int64
}

// HostPath is a path of the machine.
type HostPath struct {
	Path string
	// Type is one of the Kubernetes HostPathType values, "" for no check.
	Type string
	// FSGroup gives what is there to the pod's FSGroup, as if it were berth's own.
	FSGroup bool
}

// Files is a read-only directory of small files, replaced as a whole.
type Files struct {
	Entries []File
	// Hash is carried and returned: identifies the content, 1 to 64 of [0-9a-f]. Files with the hash that the volume has already are left as
	// they are; Entries may then be nil.
	Hash string
}

// File is one entry of Files; Path is relative and has no "..".
type File struct {
	Path string
	Data []byte
	Mode uint32
}

// ContainerConfig is the wish for one container. What is empty comes from the image.
type ContainerConfig struct {
	Name string
	// Attempt counts the starts of this container in this pod from 0.
	Attempt uint32
	// Backoff is carried and returned: how long the planner waits before the next start when this one ends.
	Backoff time.Duration
	// SpecHash is carried and returned: identifies the wish this container was started for.
	SpecHash string
	// Image is the reference the manifest states; ImageID, when set, is the exact image to run.
	Image, ImageID string
	Command, Args  []string
	Env            []string // NAME=VALUE, in order; added to the image's
	WorkingDir     string
	TTY, Stdin     bool
	// Target is a running container of the pod whose processes this one sees and may reach; "" for none. Where all containers share one pid namespace
	// anyway it says nothing. A target that does not run is a *StartError.
	Target string
	// StdinOnce ends the standard input with that of the first client that attaches, and for good. Not together with TTY.
	StdinOnce bool
	Mounts    []Mount
	Resources Resources
	Security  Security
	// TerminationMessagePath is a file inside the container whose content becomes the message of its end.
	TerminationMessagePath string
	// MessageFromLog uses the last lines of the log as message when the file is empty and the container failed.
	MessageFromLog bool
}

// Mount puts a volume of the sandbox into a container.
type Mount struct {
	Volume   string
	SubPath  string // relative to the volume; never resolved outside it
	Path     string // absolute, inside the container
	ReadOnly bool   // also what is mounted below
	// FollowMounts shows what the machine mounts below a HostPath later. Nothing ever travels the other way.
	FollowMounts bool
}

// Resources are the limits of one container. Zero means no limit.
type Resources struct {
	CPUShares   uint64 // v1 weight, 2..262144; converted on v2
	CPUQuota    int64  // microseconds per CPUPeriod
	CPUPeriod   uint64 // microseconds
	MemoryLimit int64  // bytes
	MemoryMin   int64  // bytes that are protected from reclaim where the kernel can
	// OOMScoreAdj is how readily the kernel ends it when the machine has no memory left: -1000 never … 1000 first.
	OOMScoreAdj int
}

// Security is how far a container is trusted. The zero value is berth's default.
type Security struct {
	User, Group        *int64
	RunAsNonRoot       bool
	SupplementalGroups []int64
	Privileged         bool
	ReadOnlyRootfs     bool
	NoNewPrivileges    bool
	// AddCapabilities and DropCapabilities change the default set; "ALL" is known, with and without CAP_, in any case.
	AddCapabilities, DropCapabilities []string
	Seccomp                           Seccomp
	// UnmaskedProc leaves /proc without masked and read-only paths.
	UnmaskedProc bool
}

// Seccomp names a system call filter.
type Seccomp struct {
	// Type is "RuntimeDefault" (also ""), "Unconfined" or "Localhost".
	Type string
	// LocalhostProfile is a path below the state directory's seccomp folder.
	LocalhostProfile string
}

// PodStatus is what the machine has of one pod.
type PodStatus struct {
	UID, Namespace, Name string
	Object               []byte
	Sandbox              SandboxStatus
	// Containers holds the newest attempt of each container, and before it the previous one while that is kept. Sorted by name, then attempt.
	Containers []ContainerStatus
}

// SandboxStatus is the fact of a sandbox.
type SandboxStatus struct {
	// Ready means its namespaces exist and hold the address.
	Ready   bool
	Attempt uint32
	IP      string // empty with HostNetwork, and when the sandbox was stopped
	// FormerIP is the address that a stopped sandbox had: to be shown only, as another pod may have it by now.
	FormerIP string
	// Address6 is its address of IPv6 beside IP: zero on a machine whose pods have none, and where IP is empty. FormerAddress6 is to it as FormerIP.
	Address6, FormerAddress6 netip.Addr
	CreatedAt                time.Time
	// Files holds, by volume, the hash of the Files that were last written. It is not changed later.
	Files map[string]string
}

// State is a step in the life of a container.
type State string

// The states of a container, in order.
const (
	Created State = "created"
	Running State = "running"
	Exited  State = "exited"
)

// Reasons of an end, in Kubernetes' words.
const (
	ReasonCompleted     = "Completed"
	ReasonError         = "Error"
	ReasonOOMKilled     = "OOMKilled"
	ReasonUnknown       = "ContainerStatusUnknown"
	ReasonCannotRun     = "ContainerCannotRun"
	ReasonStartError    = "StartError"
	ReasonCreateError   = "CreateContainerError"
	ReasonConfigError   = "CreateContainerConfigError"
	UnknownExitCode     = 137
	CannotStartExitCode = 128
)

// ContainerStatus is the fact of one attempt of a container.
type ContainerStatus struct {
	Name       string
	Attempt    uint32
	Backoff    time.Duration
	SpecHash   string
	State      State
	PID        int
	Image      string
	ImageID    string
	StartedAt  time.Time
	FinishedAt time.Time
	// ExitCode is the exit code, or 128 + the signal. Valid when State is Exited.
	ExitCode int
	Signal   int
	Reason   string
	Message  string
	LogPath  string
}

// ExecConfig is a program to run inside a container. A nil stream is the container's own /dev/null.
type ExecConfig struct {
	Command []string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer // unused with TTY
	TTY     bool
	// Resize delivers terminal sizes until it is closed; nil for none.
	Resize <-chan Size
}

// Size is a terminal's size in characters.
type Size struct {
	Width, Height uint16
}

// Image is an image that is present and unpacked.
type Image struct {
	// ID is the digest of the image configuration ("sha256:…"); Digest that of the manifest the reference led to.
	ID, Digest string
	// Layers are directories, lowest first. They belong to the image store and are never written.
	Layers []string
	Config ImageConfig
	// Size is in bytes, unpacked.
	Size int64
}

// ImageConfig is the part of an OCI image configuration that a container inherits.
type ImageConfig struct {
	User         string
	Env          []string
	Entrypoint   []string
	Cmd          []string
	WorkingDir   string
	StopSignal   string
	ExposedPorts []string
	// Volumes are directories that the image expects to be there and to be writable, even where its root file system is not.
	Volumes []string
}

// PullOptions say how to fetch an image.
type PullOptions struct {
	// Credentials are tried before the machine's own, in order.
	Credentials []Credential
	// Progress is told complete and total bytes; nil for none. It is called from many goroutines.
	Progress func(complete, total int64)
	// Began is called when the pull no longer waits for others; nil for none. A pull that needs no registry does not call it.
	Began func()
}

// Credential is a user name and a password for one registry host.
type Credential struct {
	Registry, Username, Password string
}

// Spec is the OCI runtime specification of one container as berth makes it; other OCI runtimes take the same.
type Spec = specs.Spec
