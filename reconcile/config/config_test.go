package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
)

func named(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

func variable(ref *corev1.ConfigMapKeySelector) corev1.EnvVar {
	return corev1.EnvVar{Name: "V", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: ref}}
}

func TestReferences(t *testing.T) {
	yes, no := true, false
	tests := map[string]struct {
		spec corev1.PodSpec
		want []Reference
	}{
		"nothing": {corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{named("registry")}}, []Reference{}},
		"each object once, sorted": {
			corev1.PodSpec{
				InitContainers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: named("b")}}}}},
				Containers: []corev1.Container{{Env: []corev1.EnvVar{
					variable(&corev1.ConfigMapKeySelector{LocalObjectReference: named("z"), Key: "two"}),
					variable(&corev1.ConfigMapKeySelector{LocalObjectReference: named("z"), Key: "one", Optional: &no}),
					{Name: "P", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: named("a"), Key: "p", Optional: &yes}}},
				}}},
				Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "b"}}}},
			},
			[]Reference{
				{Kind: reconcile.KindConfigMap, Name: "z", Keys: []Key{{Name: "one"}, {Name: "two"}}},
				{Kind: reconcile.KindSecret, Name: "a", Optional: true, Keys: []Key{{"p", true}}},
				{Kind: reconcile.KindSecret, Name: "b", All: true},
			},
		},
		"optional only if every use is": {
			corev1.PodSpec{
				Containers: []corev1.Container{{
					EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: named("m"), Optional: &yes}}},
					Env:     []corev1.EnvVar{variable(&corev1.ConfigMapKeySelector{LocalObjectReference: named("m"), Key: "k"})},
				}},
				Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
					LocalObjectReference: named("m"), Items: []corev1.KeyToPath{{Key: "k"}, {Key: "l"}}, Optional: &yes,
				}}}},
			},
			[]Reference{{Kind: reconcile.KindConfigMap, Name: "m", All: true, Keys: []Key{{"k", false}, {"l", true}}}},
		},
		"projected": {
			corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: named("m"), Optional: &yes}},
				{Secret: &corev1.SecretProjection{LocalObjectReference: named("s"), Items: []corev1.KeyToPath{{Key: "k"}}}},
				{DownwardAPI: &corev1.DownwardAPIProjection{}},
			}}}}}},
			[]Reference{{Kind: reconcile.KindConfigMap, Name: "m", Optional: true, All: true}, {Kind: reconcile.KindSecret, Name: "s", Keys: []Key{{Name: "k"}}}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, References(&tt.spec)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestContent(t *testing.T) {
	m := OfConfigMap(&corev1.ConfigMap{Data: map[string]string{"b": "text"}, BinaryData: map[string][]byte{"a": {0xff}}})
	s := OfSecret(&corev1.Secret{Data: map[string][]byte{"b": []byte("text")}})
	if diff := cmp.Diff([]string{"a", "b"}, m.Files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"b"}, m.Variables()); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	for _, c := range []*Content{m, s} {
		if v, ok := c.Variable("b"); v != "text" || !ok {
			t.Errorf("variable b is %q, %t", v, ok)
		}
		if data, ok := c.File("b"); string(data) != "text" || !ok {
			t.Errorf("file b is %q, %t", data, ok)
		}
	}
	if _, ok := m.Variable("a"); ok {
		t.Error("binary data became a variable")
	}
	if m.Hash("a") == m.Hash("b") || m.Hash("b") != s.Hash("b") || m.Hash("b") == "" || m.Hash("none") != "" {
		t.Errorf("hashes %q, %q, %q, %q", m.Hash("a"), m.Hash("b"), s.Hash("b"), m.Hash("none"))
	}
}

func TestTake(t *testing.T) {
	content := func(pairs ...string) *Content {
		data := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			data[pairs[i]] = pairs[i+1]
		}
		return OfConfigMap(&corev1.ConfigMap{Data: data})
	}
	whole := Reference{Kind: reconcile.KindConfigMap, Name: "m", All: true}
	optional := Reference{Kind: reconcile.KindConfigMap, Name: "m", All: true, Optional: true}
	key := Reference{Kind: reconcile.KindConfigMap, Name: "m", Keys: []Key{{Name: "k"}}}
	optionalKey := Reference{Kind: reconcile.KindConfigMap, Name: "m", Keys: []Key{{"k", true}}}
	both := Reference{Kind: reconcile.KindConfigMap, Name: "m", All: true, Keys: []Key{{Name: "k"}}}
	tests := map[string]struct {
		ref         Reference
		old, now    *Content
		known, same bool // known: now says something; same: Matches
	}{
		"unchanged":                          {whole, content("k", "1"), content("k", "1"), true, true},
		"changed":                            {whole, content("k", "1"), content("k", "2"), true, false},
		"a key more":                         {whole, content("k", "1"), content("k", "1", "l", "1"), true, false},
		"vanished":                           {whole, content("k", "1"), nil, false, true},
		"appeared":                           {whole, nil, content("k", "1"), true, true},
		"an optional one vanished":           {optional, content("k", "1"), nil, true, false},
		"an optional one appeared":           {optional, nil, content("k", "1"), true, false},
		"an optional one is not there still": {optional, nil, nil, true, true},
		"the key changed":                    {key, content("k", "1"), content("k", "2"), true, false},
		"another key changed":                {key, content("k", "1", "l", "1"), content("k", "1", "l", "2"), true, true},
		"the key vanished":                   {key, content("k", "1"), content("l", "1"), false, true},
		"the key appeared":                   {key, content("l", "1"), content("k", "1", "l", "1"), true, true},
		"an optional key appeared":           {optionalKey, content("l", "1"), content("k", "1"), true, false},
		"an optional key is empty":           {optionalKey, content("l", "1"), content("k", ""), true, false},
		"the whole lacks a key":              {both, content("k", "1"), content("l", "1"), false, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			take := func(c *Content) Fingerprint {
				if c == nil {
					return Take([]Reference{tt.ref}, nil)
				}
				return Take([]Reference{tt.ref}, Contents{tt.ref.Object(): c})
			}
			old, now := take(tt.old), take(tt.now)
			if known := len(now) == 1; known != tt.known {
				t.Errorf("fingerprint %q, want known: %t", now, tt.known)
			}
			if same := Matches(old, now); same != tt.same {
				t.Errorf("Matches(%q, %q) = %t", old, now, same)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	a, b := Object{reconcile.KindConfigMap, "a"}, Object{reconcile.KindSecret, "b"}
	recorded := Fingerprint{a: "1"}
	merged := Merge(recorded, Fingerprint{a: "2", b: "3"})
	if diff := cmp.Diff(Fingerprint{a: "1", b: "3"}, merged); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(recorded) != 1 {
		t.Errorf("the record was written into: %v", recorded)
	}
	if got := Merge(nil, recorded); !cmp.Equal(recorded, got) {
		t.Errorf("into nothing: %v", got)
	}
	if got := Merge(nil, nil); got != nil {
		t.Errorf("nothing into nothing: %v", got)
	}
}

func TestString(t *testing.T) {
	odd := `a,b="c"/d`
	f := Fingerprint{{reconcile.KindSecret, "b"}: absent, {reconcile.KindConfigMap, "a.b"}: "12", {reconcile.KindConfigMap, odd}: "3"}
	const want = `{"ConfigMap/a,b=\"c\"/d":"3","ConfigMap/a.b":"12","Secret/b":"absent"}`
	if f.String() != want {
		t.Errorf("String = %s", f)
	}
	if diff := cmp.Diff(f, Parse(want)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, s := range []string{"", "{", "[]", "null"} {
		if got := Parse(s); len(got) != 0 || got.String() != "" {
			t.Errorf("Parse(%q) = %v", s, got)
		}
	}
}

func TestRollsOut(t *testing.T) {
	for value, want := range map[string]bool{"": true, "true": true, "false": false, "False": false, "never": true} {
		if got := RollsOut(map[string]string{AnnotationRollout: value}); got != want {
			t.Errorf("%q: %t", value, got)
		}
	}
	if !RollsOut(nil) {
		t.Error("without annotations")
	}
}
