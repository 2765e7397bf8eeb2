package image

import (
	"fmt"

	"golang.org/x/sys/unix"

	"berth/runtime"
)

// Disk is the space of the file system that holds the store, in bytes. Free is what root may still use.
type Disk struct{ Total, Free uint64 }

// EnoughSpace is the rule for free space: at least a tenth of the disk, or 1 GiB where a tenth is more than that. Below it nothing is
// pulled or unpacked. The smaller of the two counts: a tenth of a large disk is no emergency, and 1 GiB of a small one is half of it.
func EnoughSpace(d Disk) bool { return d.Free >= min(d.Total/10, 1<<30) }

func (s *Store) disk() (Disk, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(s.session.fd.Fd()), &st); err != nil {
		return Disk{}, fmt.Errorf("cannot ask for free space: %w", err)
	}
	return Disk{Total: st.Blocks * uint64(st.Bsize), Free: st.Bavail * uint64(st.Bsize)}, nil
}

// checkSpace returns runtime.ErrDiskFull when the rule is not met once need more bytes are written.
func (s *Store) checkSpace(need uint64) error {
	d, err := s.disk()
	if err != nil {
		return err
	}
	after := d
	after.Free -= min(need, d.Free)
	if s.opts.Enough(after) {
		return nil
	}
	return fmt.Errorf("%w: %s of %s are free in %q", runtime.ErrDiskFull, humanBytes(d.Free), humanBytes(d.Total), s.opts.StateDir)
}

func humanBytes(n uint64) string {
	const units = "KMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for f >= 1000 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	return fmt.Sprintf("%.1f %cB", f, units[i])
}
