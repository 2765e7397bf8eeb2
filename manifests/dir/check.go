package dir

import (
	"os"
	"path/filepath"

	"berth/manifests"
)

// Check reads files and directories for `berth validate`, once. Every named file is a world of its own, whatever its name; a directory is
// one world, read by the rules of a Source. The paths of the faults begin with the path as it was given. A path that cannot be read is a
// fault too.
func Check(paths []string) []manifests.Fault {
	var all []manifests.Fault
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && info.IsDir() {
			all = append(all, checkDir(p)...)
		} else {
			all = append(all, checkFile(p)...)
		}
	}
	return all
}

func checkFile(path string) []manifests.Fault {
	data, st := readFile(path)
	switch {
	case st.err != nil:
		return []manifests.Fault{{File: path, Severity: manifests.Error, Text: st.err.Error()}}
	case st.busy:
		return []manifests.Fault{{File: path, Severity: manifests.Error, Text: "is being written"}}
	}
	return manifests.Check([]manifests.Decoded{manifests.Decode(path, data)})
}

func checkDir(path string) []manifests.Fault {
	l := newLoop(New(path, Options{}), nil, nil)
	l.once = true
	l.rescan()
	if l.tree.fault != nil {
		return []manifests.Fault{*l.tree.fault}
	}
	l.settle()
	files := make([]manifests.Decoded, 0, len(l.files))
	for _, f := range l.files {
		files = append(files, f.decoded)
	}
	faults := append(manifests.Check(files), l.tree.faults...)
	for i := range faults {
		faults[i].File = filepath.Join(path, filepath.FromSlash(faults[i].File))
	}
	return faults
}
