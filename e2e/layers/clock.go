package layers

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
)

// clockCalls are the functions of package time that look at the clock or wait for it.
var clockCalls = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true, "Tick": true, "NewTimer": true, "NewTicker": true,
}

// ClockUses lists where the folder's files, tests left out, look at the clock: a decision gets its time as an input.
func ClockUses(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return err
		}
		found, err := clockUsesOf(p, nil)
		out = append(out, found...)
		return err
	})
	return out, err
}

func clockUsesOf(file string, source any) ([]string, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var out []string
	ast.Inspect(tree, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" && clockCalls[sel.Sel.Name] {
				out = append(out, fmt.Sprintf("%s: time.%s: a decision gets its time as an input", set.Position(sel.Pos()), sel.Sel.Name))
			}
		}
		return true
	})
	return out, nil
}
