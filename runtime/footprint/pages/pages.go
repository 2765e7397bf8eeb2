// Package pages keeps small how much of the program's own file a process has mapped. The keeper imports it before the rest of the program is initialised: it uses only the
// cheapest packages of the standard library.
package pages

import (
	"os"
	"strconv"
	"sync"
	"syscall"
)

// LetGo gives the pages of the program that were touched back to the kernel: many of them are needed once and never again. What is needed again is still
// in the page cache and comes back without being read: all of it in a few milliseconds. From the first call on only pages that are used come back, where the
// kernel knows how. Where all this does not work nothing is lost but memory.
func LetGo() {
	for _, m := range program() {
		m.advise(syscall.MADV_DONTNEED)
	}
}

// Found once: nothing maps the program anew.
var (
	once  sync.Once
	found []mapping
)

func program() []mapping {
	once.Do(func() {
		found = unchangedOfProgram()
		_ = singly(found) // a kernel that cannot
	})
	return found
}

func unchangedOfProgram() []mapping {
	file, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return nil
	}
	return unchanged(string(smaps), file)
}

// mapping is a piece of the address space.
type mapping struct{ from, to uintptr }

func (m mapping) advise(what uintptr) {
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.from, m.to-m.from, what)
}

// unchanged are the mappings of a file that nobody writes to and in which all is as it is in the file: of others the changes would be lost.
func unchanged(smaps, file string) (out []mapping) {
	var at mapping
	ours := false
	for len(smaps) > 0 {
		var line string
		line, smaps = cut(smaps, '\n')
		first, rest := word(line)
		second, rest := word(rest)
		if from, to := cut(first, '-'); to != "" {
			for range 3 { // offset, device and inode
				_, rest = word(rest)
			}
			ours = at.parse(from, to) && rest == file && len(second) > 1 && second[1] != 'w'
		} else if first == "Anonymous:" && ours && second == "0" {
			out = append(out, at)
		}
	}
	return out
}

func (m *mapping) parse(from, to string) bool {
	a, err := strconv.ParseUint(from, 16, strconv.IntSize)
	b, berr := strconv.ParseUint(to, 16, strconv.IntSize)
	*m = mapping{uintptr(a), uintptr(b)}
	return err == nil && berr == nil
}

// cut is strings.Cut. Package strings is initialised after others that the keeper needs not, and so would the keeper be that imports it.
func cut(s string, at byte) (before, after string) {
	for i := range len(s) {
		if s[i] == at {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// word is the first word, and what comes after the blanks behind it.
func word(s string) (first, rest string) {
	first, rest = cut(s, ' ')
	for len(rest) > 0 && rest[0] == ' ' {
		rest = rest[1:]
	}
	return first, rest
}
