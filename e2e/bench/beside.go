package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"berth/e2e/harness"
)

// The other API server is outside of the bench's network and processes. A part of this program that is outside, too, opens connections to it
// and hands them in, so that no relay lies between.

// besideVar names the socket where connections to the other API server are to be had.
const besideVar = "BERTH_BENCH_BESIDE"

// serveBeside answers on a socket until the program ends: "dial" with a connection to the server of a kubeconfig, "memory" with what
// kube-apiserver consists of on this machine holds: the PSS and what of it is anonymous, in MiB.
func serveBeside(kubeconfig, path string) error {
	server, err := harness.ReadKubeconfig(kubeconfig)
	if err != nil {
		return err
	}
	_ = os.Remove(path) // of a run before
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	address := strings.TrimPrefix(server.URL, "https://")
	go func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			go answerBeside(c, address)
		}
	}()
	return os.Setenv(besideVar, path)
}

func answerBeside(c *net.UnixConn, address string) {
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	switch {
	case err != nil:
	case line == "memory\n":
		h := besideMemory(address)
		fmt.Fprintln(c, h.pss, h.anonymous)
	default:
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return // who asked sees the end
		}
		defer conn.Close()
		if f, err := conn.(*net.TCPConn).File(); err == nil {
			_, _, _ = c.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(f.Fd())), nil)
			_ = f.Close()
		}
	}
}

// besideMemory is what the kube-apiserver of an address and its etcd hold. Other servers may run beside them.
func besideMemory(address string) held {
	const etcdFlag = "--etcd-servers="
	_, port, _ := net.SplitHostPort(address)
	sum, etcd := held{}, ""
	each := func(name, mark string, found func(args []string)) {
		dirs, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range dirs {
			comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
			line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
			if mark == "" || strings.TrimSpace(string(comm)) != name || !strings.Contains(string(line), mark) {
				continue
			}
			sum = sum.plus(heldIn(dir))
			found(strings.Split(string(line), "\x00"))
		}
	}
	each("kube-apiserver", "="+port, func(args []string) {
		for _, arg := range args {
			if value, ok := strings.CutPrefix(arg, etcdFlag); ok {
				etcd = value
			}
		}
	})
	each("etcd", etcd, func([]string) {})
	return sum
}

// askBeside sends one word.
func askBeside(ctx context.Context, word string) (*net.UnixConn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", os.Getenv(besideVar))
	if err != nil {
		return nil, err
	}
	u := c.(*net.UnixConn) //nolint:forcetypeassert // that is what was dialled
	if _, err := fmt.Fprintln(u, word); err != nil {
		u.Close()
		return nil, err
	}
	return u, nil
}

// dialBeside is a connection to the other API server.
func dialBeside(ctx context.Context, _, _ string) (net.Conn, error) {
	c, err := askBeside(ctx, "dial")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	one, rights := make([]byte, 1), make([]byte, syscall.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(one, rights)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the other API server: %w", err)
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("cannot reach the other API server: no connection came: %w", err)
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fds[0]), "beside")
	defer f.Close()
	return net.FileConn(f)
}
