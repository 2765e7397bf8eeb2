package manifests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// yamlTree parses one YAML document. offset is added to every line. The notes are about keys that stand twice.
func yamlTree(text []byte, offset int) (root *node, notes []Fault, fault *Fault) {
	if n := values(text); n > maxValues {
		return nil, nil, &Fault{
			Line: offset + 1, Text: fmt.Sprintf("holds about %d values: more than %d in one document are not read", n, maxValues),
			Remedy: "split it into several files",
		}
	}
	var doc yaml.Node
	parser := yaml.NewDecoder(bytes.NewReader(text))
	err := decodeYAML(parser, &doc)
	if errors.Is(err, io.EOF) {
		if bytes.Equal(bytes.TrimSpace(text), []byte("...")) {
			return nil, nil, nil
		}
		return nil, nil, &Fault{Line: offset + 1, Text: "cannot be read as YAML: it holds no value"}
	}
	if err != nil {
		return nil, nil, syntaxFault(text, err, offset)
	}
	b := treeBuilder{offset: offset, done: map[*yaml.Node]*node{}}
	root, err = b.build(&doc, 0)
	if err != nil {
		f := &Fault{Line: b.line + offset, Column: b.col, Text: err.Error()}
		return nil, nil, f
	}
	if err := b.checkAliases(root); err != nil {
		return nil, nil, &Fault{Line: offset + 1, Text: err.Error(), Remedy: "write the values out instead of *aliases of *aliases"}
	}
	if line := behind(parser); line > 0 {
		b.notes = append(b.notes, Fault{
			Line: line + offset, Severity: Warning, Text: "stands behind the end of the object above and is not read", Remedy: "write --- above it, or remove it",
		})
	}
	return root, b.notes, nil
}

// behind is the line of what is left when a document has been read, 0 when it is nothing. Kubernetes, too, reads no further.
func behind(parser *yaml.Decoder) int {
	next := &yaml.Node{Line: 1}
	err := decodeYAML(parser, next)
	if errors.Is(err, io.EOF) {
		return 0
	}
	if err != nil {
		if m := yamlErrorLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ := strconv.Atoi(m[1])
			return line + 1 // it counts from 0 here
		}
		return 1
	}
	for len(next.Content) > 0 {
		next = next.Content[0]
	}
	return next.Line
}

// maxValues bounds what parsing one document costs: about 400 bytes of memory each. Real ones have 10 to 10,000; 10 MiB of ordinary
// manifests in one List come to some 500,000.
const maxValues = 600_000

// values estimates how many values a document holds, from above: each is ended by a line feed, comma or colon, or is a bracket.
func values(text []byte) int {
	n := 0
	for _, sep := range []string{"\n", ",", ":", "[", "{"} {
		n += bytes.Count(text, []byte(sep))
	}
	if n <= maxValues {
		return n
	}
	for line := range bytes.Lines(text) { // comments and blank lines do not count
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			n -= 1 + bytes.Count(line, []byte(",")) + bytes.Count(line, []byte(":")) + bytes.Count(line, []byte("[")) + bytes.Count(line, []byte("{"))
		}
	}
	return n
}

// decodeYAML reads the next document and turns the parser's panics on odd input into errors.
func decodeYAML(parser *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	return parser.Decode(into)
}

type treeBuilder struct {
	offset    int
	done      map[*yaml.Node]*node // nil while a node is being built: an alias to it would be endless
	literal   int                  // nodes as written
	line, col int                  // of the last error
	notes     []Fault
}

func (b *treeBuilder) fail(y *yaml.Node, format string, args ...any) error {
	b.line, b.col = y.Line, y.Column
	return fmt.Errorf(format, args...)
}

func (b *treeBuilder) build(y *yaml.Node, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, b.fail(y, "is nested deeper than %d levels", maxDepth)
	}
	switch y.Kind {
	case yaml.DocumentNode:
		if len(y.Content) == 0 {
			return &node{shape: nullShape, line: 1 + b.offset, col: 1, size: 1, depth: 1}, nil
		}
		return b.build(y.Content[0], depth)
	case yaml.AliasNode:
		n, started := b.done[y.Alias]
		if n == nil && started {
			return nil, b.fail(y, "anchor %q contains itself", y.Value)
		}
		if n == nil {
			return b.build(y.Alias, depth)
		}
		return n, nil
	case yaml.SequenceNode, yaml.MappingNode, yaml.ScalarNode: // plain, see below
	}
	b.literal++
	if y.Anchor != "" {
		b.done[y] = nil
	}
	n, err := b.buildPlain(y, depth)
	if err != nil {
		return nil, err
	}
	n.line += b.offset
	n.measure()
	if y.Anchor != "" {
		b.done[y] = n
	}
	return n, nil
}

func (b *treeBuilder) buildPlain(y *yaml.Node, depth int) (*node, error) {
	switch y.Kind {
	case yaml.ScalarNode:
		n, err := readScalar(y)
		if err != nil {
			return nil, b.fail(y, "%w", err)
		}
		return n, nil
	case yaml.SequenceNode:
		n := &node{shape: listShape, line: y.Line, col: y.Column, items: make([]*node, 0, len(y.Content))}
		for _, c := range y.Content {
			item, err := b.build(c, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
		return n, nil
	default:
		n := &node{shape: mapShape, line: y.Line, col: y.Column, fields: make([]entry, 0, len(y.Content)/2)}
		return n, b.buildMap(y, n, depth)
	}
}

func (b *treeBuilder) buildMap(y *yaml.Node, n *node, depth int) error {
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if k.Kind == yaml.ScalarNode && k.Value == "<<" && (k.Tag == "!!merge" || k.Style == 0) {
			if err := b.merge(n, v, depth); err != nil {
				return err
			}
			continue
		}
		key, err := b.build(k, depth+1)
		if err != nil {
			return err
		}
		name, err := keyName(key)
		if err != nil {
			return b.fail(k, "%w", err)
		}
		val, err := b.build(v, depth+1)
		if err != nil {
			return err
		}
		e := entry{name: name, line: k.Line + b.offset, col: k.Column, value: val}
		if old := n.set(e); old != nil && !b.merged(y, old) {
			b.notes = append(b.notes, Fault{
				Line: e.line, Column: e.col, Severity: Warning, Field: name,
				Text: fmt.Sprintf("key %q stands twice, on lines %d and %d: the last one counts", shorten(name, 60), old.line, e.line), Remedy: "remove one",
			})
		}
	}
	return nil
}

// merged reports whether an entry came in by a merge key: overriding such a one is what merge keys are for.
func (b *treeBuilder) merged(y *yaml.Node, e *entry) bool {
	for i := 0; i+1 < len(y.Content); i += 2 {
		if k := y.Content[i]; k.Line+b.offset == e.line && k.Column == e.col {
			return false
		}
	}
	return true
}

// merge puts the fields of a map, or of each map of a list (the first wins), into n. Like the Kubernetes reader it replaces what stands
// above it in the same map; what stands below replaces it.
func (b *treeBuilder) merge(n *node, y *yaml.Node, depth int) error {
	from, err := b.build(y, depth+1)
	if err != nil {
		return err
	}
	sources := []*node{from}
	if from.shape == listShape {
		sources = from.items
	}
	for _, source := range slices.Backward(sources) {
		if source.shape != mapShape {
			return b.fail(y, "only maps can be merged with <<")
		}
		for _, e := range source.fields {
			n.set(e)
		}
	}
	return nil
}

// checkAliases refuses documents that are small on disk and huge when every alias is followed.
func (b *treeBuilder) checkAliases(root *node) error {
	const (
		harmless = 400_000   // nodes that cost nothing worth mentioning
		huge     = 4_000_000 // from here on at most a tenth may come from aliases
	)
	if root.size <= harmless {
		if root.size > 100_000 && root.size > 100*b.literal {
			return errors.New("document contains excessive aliasing")
		}
		return nil
	}
	allowed := 0.10
	if root.size < huge {
		allowed = 0.99 - 0.89*float64(root.size-harmless)/float64(huge-harmless)
	}
	if float64(root.size-2*b.literal)/float64(root.size) > allowed {
		return errors.New("document contains excessive aliasing")
	}
	return nil
}
