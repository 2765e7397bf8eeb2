package pod

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// EnvFile names a file of variables in a volume of the Pod, which one of its containers writes.
type EnvFile struct {
	Volume, Path string
}

// EnvFiles are the files that containers take variables from, each once.
func EnvFiles(spec *corev1.PodSpec) []EnvFile {
	var out []EnvFile
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			for j := range list[i].Env {
				if from := list[i].Env[j].ValueFrom; from != nil && from.FileKeyRef != nil {
					out = append(out, EnvFile{from.FileKeyRef.VolumeName, from.FileKeyRef.Path})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b EnvFile) int { return strings.Compare(a.Volume+"/"+a.Path, b.Volume+"/"+b.Path) })
	return slices.Compact(out)
}

// fileAgain is how long a container waits for a file that another one has not written, or not to its end: nothing tells of it.
const fileAgain = time.Second

// fileValue reads a variable from a file. An empty one counts as none, as for a kubelet.
func (p *pass) fileValue(ref *corev1.FileKeySelector) (string, bool, error) {
	value, err := variable(string(p.in.EnvFiles[EnvFile{ref.VolumeName, ref.Path}]), ref.Key)
	switch {
	case err != nil:
		err = fmt.Errorf("couldn't parse env file %q of volume %q: %w", ref.Path, ref.VolumeName, err)
	case value == "" && !isTrue(ref.Optional):
		err = &missing{fmt.Sprintf("environment variable key %q not found in file %q of volume %q", ref.Key, ref.Path, ref.VolumeName)}
	default:
		return value, value != "", nil
	}
	p.again(fileAgain)
	return "", false, err
}

// variable finds NAME='VALUE' in the lines of a file. A value may go over several lines and ends at the next quote; after it, and on lines of
// their own, there may be comments. NAME= followed by a blank is an empty value. Values are not shown in errors.
func variable(text, name string) (string, error) {
	number := 0
	fault := func(what string) error { return fmt.Errorf("line %d: %s", number, what) }
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		number++
		line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		switch {
		case !ok:
			return "", fault("there is no '='")
		case strings.TrimRight(key, " \t") != key || key == "":
			return "", fault("there must be a name right before '='")
		case value != "" && (value[0] == ' ' || value[0] == '\t'):
			if key == name {
				return "", nil
			}
			continue
		case value == "" || value[0] != '\'':
			return "", fault("the value must be in single quotes")
		}
		value = value[1:]
		for !strings.Contains(value, "'") {
			if text == "" {
				return "", fault("the quote is not closed")
			}
			line, text, _ = strings.Cut(text, "\n")
			number++
			value += "\n" + strings.TrimSuffix(line, "\r")
		}
		value, rest, _ := strings.Cut(value, "'")
		if rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != '#' {
			return "", fault("after the closing quote there may be a comment only")
		}
		if key == name {
			return value, nil
		}
	}
	return "", nil
}
