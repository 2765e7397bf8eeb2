package keeper

import (
	"os"
	"strconv"
)

// init takes over before main and nearly every other package are initialised, when the command line asks for the keeper. As pid 1 of a
// container this binary was never asked for by the path of a running process: an image tries to get at berth through /proc/self/exe.
func init() {
	if len(os.Args) > 0 && os.Getpid() == 1 && len(os.Args[0]) > 6 && os.Args[0][:6] == "/proc/" {
		os.Exit(126)
	}
	if len(os.Args) > 1 && os.Args[1] == "keeper" {
		os.Exit(run(os.Args))
	}
}

// arguments of the command line.
type arguments struct {
	argv0   string
	runDir  string
	cgroups []string
	ready   int // descriptor that is told the outcome of the start; -1 for none
	detach  bool
	probe   bool
}

const usage = "usage: berth keeper --run-dir DIR [--cgroup FILE]… [--detach] [--ready-fd N] | --probe\n"

func parse(argv []string) (arguments, bool) {
	a := arguments{argv0: argv[0], ready: -1}
	for i := 2; i < len(argv); i++ {
		switch argv[i] {
		case "--detach":
			a.detach = true
			continue
		case "--probe":
			a.probe = true
			continue
		}
		if i+1 == len(argv) {
			return a, false
		}
		v := argv[i+1]
		switch argv[i] {
		case "--run-dir":
			a.runDir = v
		case "--cgroup":
			a.cgroups = append(a.cgroups, v)
		case "--ready-fd":
			n, err := strconv.Atoi(v)
			if err != nil || n < 3 {
				return a, false
			}
			a.ready = n
		default:
			return a, false
		}
		i++
	}
	return a, a.probe || len(a.runDir) > 1 && a.runDir[0] == '/' && below("", a.runDir)
}

// run is the whole process: its result is the exit status.
func run(argv []string) int {
	a, ok := parse(argv)
	switch {
	case !ok:
		_, _ = os.Stderr.WriteString(usage) // the exit status says it too
		return 2
	case a.probe:
		if _, err := os.Stdout.WriteString(probeText() + "\n"); err != nil {
			return 1
		}
		return 0
	case os.Getenv(stageEnv) != "":
		return serve(a)
	case a.detach:
		return detach(a, argv)
	}
	return enter(a)
}

// probeText says which state of another keeper this binary can take over.
func probeText() string { return "berth-keeper-state " + strconv.Itoa(stateVersion) }
