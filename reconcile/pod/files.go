package pod

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/config"
	"berth/runtime"
)

// missing is what a Pod waits for: something that it names and that may come.
type missing struct{ text string }

func (m *missing) Error() string { return m.text }

// content finds a ConfigMap or a Secret; nil for an optional one that is not there.
func (p *pass) content(kind, name string, optional *bool) (*config.Content, error) {
	c := p.in.Config[config.Object{Kind: kind, Name: name}]
	if c == nil && !isTrue(optional) {
		return nil, &missing{fmt.Sprintf("%s %q not found", strings.ToLower(kind), name)}
	}
	return c, nil
}

// file is one file of a volume: a key of an object, or a text if content is nil.
type file struct {
	path    string
	mode    int32
	content *config.Content
	key     string
	text    string
}

// fileSet collects the files of one volume. Of two with one path the later one counts.
type fileSet struct {
	p           *pass
	defaultMode int32
	files       []file
	at          map[string]int // in files, by path
}

func (s *fileSet) add(f file, mode *int32) {
	f.path, f.mode = path.Clean(f.path), s.defaultMode
	if mode != nil {
		f.mode = *mode
	}
	if i, ok := s.at[f.path]; ok {
		s.files[i] = f
		return
	}
	s.at[f.path] = len(s.files)
	s.files = append(s.files, f)
}

// object adds the files of a ConfigMap or a Secret: all keys, or the ones that items name.
func (s *fileSet) object(kind, name string, items []corev1.KeyToPath, optional *bool) error {
	c, err := s.p.content(kind, name, optional)
	if err != nil || c == nil {
		return err
	}
	if len(items) == 0 {
		for _, key := range c.Files() {
			s.add(file{path: key, content: c, key: key}, nil)
		}
		return nil
	}
	for i := range items {
		item := &items[i]
		if c.Hash(item.Key) != "" {
			s.add(file{path: item.Path, content: c, key: item.Key}, item.Mode)
		} else if !isTrue(optional) {
			word := "secret"
			if kind == reconcile.KindConfigMap {
				word = "config"
			}
			return &missing{fmt.Sprintf("%s references non-existent %s key: %s", strings.ToLower(kind), word, item.Key)}
		}
	}
	return nil
}

// fields adds files of the downward API.
func (s *fileSet) fields(items []corev1.DownwardAPIVolumeFile, field string) error {
	for i := range items {
		item := &items[i]
		var text string
		var err error
		switch at := fmt.Sprintf("%s.items[%d]", field, i); {
		case item.FieldRef != nil:
			text, err = s.p.fieldValue(item.FieldRef.FieldPath, at+".fieldRef")
		case item.ResourceFieldRef != nil:
			text, err = s.p.resourceValue(nil, item.ResourceFieldRef, at+".resourceFieldRef")
		}
		if err != nil {
			return err
		}
		s.add(file{path: item.Path, text: text}, item.Mode)
	}
	return nil
}

func (s *fileSet) project(source *corev1.VolumeProjection, field string) error {
	switch {
	case source.ConfigMap != nil:
		return s.object(reconcile.KindConfigMap, source.ConfigMap.Name, source.ConfigMap.Items, source.ConfigMap.Optional)
	case source.Secret != nil:
		return s.object(reconcile.KindSecret, source.Secret.Name, source.Secret.Items, source.Secret.Optional)
	case source.DownwardAPI != nil:
		return s.fields(source.DownwardAPI.Items, field+".downwardAPI")
	case source.ServiceAccountToken != nil:
		return refusal(field+".serviceAccountToken", "berth's API takes no token")
	case source.ClusterTrustBundle != nil:
		return refusal(field+".clusterTrustBundle", "there are no ClusterTrustBundles here")
	case source.PodCertificate != nil:
		return refusal(field+".podCertificate", "there is nobody here who signs certificates")
	}
	return nil // no source at all projects nothing
}

// files finds what a volume of ConfigMaps, Secrets and fields holds. It copies no content.
func (p *pass) files(v *corev1.Volume, field string) ([]file, error) {
	s := &fileSet{p: p, at: map[string]int{}}
	var err error
	switch {
	case v.ConfigMap != nil:
		s.defaultMode = modeOf(v.ConfigMap.DefaultMode)
		err = s.object(reconcile.KindConfigMap, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional)
	case v.Secret != nil:
		s.defaultMode = modeOf(v.Secret.DefaultMode)
		err = s.object(reconcile.KindSecret, v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	case v.DownwardAPI != nil:
		s.defaultMode = modeOf(v.DownwardAPI.DefaultMode)
		err = s.fields(v.DownwardAPI.Items, field+".downwardAPI")
	case v.Projected != nil:
		s.defaultMode = modeOf(v.Projected.DefaultMode)
		for i := range v.Projected.Sources {
			if err = s.project(&v.Projected.Sources[i], fmt.Sprintf("%s.projected.sources[%d]", field, i)); err != nil {
				break
			}
		}
	}
	return s.files, err
}

// defaultFileMode is Kubernetes' for all kinds of such volumes.
const defaultFileMode = 0o644

func modeOf(mode *int32) int32 {
	if mode == nil {
		return defaultFileMode
	}
	return *mode
}

// filesVolume is a volume of files, without their content where the machine has it for sure.
func (p *pass) filesVolume(v *corev1.Volume, field string) (runtime.Volume, error) {
	var mounted string
	if o := p.in.Observed; o != nil {
		mounted = o.Sandbox.Files[v.Name]
	}
	files, err := p.files(v, field)
	if m := (*missing)(nil); errors.As(err, &m) && mounted != "" {
		return runtime.Volume{Name: v.Name, Files: &runtime.Files{Hash: mounted}}, nil // what has vanished since stays as it was
	}
	if err != nil {
		return runtime.Volume{}, err
	}
	out := &runtime.Files{Hash: hashFiles(files)}
	if !p.ready || out.Hash != mounted {
		out.Entries = make([]runtime.File, len(files))
		for i := range files {
			out.Entries[i] = files[i].made()
		}
	}
	return runtime.Volume{Name: v.Name, Files: out}, nil
}

func (f *file) made() runtime.File {
	data := []byte(f.text)
	if f.content != nil {
		data, _ = f.content.File(f.key)
	}
	return runtime.File{Path: f.path, Data: data, Mode: uint32(f.mode)}
}

// hashFiles is the same for the same files, in whatever order they were named.
func hashFiles(files []file) string {
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.path, b.path) })
	h := sha256.New()
	for i := range files {
		f := &files[i]
		version := "text"
		if f.content != nil {
			version = f.content.Hash(f.key)
		}
		_, _ = fmt.Fprintf(h, "%q %o %s %q\n", f.path, f.mode, version, f.text)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// updateFiles brings the volumes of a sandbox that stands to what they shall hold.
func (p *pass) updateFiles() {
	var changed []runtime.Volume
	for _, v := range p.volumes {
		if v.Files != nil && v.Files.Hash != p.in.Observed.Sandbox.Files[v.Name] {
			changed = append(changed, v)
		}
	}
	if len(changed) > 0 {
		p.do(reconcile.UpdateFiles{Pod: p.key, UID: p.pod.UID, Volumes: changed})
	}
}

// waitForVolumes tells whether the Pod waits for something that its volumes are made of, and says so when that is news.
func (p *pass) waitForVolumes() bool {
	if len(p.unmounted) == 0 {
		return false
	}
	message := strings.Join(p.unmounted, "; ")
	for _, c := range p.all() {
		p.wait(c, reasonCreating, message)
	}
	if had := p.formerStatus(p.every[0]); had != nil && had.State.Waiting != nil && had.State.Waiting.Message == message {
		return true
	}
	for _, text := range p.unmounted {
		p.note(true, "FailedMount", text)
	}
	return true
}
