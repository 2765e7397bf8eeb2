package isolate

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// LanesVar is how many tests run at once; 1 runs them one after the other in one process, its output as it comes.
const LanesVar = "BERTH_E2E_LANES"

// Order says when the tests run that are not like the others.
type Order struct {
	// First are the long ones: they begin before the rest, so that in the end no lane waits for one of them.
	First []string
	// Alone are those that measure load or time: they run after the rest, one at a time.
	Alone []string
}

// Tests is Main for a test program: several of its tests run at once, each in a process, namespaces and cgroups of its own, which is
// what keeps them apart. What a test prints comes out in one piece when it has ended. The flags of `go test` mean what they always
// mean; one test, a subtest, a benchmark or a profile is run as Main does it.
func Tests(prepare func() error, tests func() int, order Order) int {
	n := lanes()
	if n == 1 || os.Getenv(stageVar) != "" || os.Getenv(SwitchVar) == "0" {
		return Main(prepare, tests)
	}
	Root()
	flag.Parse()
	if !divisible() {
		return Main(prepare, tests)
	}
	names, err := list()
	if err == nil && setting("run") == "" {
		err = order.check(names)
	}
	if err != nil {
		return report(0, err)
	}
	if len(names) < 2 {
		return Main(prepare, tests)
	}
	if prepare != nil {
		err = prepare()
	}
	if err := errors.Join(err, sweep(time.Now())); err != nil {
		return report(0, err)
	}
	together, alone := order.parts(names)
	return newBoard().run(together, alone, n)
}

// lanes is twice the number of processors when nobody says otherwise: a test waits most of the time.
func lanes() int {
	if n, err := strconv.Atoi(os.Getenv(LanesVar)); err == nil && n > 0 {
		return n
	}
	return 2 * runtime.NumCPU()
}

// setting is the value of one of the flags of package testing; "" for what this version of it does not know.
func setting(name string) string {
	if f := flag.Lookup("test." + name); f != nil {
		return f.Value.String()
	}
	return ""
}

// divisible tells whether what the flags ask for can be done one test at a time: no subtest is chosen, and no file written for the whole run.
func divisible() bool {
	for _, name := range []string{"list", "bench", "fuzz", "cpuprofile", "memprofile", "blockprofile", "mutexprofile", "trace", "coverprofile", "gocoverdir"} {
		if setting(name) != "" {
			return false
		}
	}
	return !strings.Contains(setting("run"), "/")
}

// with gives the program's own arguments with flags that take the place of earlier ones.
func with(flags ...string) []string {
	at := len(os.Args) - flag.NArg()
	if os.Args[at-1] == "--" {
		at--
	}
	return slices.Concat(os.Args[1:at], flags, os.Args[at:])
}

// list asks the program for the tests that the flags select.
func list() ([]string, error) {
	pattern := setting("run")
	if pattern == "" {
		pattern = "."
	}
	cmd := again("list", with("-test.list="+pattern))
	var out bytes.Buffer
	cmd.Stdout = &out
	code, err := run(cmd)
	if code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the tests: %w", err)
	}
	var names []string
	for line := range strings.Lines(out.String()) {
		if name := strings.TrimSpace(line); !strings.HasPrefix(name, "Benchmark") {
			names = append(names, name)
		}
	}
	return names, nil
}

// check refuses names that no test has.
func (o Order) check(names []string) error {
	for _, name := range slices.Concat(o.First, o.Alone) {
		if !slices.Contains(names, name) {
			return fmt.Errorf("no test is called %s", name)
		}
	}
	return nil
}

// parts divides names into those that run together, in the order in which they begin, and those that run alone.
func (o Order) parts(names []string) (together, alone []string) {
	var rest []string
	for _, name := range names {
		switch {
		case slices.Contains(o.Alone, name):
			alone = append(alone, name)
		case !slices.Contains(o.First, name):
			rest = append(rest, name)
		}
	}
	for _, name := range o.First {
		if slices.Contains(names, name) {
			together = append(together, name)
		}
	}
	return append(together, rest...), alone
}

// board is where the lanes get their tests from and hang out what came of them.
type board struct {
	out      io.Writer
	deadline time.Time // zero for none
	code     atomic.Int32

	mu sync.Mutex // one test's output at a time
}

func newBoard() *board {
	b := &board{out: os.Stdout}
	if d, err := time.ParseDuration(setting("timeout")); err == nil && d > 0 {
		b.deadline = time.Now().Add(d)
	}
	return b
}

// run has n lanes take the tests that run together, one lane those that run alone, and prints the verdict.
func (b *board) run(together, alone []string, n int) int {
	shuffle(b.out, together, alone)
	for _, part := range []struct {
		names []string
		lanes int
	}{{together, n}, {alone, 1}} {
		queue := make(chan string, len(part.names))
		for _, name := range part.names {
			queue <- name
		}
		close(queue)
		var group sync.WaitGroup
		for range part.lanes {
			group.Go(func() { b.lane(queue) })
		}
		group.Wait()
	}
	verdict := "PASS"
	if b.code.Load() != 0 {
		verdict = "FAIL"
	}
	if setting("v") == "test2json" {
		verdict = "\x16" + verdict
	}
	fmt.Fprintln(b.out, verdict)
	return int(b.code.Load())
}

// shuffle does what -test.shuffle asks for, as package testing does it.
func shuffle(out io.Writer, parts ...[]string) {
	how := setting("shuffle")
	if how == "off" || how == "" {
		return
	}
	seed, err := strconv.ParseInt(how, 10, 64)
	if err != nil {
		seed = time.Now().UnixNano()
	}
	fmt.Fprintln(out, "-test.shuffle", seed)
	rnd := rand.New(rand.NewPCG(uint64(seed), 0))
	for _, part := range parts {
		rnd.Shuffle(len(part), func(i, k int) { part[i], part[k] = part[k], part[i] })
	}
}

func (b *board) lane(queue <-chan string) {
	for name := range queue {
		if b.code.Load() != 0 && setting("failfast") == "true" {
			return
		}
		flags := []string{"-test.run=^" + name + "$", "-test.shuffle=off"}
		if !b.deadline.IsZero() {
			left := time.Until(b.deadline)
			if left <= 0 {
				b.hang(name, "", 1, errors.New("no time is left to begin it"))
				continue
			}
			flags = append(flags, "-test.timeout="+left.String())
		}
		var text bytes.Buffer
		code, err := outer(&text, &text, with(flags...))
		b.hang(name, text.String(), code, err)
	}
}

// closing is what a process prints after its one test: the verdict is printed once, by the board. A test that -test.skip names is none.
var closing = regexp.MustCompile(`(?m)\A(testing: warning: no tests to run\n)|^\x16?(PASS|FAIL)\n\z`)

// hang prints what one test has printed, and remembers how it ended.
func (b *board) hang(name, text string, code int, err error) {
	if err != nil {
		text += fmt.Sprintf("isolate: %v\n", err)
		code = max(code, 1)
	}
	text = closing.ReplaceAllString(text, "")
	if code != 0 && !strings.Contains(text, "--- FAIL: "+name) {
		text += fmt.Sprintf("--- FAIL: %s (it ended with %d)\n", name, code)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = io.WriteString(b.out, text)
	b.code.CompareAndSwap(0, int32(code))
}
