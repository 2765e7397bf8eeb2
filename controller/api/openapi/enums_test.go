package openapi

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The table of enumerations says what the comments and constants of Kubernetes' own types say: a type marked +enum has its constants as values.
func TestEnums(t *testing.T) {
	want := map[string][]string{}
	for module, below := range map[string]string{"k8s.io/api": "*/*", "k8s.io/apimachinery": "pkg/apis/meta/v1"} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			t.Fatalf("cannot find the module %s: %v", module, err)
		}
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), below, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files of %s: %v", module, err)
		}
		for _, path := range files {
			if dir := filepath.Dir(path); served[filepath.Base(filepath.Dir(dir))+"/"+filepath.Base(dir)] && !strings.HasSuffix(path, "_test.go") {
				enumsOf(t, path, want)
			}
		}
	}
	for _, values := range want {
		slices.Sort(values)
	}
	if diff := cmp.Diff(want, enums); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// served are the packages of the kinds that berth serves, and of what is in them.
var served = map[string]bool{
	"core/v1": true, "apps/v1": true, "batch/v1": true, "autoscaling/v1": true, "autoscaling/v2": true, "networking/v1": true, "policy/v1": true,
	"rbac/v1": true, "storage/v1": true, "scheduling/v1": true, "coordination/v1": true, "node/v1": true, "discovery/v1": true, "events/v1": true,
	"authentication/v1": true, "authorization/v1": true, "meta/v1": true,
}

// enumsOf adds the constants of a file to the types that are marked, in this file or one before.
func enumsOf(t *testing.T, path string, all map[string][]string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	pkg := filepath.Base(filepath.Dir(dir)) + "/" + filepath.Base(dir) + "."
	marked := map[string]bool{}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, s := range g.Specs {
			ts := s.(*ast.TypeSpec)
			if slices.ContainsFunc([]*ast.CommentGroup{g.Doc, ts.Doc}, func(c *ast.CommentGroup) bool { return c != nil && hasMark(c) }) {
				marked[ts.Name.Name] = true
			}
		}
	}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			typ := v.Type
			for _, e := range v.Values {
				if call, ok := e.(*ast.CallExpr); ok { // a constant as a conversion
					typ, e = call.Fun, call.Args[0]
				}
				if name, ok := typ.(*ast.Ident); ok && marked[name.Name] {
					all[pkg+name.Name] = append(all[pkg+name.Name], constant(t, e))
				}
			}
		}
	}
}

// constant is the value of an expression. Those of other packages are the two that there are.
func constant(t *testing.T, e ast.Expr) string {
	t.Helper()
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		if err != nil {
			t.Fatal(err)
		}
		return text
	case *ast.SelectorExpr:
		return strings.TrimSuffix(e.Sel.Name, "Protocol") // v1.IPv4Protocol, v1.IPv6Protocol
	}
	t.Errorf("cannot read the constant %v", e)
	return ""
}

func hasMark(c *ast.CommentGroup) bool {
	return slices.ContainsFunc(c.List, func(l *ast.Comment) bool {
		return strings.TrimSpace(strings.TrimPrefix(l.Text, "//")) == "+enum"
	})
}
