package manifests

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// corpusDir holds manifests of other people with what a real API server says about each. It lies beside the project, not in it.
const corpusDir = "../../shared/corpus"

type corpusCase struct {
	file, verdict    string
	field            string
	first, last      int // lines that are right; 0: any
	goodDocs, docsIn string
	why              string
}

func corpusIndex(t *testing.T, part string) []corpusCase {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(corpusDir, part, "index.tsv"))
	if os.IsNotExist(err) {
		t.Skipf("the corpus is not beside the project (%s): only the cases in testdata are tested", corpusDir)
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	columns := map[string]int{}
	for i, name := range strings.Split(lines[0], "\t") {
		columns[name] = i
	}
	var cases []corpusCase
	for _, l := range lines[1:] {
		row := strings.Split(l, "\t")
		get := func(name string) string {
			if i, ok := columns[name]; ok && i < len(row) {
				return row[i]
			}
			return ""
		}
		c := corpusCase{file: get("file"), verdict: get("verdict"), why: get("why"), field: get("field"), goodDocs: get("good_docs"), docsIn: get("good_docs_in_file")}
		c.first, _ = strconv.Atoi(get("line"))
		c.last = c.first
		if from, to, ok := strings.Cut(get("lines_ok"), "-"); ok && from != "" {
			c.first, _ = strconv.Atoi(from)
			c.last, _ = strconv.Atoi(to)
		}
		cases = append(cases, c)
	}
	return cases
}

func decodeCorpus(t *testing.T, part string, c corpusCase) (errs []Fault, d Decoded) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(corpusDir, part, c.file))
	if err != nil {
		t.Fatal(err)
	}
	d = Decode(c.file, data)
	for _, f := range d.Faults {
		if f.Severity == Error {
			errs = append(errs, f)
		}
	}
	return errs, d
}

func percent(t *testing.T, what string, good, all int, aim float64) {
	t.Helper()
	p := 100 * float64(good) / float64(max(all, 1))
	t.Logf("%s: %d of %d, %.1f %% (aim %.0f %%)", what, good, all, p, aim)
	if p < aim {
		t.Errorf("%s: %.1f %% is below %.0f %%", what, p, aim)
	}
}

func TestCorpusValid(t *testing.T) {
	good, all := 0, 0
	for _, part := range []string{"valid", "with-crds", "legacy-api"} {
		for _, c := range corpusIndex(t, part) {
			errs, d := decodeCorpus(t, part, c)
			if part == "valid" {
				all++
				if len(errs) == 0 && len(d.Objects)+len(d.Faults) > 0 {
					good++
				}
			}
			for _, f := range errs {
				t.Logf("%s/%s", part, f)
			}
		}
	}
	percent(t, "valid files accepted", good, all, 99)
}

func TestCorpusInvalid(t *testing.T) {
	refused, lines, all, allLines := 0, 0, 0, 0
	for _, part := range []string{"invalid", "edge"} {
		for _, c := range corpusIndex(t, part) {
			if c.file == "shape-removed-extensions.yaml" {
				continue // the corpus leaves the choice: it is read as the current version, with a warning
			}
			if strings.Contains(c.why, "expected an IPv6 value") {
				continue // a server of one family said so: which families there are only the machine knows, and there it is refused
			}
			errs, d := decodeCorpus(t, part, c)
			if c.verdict != "invalid" && part == "edge" {
				if len(errs) > 0 {
					t.Errorf("%s/%s: %s, but refused: %v", part, c.file, c.verdict, errs)
				}
				continue
			}
			all++
			if len(errs) == 0 {
				t.Errorf("%s/%s: accepted, although: %s", part, c.file, c.why)
				continue
			}
			refused++
			if want, err := strconv.Atoi(c.goodDocs); err == nil && want != len(d.Objects) {
				t.Errorf("%s/%s: %d good objects, want %d", part, c.file, len(d.Objects), want)
			}
			if c.first == 0 {
				continue
			}
			allLines++
			if hasLine(errs, c) {
				lines++
			} else {
				t.Logf("%s/%s: want line %d-%d (%s), got %v", part, c.file, c.first, c.last, c.why, errs)
			}
		}
	}
	percent(t, "invalid files refused", refused, all, 100)
	percent(t, "right line", lines, allLines, 95)
}

func hasLine(errs []Fault, c corpusCase) bool {
	for _, f := range errs {
		deeper := c.field != "-" && c.field != "" && strings.HasPrefix(f.Field, c.field+"[") // the very key is better than its map
		if f.Line >= c.first && f.Line <= c.last || deeper {
			return true
		}
	}
	return false
}
