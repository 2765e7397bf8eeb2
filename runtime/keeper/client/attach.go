package client

import (
	"context"
	"os"
	"time"

	"berth/runtime/keeper/wire"
)

// Attach copies what a container writes from now on into pipes, whose ends to read from are returned: stderr is nil with a terminal. They end with the
// container, or with the keeper; the caller closes them. While they are not read, the container waits; after patience the client is let go instead, unless it
// is 0. The keeper must speak version 3.
func (c *Client) Attach(ctx context.Context, id string, tty bool, patience time.Duration) (stdout, stderr *os.File, err error) {
	var ours, theirs []*os.File
	defer func() {
		closeFiles(theirs)
		if err != nil {
			closeFiles(ours)
		}
	}()
	streams := 2
	if tty {
		streams = 1
	}
	for range streams {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, nil, err
		}
		ours, theirs = append(ours, r), append(theirs, w)
	}
	var numbers []int
	for _, f := range theirs {
		numbers = append(numbers, int(f.Fd()))
	}
	file, err := c.do(ctx, wire.AttachKind, &wire.Attach{ID: id, Patience: int64(patience)}, numbers, nil)
	closeFile(file)
	if err != nil {
		return nil, nil, err
	}
	if tty {
		return ours[0], nil, nil
	}
	return ours[0], ours[1], nil
}

// Input returns a copy of the descriptor that writes to a container's standard input, for writing without waiting to the runtime's poller. The
// caller closes it. ErrNotFound for an unknown id, and once the input was told to end. The keeper must speak version 5.
func (c *Client) Input(ctx context.Context, id string) (*os.File, error) {
	return c.do(ctx, wire.InputKind, &wire.ID{ID: id}, nil, nil)
}

// CloseInput ends the standard input that a container has from StartRequest.Input, once nobody else writes to it either. ErrNotFound for an unknown id.
func (c *Client) CloseInput(ctx context.Context, id string) error {
	return c.plain(ctx, wire.CloseInputKind, &wire.ID{ID: id})
}
