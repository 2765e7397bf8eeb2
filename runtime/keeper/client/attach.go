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

// CloseInput ends the standard input that a container has from Log.Stdin, once nobody else writes to it either. ErrNotFound for an unknown id.
func (c *Client) CloseInput(ctx context.Context, id string) error {
	return c.plain(ctx, wire.CloseInputKind, &wire.ID{ID: id})
}
