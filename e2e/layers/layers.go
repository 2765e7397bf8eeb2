// Package layers holds the project to its eight arrows: which package may import which. It reads the import statements itself, in this
// process, so that a cached test result is never served after a file has changed.
package layers

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Import is one import statement.
type Import struct {
	// Package is the importing folder below the module's root, with forward slashes: "runtime/keeper".
	Package string
	// Path is what is imported; ours begin with the module's name.
	Path string
	// File and Line are where it stands. Test is true in a _test.go file.
	File string
	Line int
	Test bool
}

// String is FILE:LINE: PACKAGE imports PATH.
func (i Import) String() string {
	return fmt.Sprintf("%s:%d: %s imports %s", i.File, i.Line, i.Package, i.Path)
}

// Read lists every import of the module below root.
func Read(root string) ([]Import, error) {
	var out []Import
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); p != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		found, err := readFile(root, p)
		out = append(out, found...)
		return err
	})
	return out, err
}

func readFile(root, p string) ([]Import, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, p, nil, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(root, p)
	if err != nil {
		return nil, err
	}
	rel = filepath.ToSlash(rel)
	var out []Import
	for _, spec := range file.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		out = append(out, Import{
			Package: path.Dir(rel), Path: target, File: rel, Line: set.Position(spec.Pos()).Line, Test: strings.HasSuffix(rel, "_test.go"),
		})
	}
	return out, nil
}

// Check returns the broken rule of each import that breaks one.
func Check(module string, imports []Import) []string {
	var out []string
	for _, i := range imports {
		for _, r := range rules {
			if r.tests || !i.Test {
				if why := r.broken(module, i); why != "" {
					out = append(out, i.String()+": "+why)
				}
			}
		}
	}
	return out
}

// below says whether p is dir or below it.
func below(p string, dirs ...string) bool {
	for _, d := range dirs {
		if p == d || strings.HasPrefix(p, d+"/") {
			return true
		}
	}
	return false
}
