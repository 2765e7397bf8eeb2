package pod_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile/pod"
)

func TestEnvFile(t *testing.T) {
	tests := map[string]struct {
		file     string // "-" for none
		optional bool
		want     []string
		waits    string
	}{
		"a value":                     {file: "A='0'\nB='one two'\n", want: []string{"V=one two"}},
		"comments and blanks":         {file: "# first\n\n \t B='one' # two\n", want: []string{"V=one"}},
		"nothing is special inside":   {file: "B='$A \"#\\n'", want: []string{"V=$A \"#\\n"}},
		"several lines":               {file: "A='1\nB=x'\nB='one\n  two'", want: []string{"V=one\n  two"}},
		"the first counts":            {file: "B='one'\nB='two'", want: []string{"V=one"}},
		"lines of another system":     {file: "B='one'\r\n", want: []string{"V=one"}},
		"what comes later may be bad": {file: "B='one'\nB", want: []string{"V=one"}},
		"no file":                     {file: "-", waits: `key "B" not found in file "d/f" of volume "v"`},
		"no key":                      {file: "A='1'", waits: `key "B" not found`},
		"empty":                       {file: "B=''", waits: `key "B" not found`},
		"a blank after =":             {file: "B= 'one'", waits: `key "B" not found`},
		"no file, optional":           {file: "-", optional: true},
		"no key, optional":            {file: "A='1'", optional: true},
		"no =":                        {file: "A='1'\nsecret", waits: "line 2: there is no '='"},
		"no name":                     {file: "='secret'", waits: "line 1: there must be a name"},
		"a blank before =":            {file: "B ='secret'", waits: "line 1: there must be a name"},
		"no quotes":                   {file: "B=secret", waits: "line 1: the value must be in single quotes"},
		"not closed":                  {file: "A='1'\nB='secret\n", waits: "line 2: the quote is not closed"},
		"more after it":               {file: "B='one'secret", waits: "line 1: after the closing quote"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := fresh()
			in.Pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			in.Pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "V", ValueFrom: &corev1.EnvVarSource{
				FileKeyRef: &corev1.FileKeySelector{VolumeName: "v", Path: "d/f", Key: "B", Optional: &tt.optional},
			}}}
			if diff := cmp.Diff([]pod.EnvFile{{Volume: "v", Path: "d/f"}}, pod.EnvFiles(&in.Pod.Spec)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if tt.file != "-" {
				in.EnvFiles = map[pod.EnvFile][]byte{{Volume: "v", Path: "d/f"}: []byte(tt.file)}
			}
			if tt.waits == "" {
				_, c := wish(t, in)
				if diff := cmp.Diff(append([]string{}, tt.want...), c.Env); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				return
			}
			plan := look(&in)
			if got := waits(&in); !strings.Contains(got, tt.waits) || !strings.HasPrefix(got, "CreateContainerConfigError") || strings.Contains(got, "secret") {
				t.Errorf("it waits for %q, want %q", got, tt.waits)
			}
			if plan.RequeueAfter != time.Second {
				t.Errorf("it looks again after %v", plan.RequeueAfter)
			}
		})
	}
}
