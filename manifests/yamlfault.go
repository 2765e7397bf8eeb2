package manifests

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	sigsyaml "sigs.k8s.io/yaml"
)

var yamlErrorLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)

// syntaxFault gives a parser's error the line it means.
func syntaxFault(text []byte, err error, offset int) *Fault {
	f := &Fault{Remedy: "look for a wrong indent, a missing colon or an open quote on this line or the one before"}
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if better := kubectlError(text); better != "" {
		msg = better
	}
	if m := yamlErrorLine.FindStringSubmatch(msg); m != nil {
		f.Line, _ = strconv.Atoi(m[1])
		msg = msg[len(m[0]):]
	} else if at, why := unreadableAt(text); at >= 0 {
		f.Line, f.Column = position(text, at)
		msg, f.Remedy = why, "save the file as plain UTF-8 text"
	} else {
		f.Line = 1 // both parsers leave out the number of the first line
	}
	if name, ok := strings.CutPrefix(msg, "unknown anchor '"); ok {
		name, _, _ = strings.Cut(name, "'")
		if at := bytes.Index(text, []byte("*"+name)); at >= 0 {
			f.Line, f.Column = position(text, at)
		}
		f.Remedy = "an anchor must stand above its use, in the same document"
	}
	if strings.HasPrefix(msg, "exceeded max depth") {
		f.Remedy = ""
	} else if line, remedy := blame(bytes.Split(text, []byte("\n")), f.Line, msg); line > 0 {
		f.Line, f.Remedy = line, remedy
	}
	if f.Line > 0 { // the parser also counts line ends that nobody else does (U+2028)
		f.Line = min(f.Line, bytes.Count(text, []byte("\n"))+1) + offset
	}
	f.Text = "cannot be read as YAML: " + msg
	return f
}

// blame finds the line of a mistake that the parser only stumbles over later: line, from 1, is where it did, with what it says. It
// returns 0 when the parser is to be believed.
func blame(lines [][]byte, line int, msg string) (at int, remedy string) {
	if at = openQuote(lines); at > 0 && at <= line {
		return at, "a quote is opened on this line and not closed"
	}
	switch {
	case strings.HasPrefix(msg, "mapping values are not allowed"), strings.HasPrefix(msg, "could not find expected ':'"):
		return wordAbove(lines, line)
	case strings.HasPrefix(msg, "did not find expected"):
		// The parser counts lines from 0 here. Where the next one is indented rightly, the mistake may as well be above.
		if at, key := missingDash(lines, line+1); at > 0 {
			return at, fmt.Sprintf("a dash is missing before %q", key)
		}
		if misfit(lines, line+1) {
			return line + 1, fmt.Sprintf("no line above is indented by %d spaces", indentOf(lines[line]))
		}
	}
	return 0, ""
}

var (
	bareWord  = regexp.MustCompile(`^(?:- )*([A-Za-z][A-Za-z0-9_./-]*)$`)
	gluedWord = regexp.MustCompile(`^(?:- )*([A-Za-z][A-Za-z0-9_./-]*:)[^ /]`)
)

// wordAbove looks at the last line above with content. A lone word is a key whose colon was forgotten, and key:value beside other keys one
// whose space was: both are text that goes on below.
func wordAbove(lines [][]byte, line int) (at int, remedy string) {
	for at = min(line-1, len(lines)); at > 0; at-- {
		l := bytes.TrimSpace(lines[at-1])
		if ignorable(l) {
			continue
		}
		if m := bareWord.FindSubmatch(l); m != nil {
			return at, fmt.Sprintf("a colon is missing after %q", m[1])
		}
		ends := line > len(lines) || ignorable(bytes.TrimSpace(lines[line-1]))
		if m := gluedWord.FindSubmatch(l); m != nil && (ends || keyColumn(lines[at-1]) == keyColumn(lines[line-1])) {
			return at, fmt.Sprintf("a space is missing after %q", m[1])
		}
		break
	}
	return 0, ""
}

// missingDash finds, for a line of a list, from 1, whose keys go on in the column of the block above it, the first line of that block: it
// should be an item of the list, too.
func missingDash(lines [][]byte, line int) (at int, key string) {
	if line > len(lines) || !bytes.HasPrefix(bytes.TrimLeft(lines[line-1], " "), []byte("- ")) {
		return 0, ""
	}
	list, column := indentOf(lines[line-1]), keyColumn(lines[line-1])
	for i := line - 1; i > 0; i-- {
		l := lines[i-1]
		if ignorable(bytes.TrimSpace(l)) {
			continue
		}
		is := indentOf(l)
		if is < column {
			if is == list && keyColumn(l) > is {
				return 0, ""
			}
			break
		}
		if is == column {
			word, _, _ := bytes.Cut(bytes.TrimSpace(l), []byte(" "))
			at, key = i, string(word)
		}
	}
	return at, key
}

// misfit reports whether a line, from 1, ends a block and is indented like none that it could go on with.
func misfit(lines [][]byte, line int) bool {
	if line < 2 || line > len(lines) || ignorable(bytes.TrimSpace(lines[line-1])) {
		return false
	}
	want := indentOf(lines[line-1])
	inner := -1 // the indent of the block that is open, from the inside out
	for at := line - 1; at > 0; at-- {
		l := lines[at-1]
		if ignorable(bytes.TrimSpace(l)) {
			continue
		}
		is := indentOf(l)
		switch {
		case inner < 0 && want > keyColumn(l):
			return bytes.Contains(l, []byte(": ")) // below a whole value nothing goes deeper
		case is == want, keyColumn(l) == want && (inner < 0 || want < inner):
			return false
		case inner < 0 || is < inner:
			inner = is
		}
		if is < want {
			break
		}
	}
	return true
}

var blockHeader = regexp.MustCompile(`[|>][+-]?[1-9]?[+-]?( +#.*)?$`)

// openQuote finds the first line, from 1, where a value in quotes begins whose end is missing: the next quote, further below, ends it in
// the middle of something else, or there is none. 0 when all quotes are closed.
func openQuote(lines [][]byte) int {
	block := -1 // inside of block text: what is indented deeper than this
	for i := 0; i < len(lines); i++ {
		l := bytes.TrimRight(lines[i], " \t\r")
		trimmed := bytes.TrimLeft(l, " ")
		switch {
		case len(trimmed) == 0, block >= 0 && indentOf(l) > block:
			continue
		case trimmed[0] == '#':
			continue
		}
		block = -1
		if blockHeader.Match(l) {
			block = keyColumn(l)
			continue
		}
		value := valueOf(l[keyColumn(l):])
		if len(value) == 0 || value[0] != '"' && value[0] != '\'' {
			continue
		}
		quote, rest, from := value[0], value[1:], i
		for {
			after, closed := closing(rest, quote)
			if closed {
				if after = bytes.TrimLeft(after, " \t"); i > from && len(after) > 0 && after[0] != '#' {
					return from + 1
				}
				break
			}
			if i++; i == len(lines) {
				return from + 1
			}
			rest = lines[i]
		}
	}
	return 0
}

// valueOf is what stands behind the key of a line, or all of it.
func valueOf(l []byte) []byte {
	if len(l) > 0 && l[0] != '"' && l[0] != '\'' {
		if _, v, ok := bytes.Cut(l, []byte(": ")); ok {
			return bytes.TrimLeft(v, " \t")
		}
	}
	return l
}

// closing finds the end of text in quotes, and what follows it.
func closing(text []byte, quote byte) (after []byte, ok bool) {
	for i := 0; i < len(text); i++ {
		switch {
		case quote == '"' && text[i] == '\\':
			i++
		case text[i] != quote:
		case quote == '\'' && i+1 < len(text) && text[i+1] == quote:
			i++
		default:
			return text[i+1:], true
		}
	}
	return nil, false
}

func ignorable(trimmed []byte) bool { return len(trimmed) == 0 || trimmed[0] == '#' }

func indentOf(l []byte) int { return len(l) - len(bytes.TrimLeft(l, " ")) }

// keyColumn is where a line begins behind its indent and the dashes of lists.
func keyColumn(l []byte) int {
	at := indentOf(l)
	for bytes.HasPrefix(l[at:], []byte("- ")) {
		at += 2 + indentOf(l[at+2:])
	}
	return at
}

// kubectlError is what the parser of kubectl says of a text: it points at the line where it stumbled, the one used here at the line where
// the construct began. "" when it has nothing to say.
func kubectlError(text []byte) string {
	const enough = 1 << 20 // a second reading of a huge file is not worth a better line
	if len(text) > enough {
		return ""
	}
	_, err := sigsyaml.YAMLToJSON(text)
	if err == nil {
		return ""
	}
	_, msg, ok := strings.Cut(err.Error(), "yaml: ")
	if !ok || strings.HasPrefix(msg, "unmarshal errors") {
		return ""
	}
	return msg
}
