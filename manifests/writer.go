package manifests

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Writer changes the files of a source on behalf of a user who does not edit them himself.
type Writer interface {
	// Rewrite gives the newest content of a file, named as the source names it, to change, puts what that returns in its place at once and
	// as a whole, and gives the snapshot with it to the source's reader before it returns. The content of a file that is not there is
	// nil; nil as the new content removes the file. An error of change is returned as it is, and nothing is written. The file's owner,
	// permissions and links stay. It returns an error that is ErrReadOnly where nothing can be written, and ErrConflict when somebody else
	// has the file open for writing or changes it meanwhile. change may be called once or not at all.
	Rewrite(ctx context.Context, file string, change func(data []byte) ([]byte, error)) error
	// RewriteAll does the same with several files at once: all of them change, or none does and the error tells of each that cannot. The reader gets
	// one snapshot. Only what the disk does in the very last step, the renames, may leave some changed and others not.
	RewriteAll(ctx context.Context, files []string, change func(file string, data []byte) ([]byte, error)) error
}

// ErrReadOnly says that a source cannot be written to, ErrConflict that somebody else is writing the file.
var (
	ErrReadOnly = errors.New("it cannot be written to")
	ErrConflict = errors.New("somebody else is changing it")
)

// NewFile is the file in which an object is stated that no file states yet: below the folder kubectl, named for the object.
func NewFile(key Key) string {
	name := key.Kind + "." + key.Name
	if key.Namespace != "" {
		name = key.Namespace + "." + name
	}
	odd := strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) // a role may be called nearly anything
	const longest = 250                                                                // of the 255 bytes of a file name: the rest is the extension
	if odd >= 0 || len(name) > longest {
		keep := longest - 9
		if odd >= 0 {
			keep = min(keep, odd)
		}
		name = fmt.Sprintf("%s-%s", name[:min(len(name), keep)], shortHash(name))
	}
	return "kubectl/" + name + ".yaml"
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}
