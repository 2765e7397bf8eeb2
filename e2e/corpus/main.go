// Command corpus runs manifests that others wrote, unchanged, one file after the other, and counts the pods that come to run: in what berth
// says, and as processes of the kernel. A stand-in registry answers every image name with an image that keeps the manifest's commands, ports and
// probes working; nothing that a manifest brings along is executed.
//
//	go run ./e2e/corpus [-only TEXT] DIR
//
// DIR has valid/index.tsv, a table with the columns file, pods, tier, refs_not_in_file and outside_needs, and the files it names. Files that
// refer to what is not in them, or need what one machine has not, are counted apart. It needs root and takes about a second a file.
package main

import (
	"bytes"
	"encoding/csv"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"berth/e2e/harness"
	"berth/e2e/images"
	"berth/e2e/isolate"
	"berth/e2e/registry"
)

// patience is how long the pods of one file may take to run.
const patience = 15 * time.Second

func main() {
	only := flag.String("only", "", "files whose path has this in it")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "corpus: name the directory of the corpus")
		os.Exit(1)
	}
	dir, err := filepath.Abs(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(1)
	}
	os.Exit(isolate.Main(prepare, func() int { return run(dir, *only) }))
}

func prepare() error {
	if err := harness.Build(); err != nil {
		return err
	}
	set, err := images.Open()
	if err != nil {
		return err
	}
	_, err = set.StandInBase()
	return err
}

// row is one line of the index.
type row struct {
	file, tier, refs, outside string
	pods                      int
}

func run(dir, only string) int {
	rows, err := index(filepath.Join(dir, "valid", "index.tsv"))
	if err == nil {
		err = ownRoot()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		return 1
	}
	set, err := images.Open()
	if err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		return 1
	}
	// The programs were built outside, and are found there.
	_ = os.Setenv(images.CacheVar, set.Dir())
	t := &harness.Runner{Title: "corpus"}
	t.Run(func() { runAll(t, set, dir, only, rows) })
	if t.Failed() {
		return 1
	}
	return 0
}

func runAll(t *harness.Runner, set *images.Set, dir, only string, rows []row) {
	base, err := set.StandInBase()
	if err != nil {
		t.Fatalf("%v", err)
	}
	reg, err := registry.Start()
	if err != nil {
		t.Fatalf("%v", err)
	}
	b := harness.New(t)
	text := fmt.Sprintf("mirrors:\n  \"*\":\n    endpoint: [\"http://%s\"]\n", reg.Host)
	if err := os.WriteFile(mirrorsFile(b), []byte(text), 0o644); err != nil {
		t.Fatalf("%v", err)
	}
	b.Up("--registries", mirrorsFile(b), "--allow-prune", "--prune-delay", "20ms")
	r := newReport()
	for _, row := range rows {
		if !strings.Contains(row.file, only) {
			continue
		}
		switch {
		case row.pods == 0:
			r.apart("no pods")
		case row.outside != "-":
			r.apart("needs what one machine has not")
		case row.refs != "-" && !onlyAccounts(row.refs):
			r.apart("refers to what is not in the file")
		default:
			failure, last := one(b, reg, base, filepath.Join(dir, "valid", row.file), row.pods)
			if failure != "" && crowded(last) {
				r.apart("asks for more than this machine has left, and waits as on a cluster")
				continue
			}
			r.add(row, failure)
		}
	}
	fmt.Print(r)
}

func mirrorsFile(b *harness.Berth) string {
	return filepath.Join(filepath.Dir(b.State), "registries.yaml")
}

// onlyAccounts tells that what is missing are ServiceAccounts, which exist here without being declared.
func onlyAccounts(refs string) bool {
	return !slices.ContainsFunc(strings.Fields(refs), func(r string) bool { return !strings.HasPrefix(r, "ServiceAccount/") })
}

var pinned = regexp.MustCompile(`@sha256:[0-9a-f]{64}`)

// one runs one file and returns why it is not as it should be, or "".
func one(b *harness.Berth, reg *registry.Registry, base v1.Image, path string, want int) (failure string, last harness.Status) {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error(), last
	}
	data = pinned.ReplaceAll(data, nil) // nobody can make an image of a given digest
	refs, err := push(reg, base, data)
	if err != nil {
		return "the stand-in: " + err.Error(), last
	}
	pull := func(verb string) {
		if len(refs) > 0 {
			b.CLI(append([]string{"image", verb, "--registries", mirrorsFile(b)}, refs...)...)
		}
	}
	if bytes.Contains(data, []byte("imagePullPolicy: Never")) {
		pull("pull") // it is there when the manifest expects it to be
	}
	defer pull("rm") // another file has another image of this name
	name := "one" + filepath.Ext(path)
	b.Write(name, string(data))
	defer func() {
		b.Delete(name)
		b.UntilWithin(2*time.Minute, "the end of "+path, func() error {
			s, err := b.Look()
			if err == nil && len(s.Pods)+len(s.Workloads) > 0 {
				err = fmt.Errorf("%d pods are left", len(s.Pods))
			}
			return err
		})
	}()
	err = harness.Poll(patience, func() error {
		s, err := b.Look()
		if err != nil {
			return err
		}
		last = s
		if n := running(s); n < want || n > want && !over(s) {
			return fmt.Errorf("%d of %d pods run", n, want)
		}
		return nil
	})
	if err == nil {
		return "", last
	}
	return err.Error() + why(last), last
}

// crowded tells that all pods that do not run wait for room only.
func crowded(s harness.Status) bool {
	waits := 0
	for _, p := range s.Pods {
		switch {
		case p.Phase == "Pending" && strings.Contains(p.Message, "1 Insufficient "):
			waits++
		case p.Phase != "Running" && p.Phase != "Succeeded":
			return false
		}
	}
	return waits > 0
}

// over tells that Jobs are done whose pods came one after the other: more than ever ran at a time.
func over(s harness.Status) bool {
	undone := func(w harness.Workload) bool { return !w.Done }
	unsuccessful := func(p harness.Pod) bool { return p.Phase != "Succeeded" }
	return !slices.ContainsFunc(s.Workloads, undone) && !slices.ContainsFunc(s.Pods, unsuccessful)
}

// running counts the pods that run, whose processes the kernel has, and those that have done their work.
func running(s harness.Status) int {
	n := 0
	for _, p := range s.Pods {
		switch p.Phase {
		case "Succeeded":
			n++
		case "Running":
			alive := true
			for _, c := range p.Containers {
				if c.Init || c.PID == 0 && c.State == "Completed" {
					continue
				}
				_, err := os.Stat("/proc/" + strconv.Itoa(c.PID) + "/exe")
				alive = alive && c.PID > 0 && err == nil
			}
			if alive {
				n++
			}
		}
	}
	return n
}

func why(s harness.Status) string {
	reasons := map[string]bool{}
	for _, p := range s.Pods {
		if p.Phase == "Running" && p.Ready {
			continue
		}
		words := []string{p.Reason + ":", p.Message}
		for _, c := range p.Containers {
			if c.Message != "" {
				words = append(words, c.Name+": "+c.Message)
			}
		}
		reasons[strings.Join(words, " ")] = true
	}
	for _, f := range s.Faults {
		if f.Severity == "error" {
			reasons[f.Object+" "+f.Field+": "+f.Text] = true
		}
	}
	text := strings.Join(slices.Sorted(maps.Keys(reasons)), "; ")
	return ": " + text[:min(len(text), 400)]
}

// push puts the stand-ins of all images of a manifest into the registry, under the names that a mirror is asked for, and returns the
// references.
func push(reg *registry.Registry, base v1.Image, manifest []byte) (refs []string, err error) {
	all, err := parts(manifest)
	if err != nil {
		return nil, err
	}
	for ref, part := range all {
		img, err := part.Image(base)
		if err != nil {
			return nil, err
		}
		path, err := mirrored(ref)
		if err != nil {
			continue // a name that no registry takes: berth says so
		}
		if _, _, err := reg.Push(path, img); err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

func index(path string) ([]row, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the corpus: %w", err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes = '\t', true
	lines, err := r.ReadAll()
	if err != nil || len(lines) == 0 {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	column := map[string]int{}
	for i, name := range lines[0] {
		column[name] = i
	}
	var rows []row
	for _, l := range lines[1:] {
		n, err := strconv.Atoi(l[column["pods"]])
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", path, err)
		}
		rows = append(rows, row{l[column["file"]], l[column["tier"]], l[column["refs_not_in_file"]], l[column["outside_needs"]], n})
	}
	return rows, nil
}
