// Command leakcheck runs a command and says what it left on the machine: leakcheck [-dir DIR]… [-wait 10s] COMMAND ARG…
// It exits with the command's code, or with 1 when something was left or is gone.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"time"

	"berth/e2e/leak"
)

func main() {
	os.Exit(run())
}

func run() int {
	var opts leak.Options
	flag.Func("dir", "count the files below this directory too (repeat)", func(d string) error {
		opts.Dirs = append(opts.Dirs, d)
		return nil
	})
	wait := flag.Duration("wait", 10*time.Second, "how long to wait for what dies asynchronously")
	list := flag.Bool("list", false, "print what there is, as JSON, and run nothing")
	flag.Parse()
	before, err := leak.Take(opts)
	if err != nil {
		return fail(err)
	}
	if *list {
		if err := json.NewEncoder(os.Stdout).Encode(before); err != nil {
			return fail(err)
		}
		return 0
	}
	if flag.NArg() == 0 {
		flag.Usage()
		return 1
	}
	cmd := exec.Command(flag.Arg(0), flag.Args()[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	code := 0
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), *wait)
	defer cancel()
	items, err := leak.Wait(ctx, before, opts)
	if err != nil {
		return fail(err)
	}
	if len(items) > 0 {
		fmt.Fprint(os.Stderr, leak.Text(items))
		return 1
	}
	return code
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "leakcheck:", err)
	return 1
}
