// Package client speaks to a keeper: it starts one, connects to it, and offers what it can do as typed calls.
//
// A whole life:
//
//	if err := client.Spawn(ctx, "/usr/bin/berth", runDir, client.SpawnOptions{}); err != nil { … }
//	c, err := client.Dial(ctx, runDir)
//	c.Subscribe(ctx, func(e client.Exit) { queue.Add(e.ID) })
//
//	var box program.Builder
//	box.Call("set the host name", syscall.SYS_SETHOSTNAME, box.String("web"), program.Imm(3))
//	sb, err := c.Sandbox(ctx, client.SandboxRequest{ID: uid, Flags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS, Program: &box})
//
//	var p program.Builder
//	p.Call("put stdout in place", syscall.SYS_DUP3, program.Slot(program.SlotStdout), program.Imm(1), program.Imm(0))
//	p.Call("execve /bin/app", syscall.SYS_EXECVE, p.String("/bin/app"), p.Strings(argv), p.Strings(env))
//	started, err := c.Start(ctx, client.StartRequest{ID: uid + "/app/0", Sandbox: uid, Flags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Program: &p, …})
//	var step *client.StepError
//	if errors.As(err, &step) { … step.Name, step.Errno … }
//
//	c.Signal(ctx, uid+"/app/0", syscall.SIGTERM)
//	// Exit{ID: uid+"/app/0", …} arrives; the record is in ExitPath already, and the last line of output in the log.
//	c.Forget(ctx, uid+"/app/0")
//	c.ForgetSandbox(ctx, uid)
//
// What the keeper does in a child before step 0 of a program, so that the program need not: every signal at its default and unblocked,
// the original limit of open files, oom_score_adj 0, umask 0, close-on-exec on every descriptor above 2. Everything else is the program's:
// setsid, stdio (0 is the keeper's own /dev/null: replace it), namespaces, mounts, identity, close-on-exec again, execve.
// A program that runs off its end ends the child with status 0: right for a sandbox, "the child ended" for a container.
//
// The umask of 0 suits the making of device nodes; a program sets the one its container shall have before execve.
//
// A program that waits at SlotGate gets its byte as soon as the keeper has recorded the child (with a terminal: has fetched the
// master: open it, dup3 it onto SlotPTY, write a byte to SlotReady, then wait). A read that meets the end of the file fails with EPIPE.
//
// What a killed keeper takes along: the terminals of containers with TTY (their session is hung up), what Exec started (nobody reads its
// status), and the output of containers that end before a new keeper has adopted them. An upgrade loses only what Exec started.
//
// Tests use their own binary as a keeper: import berth/runtime/keeper for its init, and give os.Executable() to Spawn.
package client
