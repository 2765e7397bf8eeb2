package pod

import "strings"

// expand replaces $(NAME) by its value. $$ stands for one $, so that $$(NAME) stays $(NAME); a name without a value stays as it is
// written. It reports whether every name had a value.
func expand(s string, value func(name string) (string, bool)) (string, bool) {
	if !strings.Contains(s, "$") {
		return s, true
	}
	var out strings.Builder
	whole := true
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i+2:], ')')
			if end < 0 { // never closed: just these two, and the rest is read on
				out.WriteString("$(")
				i++
				continue
			}
			v, ok := value(s[i+2 : i+2+end])
			if !ok {
				v, whole = s[i:i+3+end], false
			}
			out.WriteString(v)
			i += 2 + end
		default:
			out.WriteByte('$')
		}
	}
	return out.String(), whole
}
