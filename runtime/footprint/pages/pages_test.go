package pages

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestUnchanged(t *testing.T) {
	const smaps = `00400000-01a00000 r-xp 00000000 fe:00 12 /usr/bin/berth
Rss:               10000 kB
Anonymous:             0 kB
01a00000-03000000 r--p 01600000 fe:00 12 /usr/bin/berth
Anonymous:             4 kB
03000000-03100000 rw-p 02c00000 fe:00 12 /usr/bin/berth
Anonymous:             0 kB
03100000-03200000 r--p 02c00000 fe:00 12 /usr/bin/berth
Anonymous:             0 kB
c000000000-c004000000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 13 /usr/lib/other
Anonymous:             0 kB
`
	want := []mapping{{0x400000, 0x1a00000}, {0x3100000, 0x3200000}}
	if diff := cmp.Diff(want, unchanged(smaps, "/usr/bin/berth"), cmp.AllowUnexported(mapping{})); diff != "" {
		t.Errorf("mappings (-want +got):\n%s", diff)
	}
}

func TestNumber(t *testing.T) {
	if sysUserfaultfd != unix.SYS_USERFAULTFD {
		t.Errorf("sysUserfaultfd = %d, want %d", sysUserfaultfd, unix.SYS_USERFAULTFD)
	}
}

// Of a mapped file only the pages that are used count.
func TestSingly(t *testing.T) {
	const size, places = 8 << 20, 8
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(data) }()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	found := unchanged(string(smaps), file)
	if len(found) != 1 || found[0].to-found[0].from != size {
		t.Fatalf("mappings of the file: %v", found)
	}
	if err := singly(found); err != nil {
		t.Skipf("not before Linux 6.7, and not where it is forbidden: %v", err)
	}
	sum := byte(0)
	for i := range places {
		sum += data[i*size/places]
	}
	if have, want := resident(t, file), places*os.Getpagesize()>>10; sum != 0 || have != want {
		t.Errorf("%d KiB of the file are mapped, want %d", have, want)
	}
	found[0].advise(unix.MADV_DONTNEED)
	if have := resident(t, file); have != 0 {
		t.Errorf("%d KiB of the file are mapped after all was let go", have)
	}
}

// resident is how much of a file is mapped, in KiB.
func resident(t *testing.T, file string) int {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(smaps), file+"\n")
	_, after, _ = strings.Cut(after, "Rss:")
	n, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
