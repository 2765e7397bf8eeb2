package footprint

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
)

// letGoOfProgram gives the pages of the program that were touched back to the kernel: many of them are needed once and never again. What is needed again is still
// in the page cache and comes back without being read: all of it in less than a millisecond. Where it does not work nothing is lost but memory.
func letGoOfProgram() {
	for _, p := range programPages() {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, p.from, p.to-p.from, syscall.MADV_DONTNEED)
	}
}

// programPages are found once: nothing maps the program anew.
var programPages = sync.OnceValue(func() []pages {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return nil
	}
	defer f.Close()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	return unchangedPages(bufio.NewScanner(f), program)
})

type pages struct{ from, to uintptr }

// unchangedPages are the mappings of a file that nobody writes to and in which all is as it is in the file: of others the changes would be lost.
func unchangedPages(smaps *bufio.Scanner, file string) (out []pages) {
	var at pages
	ours := false
	for smaps.Scan() {
		f := strings.Fields(smaps.Text())
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"):
			_, err := fmt.Sscanf(f[0], "%x-%x", &at.from, &at.to)
			ours = err == nil && strings.Join(f[5:], " ") == file && !strings.Contains(f[1], "w")
		case len(f) >= 2 && f[0] == "Anonymous:" && ours && f[1] == "0":
			out = append(out, at)
		}
	}
	return out
}
