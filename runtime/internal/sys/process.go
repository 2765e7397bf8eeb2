package sys

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// StartTime is when a process was started, in clock ticks since boot. With the pid it names a process for as long as the machine runs.
func StartTime(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	return parseStartTime(data)
}

// startTimeField is the index of starttime among the fields behind the command name, which may itself hold blanks and brackets.
const startTimeField = 19

func parseStartTime(stat []byte) (uint64, error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, fmt.Errorf("cannot parse process status %q: no command name", stat)
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) <= startTimeField {
		return 0, fmt.Errorf("cannot parse process status %q: too short", stat)
	}
	return strconv.ParseUint(string(fields[startTimeField]), 10, 64)
}

// BootID names this boot of the machine.
func BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(data)), err
}

// OpenFilesLimit is the greatest number of open files this process may allow its children.
func OpenFilesLimit() (uint64, error) {
	var lim unix.Rlimit
	err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &lim)
	return lim.Max, os.NewSyscallError("prlimit", err)
}
