package demo

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"os"
	goruntime "runtime"
	"time"
)

const goarch = goruntime.GOARCH

// WebCommand is the hidden command that serves the page inside the demo's containers.
const WebCommand = "demo-web"

// Addr is where a replica serves the page, inside its pod.
const Addr = ":8080"

// page is not a template: package template makes the linker keep every method of every type, and the binary much larger.
const page = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>%[1]s</title>
<body style="font:20px/1.6 system-ui;max-width:36em;margin:15vh auto;padding:0 1em">
<h1>%[1]s</h1>
<p>This is replica <b>%[2]s</b>, process %[3]d of its own world, up for %[4]s.</p>
</body></html>
`

// Serve answers on addr until ctx ends, then lets open requests finish.
func Serve(ctx context.Context, addr, message string) error {
	started := time.Now()
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("cannot read the host name: %w", err)
	}
	srv := &http.Server{Addr: addr, ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			age := time.Since(started).Round(time.Second)
			_, _ = fmt.Fprintf(w, page, html.EscapeString(message), html.EscapeString(host), os.Getpid(), age)
		})}
	done := make(chan error, 1)
	go func() { done <- srv.ListenAndServe() }()
	fmt.Printf("%s serves %q on %s\n", host, message, addr)
	select {
	case err := <-done:
		return fmt.Errorf("cannot serve: %w", err)
	case <-ctx.Done():
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(stop); err != nil && !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("cannot stop serving: %w", err)
		}
		fmt.Printf("%s ends\n", host)
		return nil
	}
}
