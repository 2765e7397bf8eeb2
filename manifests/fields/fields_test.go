package fields_test

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"berth/manifests/fields"
)

var update = flag.Bool("update", false, "write FIELDS.md and the counts in README.md")

const root = "../.."

// Each row says enough: what is not honoured, why; what is, which test would notice. No two rows speak of the same.
func TestRowsAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range fields.Rows() {
		if at := r.Type + " " + r.Name(); seen[at] {
			t.Errorf("two rows about %s", at)
		} else {
			seen[at] = true
		}
		if r.Verdict == fields.Honoured && r.Test == "" {
			t.Errorf("%s is honoured, and no test is named that would notice if it were not", r.Name())
		}
		if r.Verdict != fields.Honoured && r.Text == "" {
			t.Errorf("%s is %s, and nobody is told why", r.Name(), r.Verdict)
		}
		if strings.ContainsAny(r.Text, "|\n") {
			t.Errorf("%s: the text would break the document: %q", r.Name(), r.Text)
		}
	}
}

// The tests that rows name exist: the function, and the case where one is named.
func TestNamedTestsExist(t *testing.T) {
	folders := testNames(t)
	for _, r := range fields.Rows() {
		if r.Test == "" {
			continue
		}
		folder, name := "", r.Test
		if i := strings.Index(r.Test, ".Test"); i >= 0 && !strings.HasPrefix(r.Test, "Test") {
			folder, name = r.Test[:i], r.Test[i+1:]
		}
		name, sub, _ := strings.Cut(name, "/")
		found := folders[name]
		if folder != "" {
			found = map[string]map[string]bool{folder: found[folder]}
		}
		if len(found) > 1 {
			t.Errorf("%s: there is a %s in more than one package: name its folder", r.Name(), name)
		}
		for _, words := range found {
			switch {
			case words == nil:
				t.Errorf("%s: there is no test %s in %s", r.Name(), name, folder)
			case sub != "" && !words[sub]:
				t.Errorf("%s: %s has no case %q", r.Name(), name, sub)
			}
		}
		if len(found) == 0 {
			t.Errorf("%s: there is no test %s", r.Name(), name)
		}
	}
}

// testNames finds the test functions of the whole project by name and folder, each with the strings that stand in its file.
func testNames(t *testing.T) map[string]map[string]map[string]bool {
	t.Helper()
	found := map[string]map[string]map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		words := map[string]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					words[s] = true
				}
			}
			return true
		})
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			if found[f.Name.Name] == nil {
				found[f.Name.Name] = map[string]map[string]bool{}
			}
			found[f.Name.Name][filepath.ToSlash(folder)] = words
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// FIELDS.md is made from the table, and README.md has its counts.
func TestDocument(t *testing.T) {
	if testing.Short() && !*update {
		t.Skip("-short: that the documents are fresh is not looked at")
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	const before, after = "<!-- fields -->", "<!-- /fields -->"
	head, rest, ok := strings.Cut(string(readme), before)
	_, tail, ok2 := strings.Cut(rest, after)
	if !ok || !ok2 {
		t.Fatalf("README.md has no %s … %s", before, after)
	}
	for path, want := range map[string]string{
		"FIELDS.md":                      fields.Document(),
		filepath.Join(root, "README.md"): head + before + fields.Summary() + after + tail,
	} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is stale (%v): run go generate ./manifests/fields", filepath.Base(path), err)
		}
	}
}
