package edit

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// scalar finds the end of a scalar.
func (b *builder) scalar(n *node, y *yaml.Node, indent int) error {
	n.value = y.Value
	var end int
	switch {
	case n.body >= b.end, y.Value == "" && n.body > n.start && !strings.ContainsRune(`"'|>`, rune(b.at(n.body))): // an anchor or tag alone
		n.body = n.end
		return nil
	case y.Style&yaml.DoubleQuotedStyle != 0:
		n.quote, end = '"', b.double(n.body)
	case y.Style&yaml.SingleQuotedStyle != 0:
		n.quote, end = '\'', b.single(n.body)
	case y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		n.quote = b.at(n.body)
		if n.quote != '|' && n.quote != '>' {
			return errUnusual
		}
		end = b.block(n.body, indent)
	default:
		end = b.plain(n.body, indent, n.flow)
		if end >= 0 && fold(string(b.data[n.body:end])) != y.Value {
			return errUnusual
		}
	}
	if end < 0 {
		return errUnusual
	}
	n.end = end
	return nil
}

func (b *builder) double(i int) int {
	if b.at(i) != '"' {
		return -1
	}
	for i++; i < b.end; i++ {
		switch b.data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

func (b *builder) single(i int) int {
	if b.at(i) != '\'' {
		return -1
	}
	for i++; i < b.end; i++ {
		if b.data[i] != '\'' {
			continue
		}
		if b.at(i+1) != '\'' {
			return i + 1
		}
		i++
	}
	return -1
}

// plain is the end of a scalar without quotes, which may go on over several lines.
func (b *builder) plain(i, indent int, flow bool) int { //nolint:gocognit // one rule of YAML, with its exceptions
	end := i
	for i < b.end {
		for i < b.end {
			c := b.data[i]
			if c == '\n' || c == ' ' || c == '\t' || b.endsPlain(i, c, flow) {
				break
			}
			i++
			end = i
		}
		if i < b.end && b.endsPlain(i, b.data[i], flow) {
			return end
		}
		next := b.spaces(i)
		if next < b.end && b.data[next] == '\n' {
			for next < b.end && (b.data[next] == '\n' || b.data[next] == ' ' || b.data[next] == '\t') {
				next++
			}
			if next >= b.end || b.data[next] == '#' || !flow && b.column(next) <= indent || b.separator(next) {
				return end
			}
		} else if next < b.end && b.data[next] == '#' {
			return end
		}
		if next == i {
			return end
		}
		i = next
	}
	return end
}

func (b *builder) separator(i int) bool {
	return b.column(i) == 0 && (strings.HasPrefix(string(b.data[i:min(i+3, b.end)]), "---") || strings.HasPrefix(string(b.data[i:min(i+3, b.end)]), "..."))
}

func (b *builder) endsPlain(i int, c byte, flow bool) bool {
	if c == ':' {
		next := b.at(i + 1)
		return next == ' ' || next == '\t' || next == '\n' || next == 0 || flow && strings.IndexByte(",[]{}", next) >= 0
	}
	return flow && strings.IndexByte(",[]{}", c) >= 0
}

// fold is the value of a plain scalar: one line feed is a space, more are one less.
func fold(s string) string {
	if !strings.Contains(s, "\n") {
		return s
	}
	var out strings.Builder
	breaks := 0
	for i, line := range strings.Split(s, "\n") {
		line = strings.Trim(line, " \t")
		if line == "" {
			breaks++
			continue
		}
		switch {
		case i == 0:
		case breaks == 0:
			out.WriteByte(' ')
		default:
			out.WriteString(strings.Repeat("\n", breaks))
		}
		breaks = 0
		out.WriteString(line)
	}
	return out.String()
}

// block is the end of a literal or folded scalar, without its last line feed; blank lines at its end belong to it where they count.
func (b *builder) block(i, indent int) int {
	width, keep := 0, false
	for i++; i < b.end && b.data[i] != '\n' && b.data[i] != ' ' && b.data[i] != '\t'; i++ {
		switch c := b.data[i]; {
		case c == '+':
			keep = true
		case c >= '1' && c <= '9':
			width = int(c-'0') + max(indent, 0)
		case c != '-':
			return -1
		}
	}
	end := i // a scalar without lines ends with its header
	at := lineEnd(b.data[:b.end], i)
	blank := at
	for at < b.end {
		stop := lineEnd(b.data[:b.end], at)
		content := at
		for content < stop && b.data[content] == ' ' {
			content++
		}
		if content < stop && b.data[content] != '\n' {
			if width == 0 {
				width = max(content-at, indent+1, 1)
			}
			if content-at < width {
				break
			}
			end = stop
		}
		at, blank = stop, stop
	}
	if keep {
		end = max(end, blank)
	}
	if end > 0 && end > i && b.data[end-1] == '\n' {
		end--
	}
	return end
}
