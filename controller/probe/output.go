package probe

import (
	"strings"
	"sync"
)

// limited keeps the beginning of what is written to it, and takes the rest without a word. Both streams of a program may share one.
type limited struct {
	mu   sync.Mutex
	kept []byte
}

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, p[:min(len(p), maxOutput-len(l.kept))]...)
	return len(p), nil
}

func (l *limited) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.ToValidUTF8(string(l.kept), "\uFFFD")
}
