package daemon

import (
	"bufio"
	"context"
	"fmt"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/api"
	"berth/reconcile/pod"
	"berth/runtime/image"
)

const (
	// maxPods is what the node says it can hold: the tests run 300; memory is what ends it.
	maxPods = 1000
	// lowMemory and lowDisk are the kubelet's signals for pressure.
	lowMemory  = 100 << 20
	lowDiskPct = 10
	// maxImages bounds the list of images, as the kubelet does.
	maxImages = 50
)

// nodeAddresses are those of each family, and the name.
func nodeAddresses(n *pod.Node) []corev1.NodeAddress {
	var out []corev1.NodeAddress
	for _, ip := range []string{n.HostIP, n.HostIP6} {
		if ip != "" {
			out = append(out, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
		}
	}
	return append(out, corev1.NodeAddress{Type: corev1.NodeHostName, Address: n.Name})
}

// nodeStatus is this machine as a Kubernetes node tells of itself.
func (d *Daemon) nodeStatus(context.Context) corev1.NodeStatus {
	now := metav1.NewTime(time.Now())
	n := d.node()
	disk, free := diskOf(d.opts.StateDir)
	s := corev1.NodeStatus{
		Capacity: corev1.ResourceList{
			corev1.ResourceCPU:              *resource.NewQuantity(int64(n.CPUs), resource.DecimalSI),
			corev1.ResourceMemory:           *resource.NewQuantity(n.Memory, resource.BinarySI),
			corev1.ResourcePods:             *resource.NewQuantity(maxPods, resource.DecimalSI),
			corev1.ResourceEphemeralStorage: *resource.NewQuantity(disk, resource.BinarySI),
		},
		Addresses: nodeAddresses(&n),
		NodeInfo:  d.nodeInfo(),
		Images:    nodeImages(d.Images),
	}
	s.Allocatable = s.Capacity.DeepCopy()
	condition := func(kind corev1.NodeConditionType, is bool, yes, no, text string) {
		c := corev1.NodeCondition{
			Type: kind, Status: corev1.ConditionFalse, Reason: no, Message: text, LastHeartbeatTime: now, LastTransitionTime: now,
		}
		if is {
			c.Status, c.Reason = corev1.ConditionTrue, yes
		}
		s.Conditions = append(s.Conditions, c)
	}
	condition(corev1.NodeMemoryPressure, memoryAvailable() < lowMemory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory",
		fmt.Sprintf("%d MiB of memory are available", memoryAvailable()>>20))
	condition(corev1.NodeDiskPressure, free < disk/lowDiskPct && free < 1<<30, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure",
		fmt.Sprintf("%d MiB are free at %s", free>>20, d.opts.StateDir))
	condition(corev1.NodePIDPressure, false, "KubeletHasInsufficientPID", "KubeletHasSufficientPID", "berth limits the processes of each pod")
	condition(corev1.NodeReady, true, "KubeletReady", "KubeletNotReady", "berth is running")
	return s
}

func (d *Daemon) nodeInfo() corev1.NodeSystemInfo {
	version := api.Version(d.opts.Version)
	info := corev1.NodeSystemInfo{
		MachineID: line("/etc/machine-id"), SystemUUID: line("/sys/class/dmi/id/product_uuid"), BootID: line("/proc/sys/kernel/random/boot_id"),
		KernelVersion: line("/proc/sys/kernel/osrelease"), OSImage: osImage(), ContainerRuntimeVersion: "berth://" + version,
		KubeletVersion: version, OperatingSystem: goruntime.GOOS, Architecture: goruntime.GOARCH,
	}
	if info.SystemUUID == "" {
		info.SystemUUID = info.MachineID
	}
	return info
}

// line is the first line of a small file, "" when there is none.
func line(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	text, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(text)
}

func osImage() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return ""
}

func diskOf(dir string) (total, free int64) {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil {
		return 0, 0
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize
}

// memoryAvailable is what the kernel thinks could be had without swapping, in bytes.
func memoryAvailable() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "MemAvailable:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

func nodeImages(store *image.Store) []corev1.ContainerImage {
	if store == nil {
		return nil
	}
	list, err := store.List()
	if err != nil {
		return nil // the node is what it is without them
	}
	var out []corev1.ContainerImage
	for _, img := range list[:min(len(list), maxImages)] {
		out = append(out, corev1.ContainerImage{Names: img.Names, SizeBytes: img.Size})
	}
	return out
}
