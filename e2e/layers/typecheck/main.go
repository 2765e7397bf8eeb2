// Command typecheck looks whether every package of this module, tests included, is valid Go for another processor. It compiles nothing: to build all of
// Kubernetes a second time, as `go vet` would, takes ten times as long and says no more.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// listed is what `go list` says of a package.
type listed struct {
	Dir, ImportPath, Name string
	GoFiles               []string
	ImportMap             map[string]string
	Module                *struct{ Main bool }
	Error                 *struct{ Err string }

	files []*ast.File
	err   error
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: typecheck GOARCH")
		os.Exit(2)
	}
	n, err := check(os.Args[1])
	if err != nil {
		fmt.Fprintf(os.Stderr, "typecheck for %s:\n%v\n", os.Args[1], err)
		os.Exit(1)
	}
	fmt.Printf("%d packages are valid for %s\n", n, os.Args[1])
}

// check returns how many packages of this module it has looked at.
func check(arch string) (int, error) {
	all, err := list(arch)
	if err != nil {
		return 0, err
	}
	set := token.NewFileSet()
	parse(set, all)
	done := map[string]*types.Package{"unsafe": types.Unsafe}
	ours := 0
	var errs []error
	for _, p := range all {
		if p.ImportPath == "unsafe" || strings.HasSuffix(p.ImportPath, ".test") { // that one `go test` writes
			continue
		}
		var found []error
		config := types.Config{
			Importer: imports{p.ImportMap, done}, Sizes: types.SizesFor("gc", arch), IgnoreFuncBodies: p.Module == nil || !p.Module.Main,
			Error: func(err error) { found = append(found, err) },
		}
		path, _, _ := strings.Cut(p.ImportPath, " ") // what follows names the test it is for
		done[p.ImportPath], _ = config.Check(path, set, p.files, nil)
		p.files = nil
		if p.Module != nil && p.Module.Main {
			ours++
			errs = append(errs, append(found, p.err)...)
		}
	}
	return ours, errors.Join(errs...)
}

// imports finds what a package imports among what is checked.
type imports struct {
	names map[string]string
	done  map[string]*types.Package
}

func (i imports) Import(path string) (*types.Package, error) {
	if other, ok := i.names[path]; ok {
		path = other
	}
	if p := i.done[path]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%s is not there", path)
}

// list gives the packages of this module and all that they import, what is imported first.
func list(arch string) ([]*listed, error) {
	cmd := exec.Command("go", "list", "-deps", "-test", "-json=Dir,ImportPath,Name,GoFiles,ImportMap,Module,Error", "./...")
	cmd.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot list packages: %w", err)
	}
	var all []*listed
	for d := json.NewDecoder(out); ; {
		p := &listed{}
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("cannot read what go list says: %w", err)
		}
		if p.Error != nil {
			return nil, errors.New(p.Error.Err)
		}
		all = append(all, p)
	}
	return all, cmd.Wait()
}

// parse reads the files of all packages, several at a time.
func parse(set *token.FileSet, all []*listed) {
	var group sync.WaitGroup
	queue := make(chan *listed)
	for range 4 {
		group.Go(func() {
			for p := range queue {
				for _, name := range p.GoFiles {
					if !filepath.IsAbs(name) {
						name = filepath.Join(p.Dir, name)
					}
					file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
					p.files, p.err = append(p.files, file), errors.Join(p.err, err)
				}
				if p.Module == nil || !p.Module.Main {
					p.files = withoutBodies(p.files)
				}
			}
		})
	}
	for _, p := range all {
		queue <- p
	}
	close(queue)
	group.Wait()
}

// withoutBodies drops what other people's functions do: it is not looked at, and takes most of the memory.
func withoutBodies(files []*ast.File) []*ast.File {
	for _, f := range files {
		for _, d := range f.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				f.Body = nil
			}
		}
	}
	return files
}
