package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// idleWhileDraining is how long a connection may wait for its last request once the server is to end.
	idleWhileDraining = 3 * time.Second
	// lingerWhileDraining is how long it goes on accepting in any case: on a busy machine a program gets to it late.
	lingerWhileDraining = time.Second
)

// drain serves as a well-made server does. On SIGTERM it still answers whoever is connected, tells each with its reply that this was the last one
// (Connection: close), and ends when all have gone. New connections it takes as long as it runs: to send none is the business of others.
func drain(port, text string, late time.Duration) {
	time.Sleep(late)
	host, _ := os.Hostname()
	var draining atomic.Bool
	srv := &http.Server{
		Addr:              ":" + port,
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if draining.Load() {
				w.Header().Set("Connection", "close")
			}
			fmt.Fprintf(w, "%s %s\n", text, host)
		}),
	}
	var open atomic.Int64
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		case http.StateActive, http.StateIdle:
		}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		draining.Store(true)
		deadline := time.Now().Add(idleWhileDraining)
		// Who connected before the end was told may still wait in the socket: closing it would reset them.
		time.Sleep(lingerWhileDraining)
		for open.Load() > 0 && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		_ = srv.Shutdown(context.Background()) // nobody to tell
	}()
	fmt.Println("serving", text, "on", port)
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for open.Load() > 0 { // ListenAndServe returns when Shutdown begins
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Println("drained")
}
