package edit

import (
	"bytes"
	"slices"
)

const bom = "\xef\xbb\xbf"

// text is a file as the reader of manifests sees it: UTF-8 with line feeds, and the way back to the file's own bytes.
type text struct {
	raw  []byte
	data []byte
	back []int // offset in raw of each byte of data and of its end; nil when it is shift everywhere
	// shift is the length of a byte order mark.
	shift int
	crlf  bool // most lines end so
}

// splice replaces data[start:end].
type splice struct {
	start, end int
	text       string
}

func newText(raw []byte) (*text, error) {
	if bytes.HasPrefix(raw, []byte("\xfe\xff")) || bytes.HasPrefix(raw, []byte("\xff\xfe")) {
		return nil, &Error{Line: 1, Reason: "the file is UTF-16", Remedy: "save it as UTF-8"}
	}
	t := &text{raw: raw}
	if bytes.HasPrefix(raw, []byte(bom)) {
		t.shift = len(bom)
	}
	body := raw[t.shift:]
	t.data = body
	if bytes.IndexByte(body, '\r') < 0 {
		return t, nil
	}
	t.crlf = 2*bytes.Count(body, []byte("\r\n")) > bytes.Count(body, []byte("\n"))
	t.data = make([]byte, 0, len(body))
	for i := 0; i < len(body); i++ {
		t.back = append(t.back, t.shift+i)
		if body[i] != '\r' {
			t.data = append(t.data, body[i])
			continue
		}
		t.data = append(t.data, '\n')
		if i+1 < len(body) && body[i+1] == '\n' {
			i++
		}
	}
	t.back = append(t.back, len(raw))
	return t, nil
}

func (t *text) rawOffset(i int) int {
	if t.back == nil {
		return t.shift + i
	}
	return t.back[i]
}

// apply returns the file's bytes with the splices, which do not overlap, done.
func (t *text) apply(splices []splice) []byte {
	splices = slices.Clone(splices)
	slices.SortStableFunc(splices, func(a, b splice) int { return a.start - b.start })
	var out []byte
	at := 0
	for _, s := range splices {
		out = append(out, t.raw[at:t.rawOffset(s.start)]...)
		insert := []byte(s.text)
		if t.crlf {
			insert = bytes.ReplaceAll(insert, []byte("\n"), []byte("\r\n"))
		}
		out = append(out, insert...)
		at = t.rawOffset(s.end)
	}
	return append(out, t.raw[at:]...)
}

// lineOf is the line, from 1, of an offset.
func (t *text) lineOf(offset int) int { return bytes.Count(t.data[:offset], []byte("\n")) + 1 }

// span is one YAML document, or one value of a JSON stream.
type span struct {
	sep        int // where the separator line above it begins; start when there is none
	start, end int
}

// documents cuts a text as the reader of manifests does: at every line that begins with three dashes. Documents without content do not
// count.
func documents(data []byte) []span {
	var docs []span
	sep, start := 0, 0
	cut := func(end int) {
		if hasContent(data[start:end]) {
			docs = append(docs, span{sep: sep, start: start, end: end})
		}
	}
	for pos := 0; pos < len(data); {
		end := lineEnd(data, pos)
		if bytes.HasPrefix(data[pos:end], []byte("---")) {
			cut(pos)
			sep, start = pos, end
		}
		pos = end
	}
	cut(len(data))
	return docs
}

// lineEnd is where the line of an offset ends, its line feed included.
func lineEnd(data []byte, pos int) int {
	if i := bytes.IndexByte(data[pos:], '\n'); i >= 0 {
		return pos + i + 1
	}
	return len(data)
}

// lineStart is where the line of an offset begins.
func lineStart(data []byte, pos int) int { return bytes.LastIndexByte(data[:pos], '\n') + 1 }

// hasContent reports whether anything but blank lines and comments is there.
func hasContent(data []byte) bool {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte(bom))); len(line) > 0 && line[0] != '#' {
			return true
		}
	}
	return false
}

// isBlank reports whether only spaces and tabs are there.
func isBlank(data []byte) bool { return len(bytes.Trim(data, " \t\n")) == 0 }

// commentIndent is the column, from 0, of a line that holds nothing but a comment; -1 for others.
func commentIndent(line []byte) int {
	rest := bytes.TrimLeft(line, " \t")
	if len(rest) == 0 || rest[0] != '#' {
		return -1
	}
	return len(line) - len(rest)
}
