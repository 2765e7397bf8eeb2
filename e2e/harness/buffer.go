package harness

import (
	"bytes"
	"sync"
)

// Buffer keeps what is written, for others to read meanwhile.
type Buffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

// Write adds to what is kept.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

// String is everything so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}
