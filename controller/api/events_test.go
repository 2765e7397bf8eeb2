package api

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/reconcile"
)

const (
	oldEvents = "/api/v1/namespaces/default/events"
	newEvents = "/apis/events.k8s.io/v1/namespaces/default/events"
	oldStyle  = `{"metadata":{"name":"e"},"involvedObject":{"kind":"Pod","namespace":"default","name":"p"},"reason":"Synced","message":"all is well","type":"Normal",` +
		`"count":1,"firstTimestamp":"2026-01-02T03:04:05Z","lastTimestamp":"2026-01-02T03:04:05Z","source":{"component":"mine"}}`
	newStyle = `{"metadata":{"name":"e"},"regarding":{"kind":"Pod","namespace":"default","name":"p"},"reason":"Synced","note":"all is well","type":"Normal",` +
		`"eventTime":"2026-01-02T03:04:05.000001Z","action":"Sync","reportingController":"example.org/mine","reportingInstance":"mine-1"}`
)

// What client-go's recorders of either API send is kept, and so is that it happened again.
func TestEventsOfClients(t *testing.T) {
	long := func(n int) string { return strings.Replace(oldStyle, "all is well", strings.Repeat("x", n), 1) }
	patch := func(path, media, body string) [4]string { return [4]string{"PATCH", path + "/e", media, body} }
	tests := map[string]struct {
		had     string // of the older API, in the namespace
		ask     [4]string
		code    int
		message string
		check   func(e *corev1.Event) bool
	}{
		"told": {ask: [4]string{"POST", oldEvents, jsonType, oldStyle}, code: 201, check: func(e *corev1.Event) bool { return e.Count == 1 && e.Source.Component == "mine" }},
		"told anew": {ask: [4]string{"POST", newEvents, jsonType, newStyle}, code: 201, check: func(e *corev1.Event) bool {
			return e.Message == "all is well" && e.InvolvedObject.Name == "p" && e.Action == "Sync" && e.EventTime.Nanosecond() == 1000
		}},
		"twice":          {had: oldStyle, ask: [4]string{"POST", oldEvents, jsonType, oldStyle}, code: 409, message: "already exists"},
		"a name to make": {ask: [4]string{"POST", oldEvents, jsonType, strings.Replace(oldStyle, `"name":"e"`, `"generateName":"e-"`, 1)}, code: 201},
		"no name":        {ask: [4]string{"POST", oldEvents, jsonType, strings.Replace(oldStyle, `"name":"e"`, ``, 1)}, code: 422, message: "name or generateName is required"},
		"a bad name":     {ask: [4]string{"POST", oldEvents, jsonType, strings.Replace(oldStyle, `"name":"e"`, `"name":"a/b"`, 1)}, code: 422, message: "may not contain '/'"},
		"of elsewhere":   {ask: [4]string{"POST", oldEvents, jsonType, strings.Replace(oldStyle, `"namespace":"default"`, `"namespace":"shop"`, 1)}, code: 422, message: "does not match event.namespace"},
		"nowhere":        {ask: [4]string{"POST", strings.Replace(oldEvents, "default", "none", 1), jsonType, oldStyle}, code: 404, message: `namespaces "none" not found`},
		"half":           {ask: [4]string{"POST", newEvents, jsonType, strings.Replace(newStyle, `"action":"Sync",`, ``, 1)}, code: 422, message: "action: Required value"},
		"a dry run":      {ask: [4]string{"POST", oldEvents + "?dryRun=All", jsonType, oldStyle}, code: 201},
		"another field":  {ask: [4]string{"POST", oldEvents + "?fieldValidation=Strict", jsonType, `{"color":1,` + oldStyle[1:]}, code: 400, message: `unknown field "color"`},
		"not a number":   {ask: [4]string{"POST", oldEvents, jsonType, strings.Replace(oldStyle, `"count":1`, `"count":"x"`, 1)}, code: 400, message: "cannot be handled"},
		"large":          {ask: [4]string{"POST", oldEvents, jsonType, long(maxEvent - 1024)}, code: 201, check: func(e *corev1.Event) bool { return len(e.Message) == maxEvent-1024 }},
		"too large":      {ask: [4]string{"POST", oldEvents, jsonType, long(maxEvent)}, code: 413, message: "limit is"},
		"again": {had: oldStyle, ask: patch(oldEvents, strategicType, `{"count":2,"lastTimestamp":"2026-01-02T03:05:05Z"}`), code: 200, check: func(e *corev1.Event) bool {
			return e.Count == 2 && e.LastTimestamp.Minute() == 5 && e.FirstTimestamp.Minute() == 4
		}},
		"again, grown":      {had: oldStyle, ask: patch(oldEvents, strategicType, `{"message":"`+strings.Repeat("x", maxEvent)+`"}`), code: 413},
		"again, gone":       {ask: patch(oldEvents, strategicType, `{"count":2}`), code: 404, message: `events "e" not found`},
		"a series":          {had: oldStyle, ask: patch(oldEvents, strategicType, `{"series":{"count":2,"lastObservedTime":"2026-01-02T03:05:05.000000Z"}}`), code: 200, check: func(e *corev1.Event) bool { return e.Series.Count == 2 }},
		"a series, anew":    {had: oldStyle, ask: patch(newEvents, strategicType, `{"series":{"count":2,"lastObservedTime":"2026-01-02T03:05:05.000000Z"}}`), code: 200, check: func(e *corev1.Event) bool { return e.Series.Count == 2 && e.Message == "all is well" }},
		"other words":       {had: oldStyle, ask: patch(newEvents, mergePatchType, `{"note":"otherwise"}`), code: 422, message: "field is immutable"},
		"a label":           {had: oldStyle, ask: patch(oldEvents, mergePatchType, `{"metadata":{"labels":{"a":"b"}}}`), code: 200, check: func(e *corev1.Event) bool { return e.Labels["a"] == "b" }},
		"applied":           {ask: [4]string{"PATCH", oldEvents + "/e?fieldManager=m", applyType, oldStyle}, code: 201, check: func(e *corev1.Event) bool { return len(e.ManagedFields) == 1 }},
		"of another time":   {had: oldStyle, ask: patch(oldEvents, mergePatchType, `{"metadata":{"resourceVersion":"1"}}`), code: 409, message: "has been modified"},
		"replaced":          {had: oldStyle, ask: [4]string{"PUT", oldEvents + "/e", jsonType, strings.Replace(oldStyle, `"count":1`, `"count":7`, 1)}, code: 200, check: func(e *corev1.Event) bool { return e.Count == 7 }},
		"put where is none": {ask: [4]string{"PUT", oldEvents + "/e", jsonType, oldStyle}, code: 201, check: func(e *corev1.Event) bool { return e.Count == 1 }},
		"deleted":           {had: oldStyle, ask: [4]string{"DELETE", newEvents + "/e", jsonType, ""}, code: 200},
		"all deleted":       {had: oldStyle, ask: [4]string{"DELETE", oldEvents, jsonType, ""}, code: 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := newPlace(t)
			if tt.had != "" {
				if code, out, _ := askTo(s, "POST", oldEvents, jsonType, tt.had); code != 201 {
					t.Fatalf("%d %v", code, out)
				}
			}
			code, out, _ := askTo(s, tt.ask[0], tt.ask[1], tt.ask[2], tt.ask[3])
			if message, _ := out["message"].(string); code != tt.code || !strings.Contains(message, tt.message) && tt.message != "" {
				t.Errorf("got %d %v, want %d %s", code, out, tt.code, tt.message)
			}
			e, ok := store.Get[*corev1.Event](p.store, reconcile.Key{Kind: "Event", Namespace: "default", Name: "e"})
			if tt.check != nil && (!ok || !tt.check(e)) {
				t.Errorf("there is %+v", e)
			}
			if left := tt.check != nil || tt.had != "" && tt.ask[0] != "DELETE"; left != ok {
				t.Errorf("it is there: %t, want %t", ok, left)
			}
			if p.files["a.yaml"] == "" || len(p.files) != 2 {
				t.Errorf("files: %v", p.files)
			}
		})
	}
}

// Nobody fills the memory with events, and what went well makes room first.
func TestEventsOfClientsAreBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		n       int
		message string
	}{"many": {2 * maxTold, "x"}, "large": {2 * maxToldSize / maxEvent, strings.Repeat("x", maxEvent-1024)}} {
		t.Run(name, func(t *testing.T) {
			p, s := newPlace(t)
			own := &corev1.Event{}
			own.Name, own.Namespace, own.Message = "own", "default", "berth's"
			if err := p.store.Create(reconcile.KeyOf(own), own, nil); err != nil {
				t.Fatal(err)
			}
			for i := range tt.n {
				kind := "Normal"
				if i == 0 {
					kind = "Warning"
				}
				body := fmt.Sprintf(`{"metadata":{"name":"e%d"},"involvedObject":{"namespace":"default"},"type":%q,"message":%q}`, i, kind, tt.message)
				if code, out, _ := askTo(s, "POST", oldEvents, jsonType, body); code != 201 {
					t.Fatalf("%d %v", code, out)
				}
			}
			size := 0
			there := map[string]bool{}
			for _, it := range p.store.List("Event") {
				there[it.Key.Name] = true
				size += len(it.Object.(*corev1.Event).Message)
			}
			if len(there) > maxTold+1 || size > maxToldSize || len(there) < 200 {
				t.Errorf("%d events of %d bytes", len(there), size)
			}
			for _, name := range []string{"own", "e0", fmt.Sprintf("e%d", tt.n-1)} {
				if !there[name] {
					t.Errorf("%s is gone", name)
				}
			}
		})
	}
}
