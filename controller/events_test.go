package controller

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/runtime"
)

func TestEventsAreMergedAndBounded(t *testing.T) {
	clock := testclock.NewFakePassiveClock(time.Unix(1000, 0))
	e := newEvents(clock, newNotifier(), eventStore(t))
	key := reconcile.Key{Kind: "Pod", Namespace: "shop", Name: "web"}
	for i := range 3 {
		clock.SetTime(time.Unix(1000+int64(i), 0))
		e.add(reconcile.RecordEvent{Key: key, Warning: true, Reason: "Failed", Message: "no"})
	}
	e.add(reconcile.RecordEvent{Key: key, Reason: "Started", Message: "yes"})
	got := e.tail(10, true)
	if len(got) != 2 || got[0].Count != 3 || got[0].Type != "Warning" || got[0].Last.Sub(got[0].First) != 2*time.Second || got[1].Type != "Normal" {
		t.Errorf("events: %+v", got)
	}
	for i := range 3 * maxEvents {
		clock.SetTime(time.Unix(2000+int64(i), 0))
		e.add(reconcile.RecordEvent{Key: key, Reason: fmt.Sprint("Flood", i), Message: fmt.Sprint(i)})
	}
	got = e.tail(10*maxEvents, true)
	if len(got) > maxEvents || got[len(got)-1].Message != fmt.Sprint(3*maxEvents-1) {
		t.Errorf("%d events, the last is %+v", len(got), got[len(got)-1])
	}
}

func TestCredentialsOfSecrets(t *testing.T) {
	inWorld(t, func(w *world) {
		secret := &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "login"}, Type: corev1.SecretTypeDockerConfigJson,
			Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"https://reg.test/v1/":{"auth":"bWU6c2VjOnJldA=="},"other.test":{"username":"u","password":"p"}}}`)},
		}
		junk := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "junk"}, Type: corev1.SecretTypeDockerConfigJson}
		w.start()
		w.write(object(manifests.Key{Kind: "Secret", Namespace: "shop", Name: "login"}, secret), object(manifests.Key{Kind: "Secret", Namespace: "shop", Name: "junk"}, junk))
		w.restart() // and they come back as Secrets
		if _, ok := store.Get[*corev1.Secret](w.c.store, reconcile.Key{Kind: "Secret", Namespace: "shop", Name: "login"}); !ok {
			t.Fatalf("the Secret came back as %+v", w.c.store.List("Secret"))
		}
		got := w.c.credentials(reconcile.PullImage{Pod: reconcile.Key{Kind: "Pod", Namespace: "shop", Name: "p"}, Secrets: []string{"none", "junk", "login"}})
		want := []runtime.Credential{{Registry: "reg.test", Username: "me", Password: "sec:ret"}, {Registry: "other.test", Username: "u", Password: "p"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("credentials (-want +got):\n%s", diff)
		}
	})
}

func eventStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What the API shows of events is what there is, and no more of them.
func TestEventsAreShown(t *testing.T) {
	clock := testclock.NewFakePassiveClock(time.Unix(1000, 0))
	s := eventStore(t)
	e := newEvents(clock, newNotifier(), s)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u"}}
	if err := s.Create(reconcile.KeyOf(pod), pod, nil); err != nil {
		t.Fatal(err)
	}
	stated := reconcile.Key{Kind: reconcile.KindBarePod, Namespace: "shop", Name: "web"}
	for range 3 {
		e.add(reconcile.RecordEvent{Key: stated, UID: "wish", Reason: "Pulled", Message: "yes"})
	}
	shown := s.List(reconcile.KindEvent)
	if len(shown) != 1 {
		t.Fatalf("%d events are shown, want 1", len(shown))
	}
	ev := shown[0].Object.(*corev1.Event)
	want := corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web", UID: "u", APIVersion: "v1"}
	got := ev.InvolvedObject
	got.ResourceVersion = ""
	if ev.Count != 3 || got != want {
		t.Errorf("event %d times about %+v, want 3 times about %+v", ev.Count, got, want)
	}
	for i := range maxEvents + 50 {
		clock.SetTime(time.Unix(2000+int64(i), 0))
		e.add(reconcile.RecordEvent{Key: reconcile.Key{Kind: "Node", Name: fmt.Sprint("n", i)}, Reason: "Noise", Message: fmt.Sprint(i)})
	}
	if shown, kept := len(s.List(reconcile.KindEvent)), len(e.tail(2*maxEvents, true)); shown != kept || shown > maxEvents || shown < maxEvents*8/10 {
		t.Errorf("%d events are shown, %d kept, want the same, at most %d", shown, kept, maxEvents)
	}
}

// Of a thousand pods that are made in a moment nobody is told a thousand times, and all are counted.
func TestManyAlikeAreShownSeldom(t *testing.T) {
	clock := testclock.NewFakePassiveClock(time.Unix(1000, 0))
	s := eventStore(t)
	e := newEvents(clock, newNotifier(), s)
	changes := 0
	s.Watch(func(c store.Change) { changes++ })
	key := reconcile.Key{Kind: "ReplicaSet", Namespace: "shop", Name: "web"}
	for i := range 1000 {
		e.add(reconcile.RecordEvent{Key: key, Reason: "SuccessfulCreate", Message: fmt.Sprint("Created pod: web-", i)})
	}
	if changes != maxKin+1 {
		t.Errorf("%d changes were told, want %d", changes, maxKin+1)
	}
	clock.SetTime(time.Unix(1001, 0))
	e.add(reconcile.RecordEvent{Key: key, Reason: "Other", Message: "other"})
	counts := map[int32]int{}
	for _, it := range s.List(reconcile.KindEvent) {
		counts[it.Object.(*corev1.Event).Count]++
	}
	if diff := cmp.Diff(map[int32]int{1: maxKin + 1, 1000 - maxKin: 1}, counts); diff != "" {
		t.Errorf("how many are shown to have happened how often (-want +got):\n%s", diff)
	}
}

// An event that somebody deletes is gone, and when the same happens again it is a new one. What clients wrote on one stays when it happens again.
func TestEventsAreDeleted(t *testing.T) {
	clock := testclock.NewFakePassiveClock(time.Unix(1000, 0))
	s := eventStore(t)
	e := newEvents(clock, newNotifier(), s)
	told := reconcile.RecordEvent{Key: reconcile.Key{Kind: "Node", Name: "n"}, Reason: "Noise", Message: "loud"}
	e.add(told)
	first := s.List(reconcile.KindEvent)[0].Key
	if err := s.Update(first, func(it store.Item) (store.Item, error) {
		it.Object = it.Object.DeepCopyObject().(store.Object)
		it.Object.SetLabels(map[string]string{"a": "b"})
		return it, nil
	}); err != nil {
		t.Fatal(err)
	}
	e.add(told)
	if ev, ok := store.Get[*corev1.Event](s, first); !ok || ev.Count != 2 || ev.Labels["a"] != "b" {
		t.Errorf("the event is %+v", ev)
	}
	e.forget(first)
	if list := s.List(reconcile.KindEvent); len(list) != 0 || len(e.tail(10, true)) != 0 {
		t.Errorf("there is still %+v", list)
	}
	e.add(told)
	if list := s.List(reconcile.KindEvent); len(list) != 1 || list[0].Key == first || list[0].Object.(*corev1.Event).Count != 1 {
		t.Errorf("afterwards there is %+v", list)
	}
}
