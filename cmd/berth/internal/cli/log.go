package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// lineLog writes one plain line for each message: time, message, key=value.
func lineLog(w io.Writer) logr.Logger { return logr.New(&lineSink{mu: &sync.Mutex{}, w: w}) }

// lineSink is a logr.LogSink for people and journals.
type lineSink struct {
	mu     *sync.Mutex // guards w
	w      io.Writer
	prefix string
	values []any
}

var _ logr.LogSink = (*lineSink)(nil)

func (s *lineSink) Init(logr.RuntimeInfo) {}

// Enabled leaves debug messages out.
func (s *lineSink) Enabled(level int) bool { return level == 0 }

func (s *lineSink) Info(_ int, msg string, values ...any) { s.write(msg, values) }

func (s *lineSink) Error(err error, msg string, values ...any) {
	s.write(msg, append([]any{"error", err}, values...))
}

func (s *lineSink) WithValues(values ...any) logr.LogSink {
	c := *s
	c.values = append(append([]any{}, s.values...), values...)
	return &c
}

func (s *lineSink) WithName(name string) logr.LogSink {
	c := *s
	c.prefix += name + ": "
	return &c
}

func (s *lineSink) write(msg string, values []any) {
	var b strings.Builder
	b.WriteString(time.Now().Format("15:04:05.000 ") + s.prefix + msg)
	for _, list := range [][]any{s.values, values} {
		for i := 0; i+1 < len(list); i += 2 {
			fmt.Fprintf(&b, " %v=%s", list[i], quoted(fmt.Sprint(list[i+1])))
		}
	}
	b.WriteByte('\n')
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(s.w, b.String()) // a log that cannot be written has nobody to tell
}

// quoted keeps values with spaces or control characters apart from their neighbours.
func quoted(v string) string {
	if v == "" || strings.ContainsAny(v, " \"=") || safe(v) != v {
		return strconv.Quote(v)
	}
	return v
}
