package cli

import (
	"io"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

// lineLog writes one plain line for each message: time, message, key=value.
func lineLog(w io.Writer) logr.Logger {
	var mu sync.Mutex
	return funcr.New(func(prefix, args string) {
		mu.Lock()
		defer mu.Unlock()
		line := time.Now().Format("15:04:05.000 ")
		if prefix != "" {
			line += prefix + ": "
		}
		_, _ = io.WriteString(w, line+args+"\n") // a log that cannot be written has nobody to tell
	}, funcr.Options{})
}
