package table

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"syscall"

	"berth/runtime"
	"berth/runtime/rootsocket"
)

// The words that the proxy answers, one to a connection, each with an Answer.
const (
	// Reload makes it read the table. When it answers, no new connection goes to who is no longer in it.
	Reload = "reload"
	// Retire makes it accept nothing any more and end with its last connection: another proxy has its sockets.
	Retire = "retire"
	// Status only asks.
	Status = "status"
)

// socketName is the proxy's socket in the run directory.
const socketName = "proxy.sock"

// Answer is what the proxy says.
type Answer struct {
	PID int
	// Problems are what of the table could not be done, sorted by owner.
	Problems []runtime.RouteProblem
	// DNS is where names are answered, by UDP and TCP; the zero value for nowhere. It may be another port than 53.
	DNS netip.AddrPort
	// Connections are open now.
	Connections int
	// Error is why the word was not obeyed; the old table holds.
	Error string
}

// ErrNoProxy means that nobody answers: one that starts now reads the newest table.
var ErrNoProxy = errors.New("no proxy serves this run directory")

// Ask says a word to the proxy.
func Ask(ctx context.Context, runDir, word string) (a Answer, err error) {
	conn, err := rootsocket.Dial(ctx, filepath.Join(runDir, socketName))
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return a, ErrNoProxy
	}
	if err != nil {
		return a, fmt.Errorf("cannot reach the proxy: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, err = io.WriteString(conn, word+"\n")
	var data []byte
	if err == nil {
		data, err = io.ReadAll(conn)
	}
	if ctx.Err() != nil {
		return a, ctx.Err()
	}
	if err != nil || len(data) == 0 { // it has died over it
		return a, ErrNoProxy
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("cannot understand the proxy: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// Listen opens the proxy's socket in the place of the one that is there. Only root may connect.
func Listen(runDir string) (net.Listener, error) {
	l, err := rootsocket.Listen(filepath.Join(runDir, socketName))
	if err != nil {
		return nil, err
	}
	return rootsocket.Only{Listener: l}, nil
}
