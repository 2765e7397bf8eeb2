package request_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile/request"
)

func TestHold(t *testing.T) {
	h := request.Hold{
		Wish: "w", Run: "web-1", From: "web-2", Cause: request.CauseDeadline, Message: `"x" < y`,
		Since: metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)), RestartedAt: "2026-01-01T00:00:00Z",
	}
	got, ok := request.ReadHold(map[string]string{request.AnnotationHold: h.String()})
	if diff := cmp.Diff(h, got); diff != "" || !ok {
		t.Errorf("read %t (-want +got):\n%s", ok, diff)
	}
	for _, text := range []string{"", "{", "{}", "[]", `"web-1"`} {
		if h, ok := request.ReadHold(map[string]string{request.AnnotationHold: text}); ok {
			t.Errorf("%q is the hold %+v", text, h)
		}
	}
}

func TestWith(t *testing.T) {
	had := map[string]string{"a": "1"}
	tests := map[string]struct {
		name, value string
		want        map[string]string
	}{
		"added":     {"b", "2", map[string]string{"a": "1", "b": "2"}},
		"changed":   {"a", "2", map[string]string{"a": "2"}},
		"the same":  {"a", "1", map[string]string{"a": "1"}},
		"removed":   {"a", "", map[string]string{}},
		"not there": {"b", "", map[string]string{"a": "1"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, request.With(had, tt.name, tt.value)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if len(had) != 1 || had["a"] != "1" {
		t.Errorf("the set was written into: %v", had)
	}
}

func TestTemplate(t *testing.T) {
	file := &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"a": "1"}}}
	if diff := cmp.Diff(*file, request.Template(file, "")); diff != "" {
		t.Errorf("no restart (-want +got):\n%s", diff)
	}
	got := request.Template(file, "now").Annotations
	if diff := cmp.Diff(map[string]string{"a": "1", "kubectl.kubernetes.io/restartedAt": "now"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(file.Annotations) != 1 {
		t.Errorf("the file's template was written into: %v", file.Annotations)
	}
}

func TestRestarted(t *testing.T) {
	if diff := cmp.Diff(map[string]string{request.AnnotationRestartedAt: "now"}, request.Restarted(nil, "now")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	held := map[string]string{request.AnnotationHold: request.Hold{Run: "web-1"}.String()}
	got := request.Restarted(held, "now")
	if h, _ := request.ReadHold(got); h.Run != "web-1" || h.RestartedAt != "now" || got[request.AnnotationRestartedAt] != "" {
		t.Errorf("held: %v", got)
	}
}

func TestAuto(t *testing.T) {
	for value, want := range map[string]bool{"": true, "true": true, "false": false, "False": false, "0": false, "never": true} {
		if got := request.Auto(map[string]string{request.AnnotationAuto: value}); got != want {
			t.Errorf("%q: %t", value, got)
		}
	}
	if !request.Auto(nil) {
		t.Error("without annotations")
	}
}

func TestSame(t *testing.T) {
	for name, want := range map[string]bool{
		request.AnnotationRestartedAt: false, request.AnnotationPaused: false, request.AnnotationHold: false,
		request.AnnotationRevision: true, request.AnnotationAuto: true, "team": true,
	} {
		if got := request.Same(nil, map[string]string{name: "x"}); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}
