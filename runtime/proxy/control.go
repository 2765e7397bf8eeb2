package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth/runtime/proxy/table"
)

// askPatience is how long who connects may take to say its word.
const askPatience = 5 * time.Second

// answer serves who has a word for the proxy. It returns only when the socket is broken.
func (p *proxy) answer(ctx context.Context, l net.Listener) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
			time.Sleep(acceptPause)
			continue
		}
		if err != nil {
			return err
		}
		go p.hear(ctx, c)
	}
}

func (p *proxy) hear(ctx context.Context, c net.Conn) {
	defer c.Close()
	if c.SetReadDeadline(time.Now().Add(askPatience)) != nil {
		return
	}
	word, err := bufio.NewReaderSize(c, 16).ReadString('\n')
	if err != nil {
		return
	}
	a := table.Answer{PID: os.Getpid()}
	switch strings.TrimSpace(word) {
	case table.Reload:
		if a.Problems, err = p.reload(ctx); err != nil {
			a.Error = err.Error()
		}
	case table.Retire:
		p.retire(ctx)
		p.sayLeaving(ctx)
	case table.Status:
		p.mu.Lock()
		a.Problems = p.problems
		p.mu.Unlock()
	default:
		a.Error = "no such word"
	}
	a.Connections, a.DNS = p.load.count(), p.names.address()
	data, err := json.Marshal(a)
	if err == nil {
		_, _ = c.Write(data) // who asked has gone: nobody to tell
	}
}
