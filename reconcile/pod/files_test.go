package pod_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/config"
	"berth/reconcile/pod"
	"berth/runtime"
)

// given adds a ConfigMap "conf" and a Secret "key" with these keys and values.
func given(in *pod.Input, pairs ...string) {
	text, bytes := map[string]string{}, map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		text[pairs[i]], bytes[pairs[i]] = pairs[i+1], []byte(pairs[i+1])
	}
	in.Config = config.Contents{
		{Kind: "ConfigMap", Name: "conf"}: config.OfConfigMap(&corev1.ConfigMap{Data: text, BinaryData: map[string][]byte{"bin": {0, 255}}}),
		{Kind: "Secret", Name: "key"}:     config.OfSecret(&corev1.Secret{Data: bytes}),
	}
}

func ref(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

func fromMap(name, key string, optional ...bool) corev1.EnvVar {
	s := &corev1.ConfigMapKeySelector{LocalObjectReference: ref(name), Key: key}
	if len(optional) > 0 {
		s.Optional = &optional[0]
	}
	return corev1.EnvVar{Name: "V", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: s}}
}

func fromSecret(name, key string) corev1.EnvVar {
	return corev1.EnvVar{Name: "S", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref(name), Key: key}}}
}

// waits is why the only container does; "" if it does not.
func waits(in *pod.Input) string {
	w := in.Pod.Status.ContainerStatuses[0].State.Waiting
	if w == nil {
		return ""
	}
	return w.Reason + ": " + w.Message
}

func TestEnvironmentOfObjects(t *testing.T) {
	all := func(prefix string, optional bool, names ...string) []corev1.EnvFromSource {
		var list []corev1.EnvFromSource
		for _, n := range names {
			list = append(list, corev1.EnvFromSource{Prefix: prefix, ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref(n), Optional: &optional}})
		}
		return list
	}
	tests := map[string]struct {
		from  []corev1.EnvFromSource
		env   []corev1.EnvVar
		want  []string
		waits string // part of the message, which must show no value
	}{
		"a key of each":            {env: []corev1.EnvVar{fromMap("conf", "a"), fromSecret("key", "b.c")}, want: []string{"V=1", "S=2"}},
		"all keys, with a prefix":  {from: all("P_", false, "conf"), want: []string{"P_a=1", "P_b.c=2"}},
		"all keys of a Secret":     {from: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: ref("key")}}}, want: []string{"a=1", "b.c=2"}},
		"named ones come later":    {from: all("", false, "conf"), env: []corev1.EnvVar{{Name: "a", Value: "$(a)$(b.c)"}}, want: []string{"a=12", "b.c=2"}},
		"a value is not expanded":  {from: all("", false, "conf"), env: []corev1.EnvVar{fromMap("conf", "x", true)}, want: []string{"a=1", "b.c=2"}},
		"missing":                  {env: []corev1.EnvVar{fromMap("none", "a")}, waits: `CreateContainerConfigError: configmap "none" not found`},
		"missing Secret":           {env: []corev1.EnvVar{fromSecret("none", "a")}, waits: `CreateContainerConfigError: secret "none" not found`},
		"missing, all keys":        {from: all("", false, "none"), waits: `CreateContainerConfigError: configmap "none" not found`},
		"missing key":              {env: []corev1.EnvVar{fromMap("conf", "x")}, waits: `CreateContainerConfigError: couldn't find key x in ConfigMap shop/conf`},
		"missing key of a Secret":  {env: []corev1.EnvVar{fromSecret("key", "x")}, waits: `CreateContainerConfigError: couldn't find key x in Secret shop/key`},
		"binary data is no value":  {env: []corev1.EnvVar{fromMap("conf", "bin")}, waits: "couldn't find key bin"},
		"optional":                 {from: all("", true, "none"), env: []corev1.EnvVar{fromMap("none", "a", true), fromMap("conf", "x", true)}},
		"optional keeps the older": {env: []corev1.EnvVar{{Name: "V", Value: "old"}, fromMap("none", "a", true)}, want: []string{"V=old"}},
		"a NUL byte":               {env: []corev1.EnvVar{fromSecret("key", "nul")}, waits: `the value of variable "S" has a NUL byte`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := fresh()
			given(&in, "a", "1", "b.c", "2")
			if name == "a NUL byte" {
				given(&in, "nul", "secret\x00")
			}
			in.Pod.Spec.Containers[0].EnvFrom, in.Pod.Spec.Containers[0].Env = tt.from, tt.env
			if tt.waits == "" {
				_, c := wish(t, in)
				if diff := cmp.Diff(append([]string{}, tt.want...), c.Env); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				return
			}
			look(&in)
			if got := waits(&in); !strings.Contains(got, tt.waits) || strings.Contains(got, "secret\x00") {
				t.Errorf("it waits for %q, want %q", got, tt.waits)
			}
		})
	}
}

func configMap(change ...func(*corev1.ConfigMapVolumeSource)) corev1.VolumeSource {
	s := &corev1.ConfigMapVolumeSource{LocalObjectReference: ref("conf")}
	for _, f := range change {
		f(s)
	}
	return corev1.VolumeSource{ConfigMap: s}
}

func TestFiles(t *testing.T) {
	entry := func(path, data string, mode uint32) runtime.File {
		return runtime.File{Path: path, Data: []byte(data), Mode: mode}
	}
	optional := func(s *corev1.ConfigMapVolumeSource) { s.Optional = new(true) }
	elsewhere := func(s *corev1.ConfigMapVolumeSource) { s.Name = "none" }
	items := func(items ...corev1.KeyToPath) func(*corev1.ConfigMapVolumeSource) {
		return func(s *corev1.ConfigMapVolumeSource) { s.Items = items }
	}
	tests := map[string]struct {
		source corev1.VolumeSource
		want   []runtime.File
		waits  string
	}{
		"all keys": {configMap(), []runtime.File{entry("a", "1", 0o644), entry("b.c", "2", 0o644), entry("bin", "\x00\xff", 0o644)}, ""},
		"a Secret": {
			corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "key", DefaultMode: new(int32(0o400))}},
			[]runtime.File{entry("a", "1", 0o400), entry("b.c", "2", 0o400)},
			"",
		},
		"items": {
			configMap(items(corev1.KeyToPath{Key: "b.c", Path: "d/e"}, corev1.KeyToPath{Key: "bin", Path: "./f", Mode: new(int32(0o444))})),
			[]runtime.File{entry("d/e", "2", 0o644), entry("f", "\x00\xff", 0o444)},
			"",
		},
		"missing":                     {configMap(elsewhere), nil, `configmap "none" not found`},
		"missing key":                 {configMap(items(corev1.KeyToPath{Key: "x", Path: "x"})), nil, "configmap references non-existent config key: x"},
		"missing, optional":           {configMap(elsewhere, optional), []runtime.File{}, ""},
		"missing key, optional":       {configMap(optional, items(corev1.KeyToPath{Key: "x", Path: "x"}, corev1.KeyToPath{Key: "a", Path: "y"})), []runtime.File{entry("y", "1", 0o644)}, ""},
		"missing Secret":              {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "none"}}, nil, `secret "none" not found`},
		"missing key of a Secret":     {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "key", Items: []corev1.KeyToPath{{Key: "x", Path: "x"}}}}, nil, "secret references non-existent secret key: x"},
		"projected, of which one not": {projected(corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: ref("none")}}), nil, `secret "none" not found`},
		"projected": {projected(
			corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: ref("conf"), Items: []corev1.KeyToPath{{Key: "a", Path: "a"}}}},
			corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
				{Path: "cpus", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "main", Resource: "limits.cpu"}, Mode: new(int32(0o600))},
			}}},
			corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: ref("key"), Items: []corev1.KeyToPath{{Key: "b.c", Path: "a"}}}},
			corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: ref("none"), Optional: new(true)}},
		), []runtime.File{entry("a", "2", 0o440), entry("cpus", "4", 0o600), entry("labels", `app="web"`, 0o440)}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := fresh()
			given(&in, "a", "1", "b.c", "2")
			in.Pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: tt.source}}
			if tt.waits == "" {
				box, _ := wish(t, in)
				if diff := cmp.Diff(tt.want, box.Volumes[0].Files.Entries); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				return
			}
			event := `Pod/shop/web: FailedMount: MountVolume.SetUp failed for volume "data" : ` + tt.waits
			if got := events(look(&in)); !cmp.Equal([]string{event}, got) {
				t.Errorf("the events are %q, want %q", got, event)
			}
			if got := waits(&in); got != `ContainerCreating: MountVolume.SetUp failed for volume "data" : `+tt.waits {
				t.Errorf("it waits for %q", got)
			}
			if got := look(&in).Actions; len(got) != 0 {
				t.Errorf("the second look plans %q", got)
			}
		})
	}
}

func events(p reconcile.Plan) []string {
	var out []string
	for _, a := range p.Actions {
		if e, ok := a.(reconcile.RecordEvent); ok {
			out = append(out, e.String())
		}
	}
	return out
}

func projected(sources ...corev1.VolumeProjection) corev1.VolumeSource {
	return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources, DefaultMode: new(int32(0o440))}}
}

// TestFilesChange holds that a running pod's volumes follow what they are made of, once each, and that nothing else does.
func TestFilesChange(t *testing.T) {
	in := running(func(in *pod.Input) {
		given(in, "a", "1")
		in.Pod.Spec.Containers[0].Env = []corev1.EnvVar{fromMap("conf", "a")}
		in.Pod.Spec.Volumes = []corev1.Volume{
			{Name: "conf", VolumeSource: configMap()},
			{Name: "one", VolumeSource: configMap(func(s *corev1.ConfigMapVolumeSource) { s.Items = []corev1.KeyToPath{{Key: "a", Path: "a"}} })},
			{Name: "labels", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
			}}}},
		}
	})
	steps := []struct {
		name   string
		change func()
		want   []string
	}{
		{"nothing", func() {}, nil},
		{"a value", func() { given(&in, "a", "2") }, []string{"update files of Pod/shop/web: volume conf, one"}},
		{"another key", func() { given(&in, "a", "2", "b", "3") }, []string{"update files of Pod/shop/web: volume conf"}},
		{"it vanishes", func() { in.Config = nil }, nil},
		{"it comes back", func() { given(&in, "a", "2", "b", "3") }, nil},
		{"a label", func() { in.Pod = in.Pod.DeepCopy(); in.Pod.Labels["tier"] = "x" }, []string{"update files of Pod/shop/web: volume labels"}},
	}
	for _, s := range steps {
		s.change()
		plan := look(&in)
		if diff := cmp.Diff(s.want, told(plan)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
		for _, a := range plan.Actions {
			if u, ok := a.(reconcile.UpdateFiles); ok {
				write(&in, u.Volumes)
				if u.Volumes[0].Files.Entries == nil {
					t.Errorf("%s: no content is given", s.name)
				}
			}
		}
		if got := told(look(&in)); len(got) != 0 {
			t.Errorf("%s: the second look plans %q", s.name, got)
		}
	}
}

// TestFilesOfNewSandbox holds that a pod gets its sandbox back also when what its volumes hold has vanished: the machine has it still.
func TestFilesOfNewSandbox(t *testing.T) {
	in := running(func(in *pod.Input) {
		given(in, "a", "1")
		in.Pod.Spec.Volumes = []corev1.Volume{{Name: "conf", VolumeSource: configMap()}}
	})
	was := in.Observed.Sandbox.Files["conf"]
	in.Observed.Sandbox.Ready = false
	in.Observed.Containers[0].State = runtime.Exited
	box, _ := wish(t, in)
	if f := box.Volumes[0].Files; f.Hash != was || len(f.Entries) != 2 {
		t.Errorf("the new sandbox gets %+v", f)
	}
	in.Config = nil
	box, _ = wish(t, in)
	if f := box.Volumes[0].Files; f.Hash != was || f.Entries != nil {
		t.Errorf("without the ConfigMap the new sandbox gets %+v", f)
	}
}

func TestExpandUnclosed(t *testing.T) {
	_, c := wish(t, func() pod.Input {
		in := fresh()
		in.Pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "$(A) $(x $$ y"}}
		in.Pod.Spec.Containers[0].Command = []string{"$(A)", "$$(A)", "$$$(A)", "$(C)", "$", "$x"}
		return in
	}())
	if diff := cmp.Diff([]string{"A=1", "B=1 $(x $ y"}, c.Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"1", "$(A)", "$1", "$(C)", "$", "$x"}, c.Command); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
}
