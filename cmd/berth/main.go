// Command berth keeps one Linux machine in the state that a directory of Kubernetes manifests declares.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"berth/cmd/berth/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
