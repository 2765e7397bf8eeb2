package security

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A compiled filter:
//
//	load arch        not this machine's → ENOSYS
//	load nr          x32 bit set        → ENOSYS      (amd64)
//	binary search over the number line, cut into ranges with the same rule
//	  range → return action
//	  call  → argument tests in the order of the profile, the first that holds decides → return action

// Offsets in struct seccomp_data. Both architectures are little endian: the low half of an argument comes first.
const (
	offsetNR   = 0
	offsetArch = 4
	offsetArgs = 16
)

const (
	// maxInstructions is the kernel's limit (BPF_MAXINSNS).
	maxInstructions = 4096
	// foreignCall is the answer to calls of another architecture or of x32: what a kernel without them says.
	foreignCall = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	// farthest is how far a conditional jump reaches.
	farthest = 255
)

// syscallNumber is one entry of syscallTable.
type syscallNumber struct {
	name string
	nr   uint32
}

// rule is what happens to one call: conditions in order, then the action when none holds.
type rule struct {
	conditions []condition
	action     uint32
}

// condition holds when all its tests do.
type condition struct {
	tests  []specs.LinuxSeccompArg
	action uint32
}

// compile turns a resolved profile into a filter.
func compile(profile *specs.LinuxSeccomp) ([]byte, error) {
	fallback, err := action(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		return nil, fmt.Errorf("defaultAction: %w", err)
	}
	rules, err := rulesOf(profile, fallback)
	if err != nil {
		return nil, err
	}
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: nativeArch, SkipTrue: 1},
		bpf.RetConstant{Val: foreignCall},
		bpf.LoadAbsolute{Off: offsetNR, Size: 4},
	}
	if x32Bit != 0 {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: x32Bit, SkipFalse: 1},
			bpf.RetConstant{Val: foreignCall},
		)
	}
	program = append(program, search(split(rules, fallback))...)
	if len(program) > maxInstructions {
		return nil, fmt.Errorf("it needs %d instructions, the kernel takes %d", len(program), maxInstructions)
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, err
	}
	return encode(raw), nil
}

// rulesOf collects what a profile says about each call this machine has. A conditional rule is asked in the order of the profile and before
// every unconditional one; of several unconditional actions the strictest counts.
func rulesOf(profile *specs.LinuxSeccomp, fallback uint32) (map[uint32]*rule, error) {
	rules := map[uint32]*rule{}
	decided := map[uint32]bool{}
	for _, call := range profile.Syscalls {
		act, err := action(call.Action, call.ErrnoRet)
		if err != nil {
			return nil, fmt.Errorf("action for %s: %w", strings.Join(call.Names, ", "), err)
		}
		for _, name := range call.Names {
			nr, ok := numberOf(name)
			if !ok {
				if stricter(act, fallback) && !knownElsewhere(name) {
					return nil, fmt.Errorf("it denies %q, which is not the name of a system call", name)
				}
				continue // not on this architecture
			}
			r := rules[nr]
			if r == nil {
				r = &rule{action: fallback}
				rules[nr] = r
			}
			if len(call.Args) > 0 {
				r.conditions = append(r.conditions, conditionsOf(call.Args, act)...)
			} else if !decided[nr] || stricter(act, r.action) {
				r.action, decided[nr] = act, true
			}
		}
		if err := checkArgs(call.Args); err != nil {
			return nil, fmt.Errorf("arguments of %s: %w", strings.Join(call.Names, ", "), err)
		}
	}
	return rules, nil
}

// conditionsOf reads the tests of one rule: all must hold, unless two speak of the same argument, in which case any is enough. That is how
// other runtimes read profiles.
func conditionsOf(args []specs.LinuxSeccompArg, act uint32) []condition {
	seen := map[uint]bool{}
	for _, a := range args {
		if !seen[a.Index] {
			seen[a.Index] = true
			continue
		}
		var alternatives []condition
		for _, a := range args {
			alternatives = append(alternatives, condition{[]specs.LinuxSeccompArg{a}, act})
		}
		return alternatives
	}
	return []condition{{args, act}}
}

func checkArgs(args []specs.LinuxSeccompArg) error {
	for _, a := range args {
		if a.Index > 5 {
			return fmt.Errorf("there is no argument %d", a.Index)
		}
		if _, err := test(a, 0); err != nil {
			return err
		}
	}
	return nil
}

func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	value := uint32(unix.EPERM)
	if errno != nil {
		if *errno > 4095 {
			return 0, fmt.Errorf("errno %d is out of range", *errno)
		}
		value = uint32(*errno)
	}
	switch a {
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | value, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | value, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	default: // specs.ActNotify: berth has nobody to ask
		return 0, fmt.Errorf("%q is not supported", a)
	}
}

// stricter compares actions as the kernel does: as signed numbers without their data, the smaller one wins.
func stricter(a, b uint32) bool {
	return int32(a&unix.SECCOMP_RET_ACTION_FULL) < int32(b&unix.SECCOMP_RET_ACTION_FULL)
}

func numberOf(name string) (uint32, bool) {
	i, ok := slices.BinarySearchFunc(syscallTable, name, func(s syscallNumber, name string) int { return strings.Compare(s.name, name) })
	if !ok {
		return 0, false
	}
	return syscallTable[i].nr, true
}

// knownElsewhere says whether the default profile, which speaks for all architectures, has this name.
func knownElsewhere(name string) bool {
	for _, call := range seccomp.DefaultProfile().Syscalls {
		if slices.Contains(call.Names, name) {
			return true
		}
	}
	return false
}

// span is a part of the number line from a call number up to the next span's.
type span struct {
	from uint32
	rule rule
}

// split cuts the number line into spans, neighbours with the same plain action in one.
func split(rules map[uint32]*rule, fallback uint32) []span {
	numbers := make([]uint32, 0, len(rules))
	for nr := range rules {
		numbers = append(numbers, nr)
	}
	slices.Sort(numbers)
	var spans []span
	add := func(from uint32, r rule) {
		if n := len(spans); n > 0 && len(r.conditions) == 0 && len(spans[n-1].rule.conditions) == 0 && spans[n-1].rule.action == r.action {
			return
		}
		spans = append(spans, span{from, r})
	}
	next := uint32(0)
	for _, nr := range numbers {
		if nr > next {
			add(next, rule{action: fallback})
		}
		add(nr, *rules[nr])
		next = nr + 1
	}
	add(next, rule{action: fallback})
	return spans
}

// search finds the span of the number in the accumulator.
func search(spans []span) []bpf.Instruction {
	if len(spans) == 1 {
		return decide(spans[0].rule)
	}
	middle := len(spans) / 2
	low, high := search(spans[:middle]), search(spans[middle:])
	jump := []bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: spans[middle].from, SkipTrue: uint8(min(len(low), farthest))}}
	if len(low) > farthest {
		jump = []bpf.Instruction{
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: spans[middle].from, SkipFalse: 1},
			bpf.Jump{Skip: uint32(len(low))},
		}
	}
	return slices.Concat(jump, low, high)
}

// decide tests the arguments of a call and returns. Its conditions are laid out from the last to the first, because a failed test jumps
// forward over the rest of its own condition.
func decide(r rule) []bpf.Instruction {
	code := []bpf.Instruction{bpf.RetConstant{Val: r.action}}
	for _, c := range slices.Backward(r.conditions) {
		body := []bpf.Instruction{bpf.RetConstant{Val: c.action}}
		for _, a := range slices.Backward(c.tests) {
			t, _ := test(a, len(body)) // checkArgs has tried them all
			body = append(t, body...)
		}
		code = append(body, code...)
	}
	return code
}

var errTooLong = errors.New("a rule has too many arguments")

// test compares one 64-bit argument, in halves; when the comparison fails it skips the following instructions.
func test(a specs.LinuxSeccompArg, following int) ([]bpf.Instruction, error) {
	low, high := uint32(a.Value), uint32(a.Value>>32)
	at := uint32(offsetArgs + 8*a.Index)
	loadLow, loadHigh := bpf.LoadAbsolute{Off: at, Size: 4}, bpf.LoadAbsolute{Off: at + 4, Size: 4}
	if following+6 > farthest {
		return nil, errTooLong
	}
	f := uint8(following)
	// ordered: the high halves decide unless they are equal, then the low ones do.
	ordered := func(wantGreater bool, lowTest bpf.JumpIf) []bpf.Instruction {
		first := bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: high, SkipTrue: 3} // greater: the test holds
		second := bpf.JumpIf{Cond: bpf.JumpEqual, Val: high, SkipFalse: f + 2} // less: it fails
		if !wantGreater {
			first = bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: high, SkipTrue: f + 3}
			second = bpf.JumpIf{Cond: bpf.JumpEqual, Val: high, SkipFalse: 2}
		}
		return []bpf.Instruction{loadHigh, first, second, loadLow, lowTest}
	}
	switch a.Op {
	case specs.OpEqualTo:
		return []bpf.Instruction{
			loadHigh,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: high, SkipFalse: f + 2},
			loadLow,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: low, SkipFalse: f},
		}, nil
	case specs.OpNotEqual:
		return []bpf.Instruction{
			loadHigh,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: high, SkipFalse: 2},
			loadLow,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: low, SkipTrue: f},
		}, nil
	case specs.OpMaskedEqual:
		return []bpf.Instruction{
			loadHigh,
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: high},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(a.ValueTwo >> 32), SkipFalse: f + 3},
			loadLow,
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: low},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(a.ValueTwo), SkipFalse: f},
		}, nil
	case specs.OpGreaterThan:
		return ordered(true, bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: low, SkipFalse: f}), nil
	case specs.OpGreaterEqual:
		return ordered(true, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: low, SkipFalse: f}), nil
	case specs.OpLessThan:
		return ordered(false, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: low, SkipTrue: f}), nil
	case specs.OpLessEqual:
		return ordered(false, bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: low, SkipTrue: f}), nil
	}
	return nil, fmt.Errorf("operator %q is not supported", a.Op)
}
