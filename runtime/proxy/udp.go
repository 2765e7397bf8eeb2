package proxy

import (
	"context"

	"berth/runtime"
	"berth/runtime/proxy/sockets"
)

type udpPort struct{ socket *sockets.Socket }

func newUDP(socket *sockets.Socket, p *runtime.PublishedPort) (*udpPort, error) {
	return &udpPort{socket}, nil
}
func (u *udpPort) update(p *runtime.PublishedPort) {}
func (u *udpPort) close(ctx context.Context)       { u.socket.Close(ctx) }
