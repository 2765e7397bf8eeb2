package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
	"berth/runtime"
)

// maxOutput is how much of what a container answers is kept: as much as the kubelet keeps.
const maxOutput = 10 << 10

// Target is one running attempt of a container.
type Target struct {
	Pod       reconcile.Key
	UID       types.UID
	IP        string // of the pod; where probes go that name no host
	Container *corev1.Container
	Attempt   uint32
	StartedAt time.Time
	// Known is what an earlier controller knew of it; nil for nothing.
	Known *Known
	// Ending tells that the pod is going: nothing can make it start again.
	Ending bool
}

// result is what one look found.
type result int

const (
	failure result = iota
	success
	warning // a success with something to say
)

// Asker asks containers, once at a time. It never enters a namespace itself.
type Asker struct {
	Dialer   runtime.Dialer
	Executor runtime.Executor
}

// ask runs a probe once. An error means that the container could not even be asked: that says nothing about it.
func (a Asker) ask(ctx context.Context, t *Target, p *corev1.Probe) (result, string, error) {
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case p.Exec != nil:
		return a.askExec(ctx, t, p.Exec.Command, timeout)
	case p.HTTPGet != nil:
		return a.askHTTP(ctx, t, p.HTTPGet)
	case p.TCPSocket != nil:
		port, err := portOf(p.TCPSocket.Port, t.Container)
		if err != nil {
			return failure, "", err
		}
		return a.askTCP(ctx, t, p.TCPSocket.Host, port)
	case p.GRPC != nil:
		service := ""
		if p.GRPC.Service != nil {
			service = *p.GRPC.Service
		}
		return a.askGRPC(ctx, t, int(p.GRPC.Port), service, timeout)
	}
	return failure, "", fmt.Errorf("missing probe handler for %s/%s:%s", t.Pod.Namespace, t.Pod.Name, t.Container.Name)
}

func (a Asker) askTCP(ctx context.Context, t *Target, host string, port int) (result, string, error) {
	conn, err := a.dial(ctx, t, "tcp", t.address(host, port))
	if err != nil {
		return failure, err.Error(), nil //nolint:nilerr // that nobody listens is an answer
	}
	_ = conn.Close()
	return success, "", nil
}

func (a Asker) dial(ctx context.Context, t *Target, network, addr string) (net.Conn, error) {
	return a.Dialer.Dial(ctx, string(t.UID), network, addr)
}

// address is where a probe of the container goes. Like the kubelet's it goes to the pod's own address unless it names a host.
func (t *Target) address(host string, port int) string {
	if host == "" {
		host = t.IP
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

func (a Asker) askExec(ctx context.Context, t *Target, command []string, timeout time.Duration) (result, string, error) {
	code, output, err := a.exec(ctx, t, expanded(command, t.Container.Env))
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return failure, fmt.Sprintf("command timed out: %q timed out after %s", strings.Join(command, " "), timeout), nil
	case err != nil:
		return failure, "", err
	case code != 0:
		return failure, output, nil
	}
	return success, output, nil
}

func (a Asker) exec(ctx context.Context, t *Target, command []string) (int, string, error) {
	var out limited
	code, err := a.Executor.Exec(ctx, string(t.UID), t.Container.Name, runtime.ExecConfig{Command: command, Stdout: &out, Stderr: &out})
	return code, out.text(), err
}

// expanded replaces $(NAME) by what the container's spec itself states, as the kubelet does: a probe sees no other variables.
func expanded(command []string, env []corev1.EnvVar) []string {
	var pairs []string
	for i := range env {
		if env[i].ValueFrom == nil {
			pairs = append(pairs, "$("+env[i].Name+")", env[i].Value)
		}
	}
	replacer := strings.NewReplacer(append([]string{"$$", "$"}, pairs...)...)
	out := make([]string, len(command))
	for i, word := range command {
		out[i] = replacer.Replace(word)
	}
	return out
}

// portOf finds a port by number or by its name among the container's.
func portOf(port intstr.IntOrString, c *corev1.Container) (int, error) {
	n := port.IntValue()
	if port.Type == intstr.String {
		for _, p := range c.Ports {
			if p.Name == port.StrVal {
				return int(p.ContainerPort), nil
			}
		}
		var err error
		if n, err = strconv.Atoi(port.StrVal); err != nil {
			return 0, fmt.Errorf("couldn't find port: %s in the container's ports", port.StrVal)
		}
	}
	if n <= 0 || n > 65535 {
		return 0, fmt.Errorf("invalid port number: %d", n)
	}
	return n, nil
}
