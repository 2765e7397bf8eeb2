package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// diskSize is that of a sparse file: what is not written takes no room.
const diskSize = 8 << 30

// onJournal puts everything that is measured on a fresh ext4 with a journal, as users' machines have. Without a journal ext4 keeps away
// from inodes that were freed in the last minutes, and each new directory costs more than the one before: whoever makes more of them pays
// for all. undo takes it away again.
func onJournal() (undo func()) {
	none := func() {}
	dir, err := os.MkdirTemp("", "bench-disk-")
	if err != nil {
		fmt.Println("measured on the disk as it is:", err)
		return none
	}
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "at")
	remove := func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Println("left behind:", err)
		}
	}
	err = os.WriteFile(image, nil, 0o600)
	if err == nil {
		err = os.Truncate(image, diskSize)
	}
	if err == nil {
		err = os.Mkdir(at, 0o700)
	}
	for _, argv := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, at}} {
		if err != nil {
			break
		}
		var out []byte
		if out, err = exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			err = fmt.Errorf("%s: %w: %s", argv[0], err, strings.TrimSpace(string(out)))
		}
	}
	if err == nil {
		err = os.Setenv("TMPDIR", at)
	}
	if err != nil {
		fmt.Println("measured on the disk as it is:", err)
		remove()
		return none
	}
	return func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			fmt.Printf("left behind: %s: %v: %s\n", at, err, strings.TrimSpace(string(out)))
			return
		}
		remove()
	}
}
