// Command tool is what the test containers run: one static program with a part for each behaviour a test needs.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const usage = `tool PART
  web [PORT] [TEXT]      answer HTTP requests with TEXT and the host name, /slow?lines=N with so many lines 10 ms apart, /echo with what is sent; end at once on SIGTERM
  serve [MS]             after MS milliseconds answer probes of all kinds; see serve.go
  drain [PORT] [TEXT] [MS]  the same after MS milliseconds; on SIGTERM answer who is connected once more, then end
  sink [PORT]            take what measure sends
  measure ADDRESS [MS]   send to a sink for MS milliseconds; print as JSON how fast that was, and how long bytes and connections take
  who [PORT]             answer connections and datagrams with the host name and the client's address
  exit CODE [MS]         end with CODE after MS milliseconds
  hog MIB                touch so much memory, then wait
  stubborn               ignore SIGTERM
  graceful MS            on SIGTERM work for MS milliseconds more, say so, end with 0
  count [MS] [N]         print N numbered lines, one every MS milliseconds, then wait
  burst N                print N numbered lines at once and end
  fork N                 start N sleeping children, then wait
  answer PLACE...        answer whoever asks at each place (tcp/80) with who that is
  reach MS PLACE...      print who answers at each place (tcp/10.0.0.1:80) within MS milliseconds; see reach.go
  lookup NAME...         print what each name resolves to; see lookup.go
  inspect                print as JSON what this process sees of itself
  syscall NAME           try a system call and print its error
  sleep                  wait
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	switch part := os.Args[1]; part {
	case "web":
		web(word(2, "8080"), word(3, "hello"))
	case "drain":
		drain(word(2, "8080"), word(3, "hello"), time.Duration(number(4, 0))*time.Millisecond)
	case "sink":
		sink(word(2, "8080"))
	case "measure":
		measure(word(2, ""), time.Duration(number(3, 1000))*time.Millisecond)
	case "who":
		who(word(2, "8080"))
	case "serve":
		serve(time.Duration(number(2, 0)) * time.Millisecond)
	case "exit":
		pause(number(3, 0))
		os.Exit(number(2, 0))
	case "hog":
		hog(number(2, 64))
	case "stubborn":
		stubborn()
	case "graceful":
		graceful(number(2, 0))
	case "count":
		count(number(2, 100), number(3, 1<<30))
	case "burst":
		count(0, number(2, 1000))
	case "fork":
		forkChildren(number(2, 1))
	case "answer":
		answer(os.Args[2:])
	case "reach":
		reach(time.Duration(number(2, 0))*time.Millisecond, os.Args[3:])
	case "lookup":
		lookup(os.Args[2:])
	case "inspect":
		inspect()
	case "syscall":
		try(word(2, ""))
	case "sleep":
		wait()
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
}

func word(i int, or string) string {
	if len(os.Args) > i {
		return os.Args[i]
	}
	return or
}

func number(i, or int) int {
	n, err := strconv.Atoi(word(i, strconv.Itoa(or)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return n
}

func pause(ms int) { time.Sleep(time.Duration(ms) * time.Millisecond) }

// wait never returns. An empty select would be reported as a deadlock.
func wait() {
	for {
		time.Sleep(time.Hour)
	}
}

func web(port, text string) {
	host, _ := os.Hostname()
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "%s %s\n", text, host) })
	http.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		lines, _ := strconv.Atoi(r.FormValue("lines"))
		for i := range lines {
			fmt.Fprintln(w, "line", i)
			_ = http.NewResponseController(w).Flush() // the client has gone: the next line shows it
			pause(10)
		}
	})
	http.HandleFunc("/echo", echo)
	fmt.Println("serving", text, "on", port)
	if err := http.ListenAndServe(":"+port, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func hog(mib int) {
	var all [][]byte
	for range mib {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
	fmt.Println("holding", len(all), "MiB")
	wait()
}

func stubborn() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Println("ready")
	for range signals {
		fmt.Println("ignored SIGTERM")
	}
}

func graceful(ms int) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Println("ready")
	<-signals
	pause(ms)
	fmt.Println("ended gracefully")
}

func count(ms, n int) {
	for i := range n {
		fmt.Printf("line %d\n", i)
		if ms > 0 {
			pause(ms)
		}
	}
	if ms > 0 {
		wait()
	}
}

func forkChildren(n int) {
	for range n {
		_, err := syscall.ForkExec("/proc/self/exe", []string{"tool", "sleep"}, nil)
		if err != nil {
			fmt.Println("fork:", err)
			break
		}
	}
	wait()
}

// inspect prints what the tests of isolation compare.
func inspect() {
	host, _ := os.Hostname()
	dir, _ := os.Getwd()
	groups, _ := os.Getgroups()
	out := map[string]any{
		"uid": os.Getuid(), "gid": os.Getgid(), "groups": groups, "hostname": host, "cwd": dir, "pid": os.Getpid(),
		"env": os.Environ(), "args": os.Args, "status": statusFields(), "fds": descriptors(), "mounts": text("/proc/self/mounts"),
		"cgroup": text("/proc/self/cgroup"), "uidMap": text("/proc/self/uid_map"), "namespaces": namespaces(),
		"processes": processNames(), "links": links(),
	}
	enc := json.NewEncoder(os.Stdout)
	if err := enc.Encode(out); err != nil {
		os.Exit(1)
	}
}

func text(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(b)
}

func statusFields() map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text("/proc/self/status")) {
		name, value, _ := strings.Cut(line, ":")
		out[name] = strings.TrimSpace(value)
	}
	return out
}

func descriptors() map[string]string {
	out := map[string]string{}
	for _, fd := range list("/proc/self/fd") {
		if target, err := os.Readlink("/proc/self/fd/" + fd); err == nil {
			out[fd] = target
		}
	}
	return out
}

func namespaces() map[string]string {
	out := map[string]string{}
	for _, ns := range list("/proc/self/ns") {
		out[ns], _ = os.Readlink("/proc/self/ns/" + ns)
	}
	return out
}

func processNames() []string {
	var out []string
	files, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, f := range files {
		out = append(out, strings.TrimSpace(text(f)))
	}
	return out
}

func links() []string {
	var out []string
	for line := range strings.Lines(text("/proc/self/net/dev")) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			out = append(out, strings.TrimSpace(name))
		}
	}
	return out
}

func list(dir string) []string {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	return names
}

// try makes one system call that a default container must not be allowed, and prints how it ended.
func try(name string) {
	calls := map[string]func() error{
		"mount":   func() error { return syscall.Mount("tmpfs", "/tmp", "tmpfs", 0, "") },
		"unshare": func() error { return syscall.Unshare(syscall.CLONE_NEWUSER) },
		"mknod":   func() error { return syscall.Mknod("/tmp/node", syscall.S_IFBLK|0o600, 8<<8) },
		"reboot":  func() error { return syscall.Reboot(syscall.LINUX_REBOOT_CMD_CAD_OFF) },
		"afalg":   func() error { fd, err := syscall.Socket(38, syscall.SOCK_SEQPACKET, 0); closeIf(fd, err); return err },
		"raw": func() error {
			fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_ICMP)
			closeIf(fd, err)
			return err
		},
		"write": func() error { return os.WriteFile("/probe", []byte("x"), 0o600) },
		"proc":  func() error { return os.WriteFile("/proc/sys/kernel/domainname", []byte("x"), 0) },
	}
	call, ok := calls[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "no such call")
		os.Exit(2)
	}
	if err := call(); err != nil {
		fmt.Println(name+":", err)
		return
	}
	fmt.Println(name + ": done")
}

func closeIf(fd int, err error) {
	if err == nil {
		_ = syscall.Close(fd)
	}
}
