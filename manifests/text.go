package manifests

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxFileSize is the largest manifest that is read: 10 MiB of one file hold more than the largest object a server takes (3 MiB), and
// bound what a device or a runaway program can cost.
const MaxFileSize = 10<<20 + 64<<10

const utf8BOM = "\xef\xbb\xbf"

// plainText turns the bytes of a file into UTF-8 with line feeds. The fault says why that cannot be done.
func plainText(data []byte) ([]byte, *Fault) {
	switch {
	case len(data) > MaxFileSize:
		return nil, &Fault{Text: fmt.Sprintf("is larger than %d MiB and is not read", MaxFileSize>>20), Remedy: "split it into several files"}
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		return nil, &Fault{Line: 1, Column: 1, Text: "is UTF-16 (little endian), which Kubernetes does not read", Remedy: "save it as UTF-8"}
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		data = fromUTF16(data[2:])
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		if len(bytes.Trim(data, "\x00 \t\r\n")) == 0 {
			return nil, &Fault{Line: 1, Text: "holds only NUL bytes, as a crash leaves behind", Remedy: "restore or delete the file"}
		}
		line, col := position(data, i)
		return nil, &Fault{Line: line, Column: col, Text: "holds a NUL byte: binary, or damaged by a crash", Remedy: "restore the file"}
	}
	data = bytes.TrimPrefix(data, []byte(utf8BOM))
	if bytes.IndexByte(data, '\r') >= 0 {
		data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
		data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	}
	return data, nil
}

func fromUTF16(data []byte) []byte {
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = binary.BigEndian.Uint16(data[2*i:])
	}
	return []byte(string(utf16.Decode(units)))
}

// position is the line and column, both from 1, of a byte offset.
func position(text []byte, offset int) (line, col int) {
	offset = min(offset, len(text))
	start := bytes.LastIndexByte(text[:offset], '\n') + 1
	return bytes.Count(text[:offset], []byte("\n")) + 1, utf8.RuneCount(text[start:offset]) + 1
}

// unreadableAt finds the first byte that YAML does not allow; -1 when all are fine.
func unreadableAt(text []byte) (offset int, why string) {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			return i, "holds a byte that is not UTF-8"
		case r == '\t', r == '\n', r == '\r', r == 0x85:
		case r < ' ', r >= 0x7f && r < 0xa0, r == 0xfffe, r == 0xffff:
			return i, fmt.Sprintf("holds a control character (U+%04X)", r)
		}
		i += size
	}
	return -1, ""
}

// document is one YAML document of a file.
type document struct {
	text  []byte
	line  int    // lines of the file before the text
	index int    // counts documents with content, from 0
	fault *Fault // the separator above it is not one
}

// splitDocuments cuts a text at the lines that begin with three dashes, as kubectl does: also inside a quoted string.
func splitDocuments(text []byte) []document {
	var docs []document
	var fault *Fault
	start, startLine, line := 0, 0, 0
	cut := func(end int) {
		part := bytes.TrimPrefix(text[start:end], []byte(utf8BOM))
		if fault != nil || hasContent(part) {
			docs = append(docs, document{text: part, line: startLine, index: len(docs), fault: fault})
		}
	}
	for pos := 0; pos < len(text); line++ {
		end := len(text)
		if i := bytes.IndexByte(text[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		if rest, is := bytes.CutPrefix(text[pos:end], []byte("---")); is {
			cut(pos)
			fault = nil
			start, startLine = end, line+1
			if rest = bytes.TrimSpace(rest); len(rest) > 0 && rest[0] != '#' {
				fault = &Fault{
					Line: line + 1, Column: 4, Text: fmt.Sprintf("only a comment may follow the separator ---, not %q", shorten(string(rest), 40)),
					Remedy: "move it to the next line",
				}
			}
		}
		pos = end
	}
	cut(len(text))
	return docs
}

// hasContent reports whether anything but blank lines and comments is there.
func hasContent(text []byte) bool {
	for len(text) > 0 {
		var l []byte
		l, text, _ = bytes.Cut(text, []byte("\n"))
		if l = bytes.TrimSpace(l); len(l) > 0 && l[0] != '#' {
			return true
		}
	}
	return false
}

func hasComment(text []byte) bool { return bytes.IndexByte(text, '#') >= 0 }

func shorten(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
