package manifests

import (
	"encoding/base64"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Kubernetes reads YAML by the rules of version 1.1 (yes and on are booleans, 010 is eight), the parser that keeps positions by those
// of 1.2. So the plain scalars are read here.

// wordValue knows the words that are no strings. The JSON of a number that JSON does not have is empty.
func wordValue(s string) (shape, string, bool) {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return nullShape, "null", true
	case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return boolShape, "true", true
	case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return boolShape, "false", true
	case ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF":
		return floatShape, "", true
	}
	return "", "", false
}

var plainFloat = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)

// plainScalar reads a scalar without quotes and tag: its shape and its JSON (for a string, the string itself).
func plainScalar(s string) (shape, string) {
	if sh, v, ok := wordValue(s); ok {
		return sh, v
	}
	switch c := s[0]; {
	case c == '.':
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return floatShape, jsonFloat(f)
		}
	case c >= '0' && c <= '9', c == '+', c == '-':
		if sh, v, ok := plainNumber(strings.ReplaceAll(s, "_", "")); ok && !isDate(s) {
			return sh, v
		}
	}
	return stringShape, s
}

func plainNumber(s string) (shape, string, bool) {
	if i, err := strconv.ParseInt(s, 0, 64); err == nil {
		return intShape, strconv.FormatInt(i, 10), true
	}
	if u, err := strconv.ParseUint(s, 0, 64); err == nil {
		return intShape, strconv.FormatUint(u, 10), true
	}
	if plainFloat.MatchString(s) {
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return floatShape, jsonFloat(f), true
		}
	}
	return "", "", false
}

// isDate reports whether s begins like 2024-01-31, which stays a string.
func isDate(s string) bool {
	return len(s) > 5 && s[4] == '-' && strings.Trim(s[:4], "0123456789") == ""
}

// jsonFloat is a number as JSON, "" for what JSON cannot say.
func jsonFloat(f float64) string {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return ""
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.FormatFloat(f, format, -1, 64)
}

// readScalar reads a scalar of the YAML parser.
func readScalar(y *yaml.Node) (*node, error) {
	n := &node{line: y.Line, col: y.Column, source: y.Value, shape: stringShape, text: y.Value}
	switch {
	case y.Style&yaml.TaggedStyle != 0:
		return n, n.readTagged(y.ShortTag())
	case y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0:
		n.shape, n.text = plainScalar(y.Value)
	}
	return n, n.mustBeJSON()
}

func (n *node) readTagged(tag string) error {
	var want shape
	switch tag {
	case "!!binary":
		b, err := base64.StdEncoding.DecodeString(n.source)
		if err != nil {
			return fmt.Errorf("cannot decode !!binary: %w", err)
		}
		n.text = string(b)
		return nil
	case "!!bool":
		want = boolShape
	case "!!int":
		want = intShape
	case "!!float":
		want = floatShape
	case "!!null":
		want = nullShape
	default:
		return nil
	}
	n.shape, n.text = plainScalar(n.source)
	if want == floatShape && n.shape == intShape {
		n.shape = floatShape
	}
	if n.shape != want {
		return fmt.Errorf("cannot read %q as %s", shorten(n.source, 40), tag)
	}
	return n.mustBeJSON()
}

func (n *node) mustBeJSON() error {
	if n.shape == floatShape && n.text == "" {
		return fmt.Errorf("%s is not a number that JSON has", n.source)
	}
	return nil
}

// keyName is the string that a scalar is as the key of a map: `on` is "true", 8080 is "8080".
func keyName(n *node) (string, error) {
	switch n.shape {
	case stringShape, boolShape:
		return n.text, nil
	case intShape:
		return n.text, nil
	case floatShape:
		f, _ := strconv.ParseFloat(n.text, 64)
		return strconv.FormatFloat(f, 'g', -1, 32), nil
	case nullShape, listShape, mapShape:
	}
	return "", fmt.Errorf("a %s cannot be a key", n.shape)
}

// ReadsAsString reports whether a text without quotes is read as that string, and not as a number, a boolean or null. Whether YAML's
// own characters in it need quotes is another question.
func ReadsAsString(text string) bool {
	if text == "" {
		return false
	}
	s, _ := plainScalar(text)
	return s == stringShape
}

// ReadsAsKey is the name that a key without quotes is read as: `n` is false, and 010 is 8.
func ReadsAsKey(text string) string {
	n := node{}
	n.shape, n.text = plainScalar(text)
	if name, err := keyName(&n); err == nil {
		return name
	}
	return text
}
