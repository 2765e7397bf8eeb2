package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/service"
)

// place is a directory in memory whose files are in the store as soon as they are written.
type place struct {
	mu    sync.Mutex
	t     *testing.T
	store *store.Store
	files map[string]string
	fails error
	asked []string // of the controller

	refuses error // evictions
}

func (p *place) Rewrite(ctx context.Context, file string, change func([]byte) ([]byte, error)) error {
	return p.RewriteAll(ctx, []string{file}, func(_ string, data []byte) ([]byte, error) { return change(data) })
}

func (p *place) RewriteAll(_ context.Context, files []string, change func(string, []byte) ([]byte, error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	outs := map[string][]byte{}
	for _, file := range files {
		if p.fails != nil {
			return fmt.Errorf("cannot write %s: %w", file, p.fails)
		}
		var data []byte
		if text, ok := p.files[file]; ok {
			data = []byte(text)
		}
		var err error
		if outs[file], err = change(file, data); err != nil {
			return err
		}
	}
	for file, out := range outs {
		if delete(p.files, file); out != nil {
			p.files[file] = string(out)
		}
	}
	p.ingest()
	return nil
}

func (p *place) ingest() {
	for file, text := range p.files {
		for _, o := range manifests.Decode(file, []byte(text)).Objects {
			key := reconcile.Key{Kind: o.Key.Kind, Namespace: o.Key.Namespace, Name: o.Key.Name}
			if key.Kind == reconcile.KindPod {
				key.Kind = reconcile.KindBarePod
			}
			obj, src := o.Object.(store.Object), &store.Source{Origin: o.Origin, Hash: o.Hash}
			if err := p.store.Create(key, obj, src); err == nil {
				continue
			}
			if err := p.store.Update(key, func(it store.Item) (store.Item, error) {
				if it.Source != nil && it.Source.Hash == o.Hash {
					return it, nil
				}
				return store.Item{Object: obj, Source: src}, nil
			}); err != nil {
				p.t.Error(err)
			}
		}
	}
}

func (p *place) Delete(key reconcile.Key, uid types.UID, _ *int64, alone bool) error {
	p.asked = append(p.asked, "delete "+key.String()+map[bool]string{true: " alone"}[alone])
	p.store.Delete(key, uid)
	for _, it := range p.store.List("") {
		if key.Kind == reconcile.KindNamespace && it.Key.Namespace == key.Name {
			p.store.Delete(it.Key, "")
		}
	}
	p.ingest()
	return nil
}

// NoteBeside does nothing: what is beside the file is written after it then.
func (p *place) NoteBeside(reconcile.Key, map[string]string, []metav1.ManagedFieldsEntry) func() {
	return func() {}
}

func (p *place) RefuseService(wish *corev1.Service) field.ErrorList {
	var services []*corev1.Service
	for _, it := range p.store.List(reconcile.KindService) {
		services = append(services, it.Object.(*corev1.Service))
	}
	return service.Refuse(wish, services, service.Ranges{IPv4: netip.MustParsePrefix("10.43.0.0/16")})
}

func (p *place) Leave(key reconcile.Key, _ types.UID) {
	p.asked = append(p.asked, "leave "+key.String())
}

func (p *place) Evict(key reconcile.Key, dry bool, end func() error) error {
	if p.refuses != nil {
		return p.refuses
	}
	p.asked = append(p.asked, fmt.Sprintf("evict %s dry=%t", key, dry))
	return end()
}

func (p *place) Carry(_ context.Context, pod reconcile.Key) error { return p.note("carry", pod) }

func (p *place) SetEphemeral(_ context.Context, wish *corev1.Pod) (changed bool, err error) {
	return false, p.store.Update(reconcile.KeyOf(wish), func(it store.Item) (store.Item, error) {
		changed = it.Object.GetResourceVersion() != wish.ResourceVersion
		it.Object = wish
		return it, nil
	})
}

func (p *place) note(what string, key reconcile.Key) error {
	p.asked = append(p.asked, what+" "+key.String())
	return nil
}

func (p *place) Restart(key reconcile.Key) error { return p.note("restart", key) }
func (p *place) Pause(key reconcile.Key) error   { return p.note("pause", key) }
func (p *place) Resume(key reconcile.Key) error  { return p.note("resume", key) }
func (p *place) Rollback(key reconcile.Key, n int64) error {
	return p.note(fmt.Sprint("rollback ", n), key)
}

func newPlace(t *testing.T) (*place, *Server) {
	t.Helper()
	st, err := store.Open(store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, store: st, files: map[string]string{
		"a.yaml": "# two\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {v: \"1\"} # one\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, labels: {x: z}}\n",
		"d.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  selector: {matchLabels: {a: b}}\n  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}\n",
	}}
	s := New(Options{Store: st})
	s.HandleWrites(p, p)
	p.ingest()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if err := st.Create(reconcile.Key{Kind: reconcile.KindNamespace, Name: "default"}, ns, nil); err != nil {
		t.Fatal(err)
	}
	return p, s
}

func askTo(s *Server, method, path, media, body string) (int, map[string]any, http.Header) {
	hr := httptest.NewRequest(method, path, strings.NewReader(body))
	hr.Header.Set("Content-Type", media)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, hr)
	var out map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &out)
	return w.Code, out, w.Header()
}

const (
	configMaps = "/api/v1/namespaces/default/configmaps"
	deployment = "/apis/apps/v1/namespaces/default/deployments/d"
)

func TestWrites(t *testing.T) {
	tests := map[string]struct {
		method, path, media, body string
		code                      int
		message                   string // a part of it
		old, now                  string // in a.yaml or d.yaml
		asked                     string
		fails                     error
	}{
		"a merge patch":          {method: "PATCH", path: configMaps + "/a", media: mergePatchType, body: `{"data":{"v":"2"}}`, code: 200, old: `"1"`, now: `"2"`},
		"a dry run":              {method: "PATCH", path: configMaps + "/a?dryRun=All", media: mergePatchType, body: `{"data":{"v":"2"}}`, code: 200},
		"half a dry run":         {method: "PATCH", path: configMaps + "/a?dryRun=Half", media: mergePatchType, body: `{}`, code: 400, message: "dryRun"},
		"into no namespace":      {method: "POST", path: "/api/v1/configmaps", media: jsonType, body: `{"metadata":{"name":"z"}}`, code: 405, message: "is not supported on resources"},
		"of all namespaces":      {method: "DELETE", path: "/api/v1/configmaps", media: jsonType, code: 405, message: "is not supported on resources"},
		"nothing":                {method: "PATCH", path: configMaps + "/a", media: mergePatchType, body: `{}`, code: 200},
		"not there":              {method: "PATCH", path: configMaps + "/z", media: mergePatchType, body: `{}`, code: 404, message: `configmaps "z" not found`},
		"another version":        {method: "PATCH", path: configMaps + "/a", media: mergePatchType, body: `{"metadata":{"resourceVersion":"1"}}`, code: 409, message: "has been modified"},
		"another object":         {method: "PATCH", path: configMaps + "/a", media: mergePatchType, body: `{"metadata":{"uid":"x"}}`, code: 409, message: "UID in precondition"},
		"another name":           {method: "PATCH", path: configMaps + "/a", media: mergePatchType, body: `{"metadata":{"name":"x"}}`, code: 400, message: "does not match the name"},
		"a wrong type":           {method: "PATCH", path: configMaps + "/a", media: mergePatchType, body: `{"data":{"v":1}}`, code: 400, message: "must be a string"},
		"not valid":              {method: "PATCH", path: deployment, media: mergePatchType, body: `{"spec":{"replicas":-1}}`, code: 422, message: "spec.replicas: Invalid value: -1"},
		"an unknown field":       {method: "PATCH", path: deployment + "?fieldValidation=Strict", media: mergePatchType, body: `{"spec":{"foo":1}}`, code: 400, message: `strict decoding error: unknown field "spec.foo"`},
		"an ignored field":       {method: "PATCH", path: deployment + "?fieldValidation=Ignore", media: mergePatchType, body: `{"spec":{"foo":1}}`, code: 200},
		"an immutable field":     {method: "PATCH", path: deployment, media: mergePatchType, body: `{"spec":{"selector":{"matchLabels":{"a":"c"}},"template":{"metadata":{"labels":{"a":"c"}}}}}`, code: 422, message: "field is immutable"},
		"a whole object":         {method: "PUT", path: configMaps + "/a", media: jsonType, body: `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"v":"1","w":"2"}}`, code: 200, old: `{v: "1"}`, now: `{v: "1", w: "2"}`},
		"a whole one in YAML":    {method: "PUT", path: configMaps + "/a", media: yamlType, body: "data: {v: x}\n", code: 200, old: `"1"`, now: `"x"`},
		"of another kind":        {method: "PUT", path: configMaps + "/a", media: jsonType, body: `{"apiVersion":"v1","kind":"Secret"}`, code: 400, message: "does not match the expected API version"},
		"a scale":                {method: "PATCH", path: deployment + "/scale", media: mergePatchType, body: `{"spec":{"replicas":3}}`, code: 200, old: "i}]}}\n", now: "i}]}}\n  replicas: 3\n"},
		"a restart":              {method: "PATCH", path: deployment, media: strategicType, body: `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-01-01T00:00:00Z"}}}}}`, code: 200, asked: "restart Deployment/default/d"},
		"a pause":                {method: "PATCH", path: deployment, media: strategicType, body: `{"spec":{"paused":true}}`, code: 200, asked: "pause Deployment/default/d"},
		"an unknown patch":       {method: "PATCH", path: deployment, media: "text/plain", body: `{}`, code: 415, message: "unknown format"},
		"a status":               {method: "PATCH", path: deployment + "/status", media: mergePatchType, body: `{}`, code: 405},
		"a delete":               {method: "DELETE", path: configMaps + "/b", code: 200, old: "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, labels: {x: z}}\n", asked: "delete ConfigMap/default/b"},
		"a dry delete":           {method: "DELETE", path: configMaps + "/b", media: jsonType, body: `{"dryRun":["All"]}`, code: 200},
		"a delete of another":    {method: "DELETE", path: configMaps + "/b", media: jsonType, body: `{"preconditions":{"uid":"x"}}`, code: 409, message: "Precondition failed"},
		"the default namespace":  {method: "DELETE", path: "/api/v1/namespaces/default", code: 403, message: "this namespace may not be deleted"},
		"a delete alone":         {method: "DELETE", path: configMaps + "/b", media: jsonType, body: `{"propagationPolicy":"Orphan"}`, code: 200, old: "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, labels: {x: z}}\n", asked: "leave ConfigMap/default/b, delete ConfigMap/default/b alone"},
		"alone and not alone":    {method: "DELETE", path: deployment, media: jsonType, body: `{"propagationPolicy":"Orphan","orphanDependents":true}`, code: 422, message: "orphanDependents and deletionPropagation cannot be both set"},
		"an unknown propagation": {method: "DELETE", path: deployment, media: jsonType, body: `{"propagationPolicy":"Alone"}`, code: 422, message: "propagationPolicy"},
		"a port it cannot have":  {method: "POST", path: "/api/v1/namespaces/default/services", media: jsonType, body: `{"metadata":{"name":"s"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":80}]}}`, code: 422, message: `Service "s" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range`},
		"a collection":           {method: "DELETE", path: configMaps + "?labelSelector=x=z", code: 200, old: "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, labels: {x: z}}\n", asked: "delete ConfigMap/default/b"},
		"there already":          {method: "POST", path: configMaps, media: jsonType, body: `{"metadata":{"name":"a"}}`, code: 409, message: `configmaps "a" already exists`},
		"no such namespace":      {method: "POST", path: "/api/v1/namespaces/none/configmaps", media: jsonType, body: `{"metadata":{"name":"n"}}`, code: 404, message: `namespaces "none" not found`},
		"a failing JSON patch":   {method: "PATCH", path: configMaps + "/a", media: jsonPatchType, body: `[{"op":"test","path":"/data/v","value":"x"}]`, code: 422, message: "the server rejected our request due to an error in our request"},
		"of another namespace":   {method: "POST", path: configMaps, media: jsonType, body: `{"metadata":{"name":"n","namespace":"x"}}`, code: 400, message: "does not match the namespace"},
		"without a name":         {method: "POST", path: configMaps, media: jsonType, body: `{}`, code: 422, message: "name or generateName is required"},
		"a read-only place":      {method: "PATCH", path: configMaps + "/a", media: mergePatchType, body: `{"data":{"v":"2"}}`, fails: manifests.ErrReadOnly, code: 403, message: "a.yaml:2"},
		"somebody else's change": {method: "PATCH", path: configMaps + "/a", media: mergePatchType, body: `{"data":{"v":"2"}}`, fails: manifests.ErrConflict, code: 409, message: "has been modified"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := newPlace(t)
			p.fails = tt.fails
			want := map[string]string{}
			for file, text := range p.files {
				want[file] = text
				if strings.Contains(text, tt.old) && tt.old != "" {
					want[file] = strings.Replace(text, tt.old, tt.now, 1)
				}
			}
			code, out, _ := askTo(s, tt.method, tt.path, tt.media, tt.body)
			if message, _ := out["message"].(string); code != tt.code || !strings.Contains(message, tt.message) {
				t.Errorf("got %d %v, want %d %s", code, out, tt.code, tt.message)
			}
			if diff := gocmp.Diff(want, p.files); diff != "" {
				t.Errorf("files (-want +got)\n%s", diff)
			}
			if got := strings.Join(p.asked, ", "); got != tt.asked {
				t.Errorf("asked %q, want %q", got, tt.asked)
			}
		})
	}
}

// A client is warned of what it writes, not of what stood there.
func TestWarnings(t *testing.T) {
	_, s := newPlace(t)
	for _, step := range []struct{ body, want string }{
		{`{"spec":{"template":{"spec":{"nodeName":"x"}}}}`, "nodeName"},
		{`{"metadata":{"labels":{"a":"b"}}}`, ""},
		{`{"spec":{"template":{"spec":{"priority":7}}}}`, "priority"},
	} {
		code, out, header := askTo(s, "PATCH", deployment, mergePatchType, step.body)
		got := strings.Join(header.Values("Warning"), " ")
		if code != http.StatusOK || !strings.Contains(got, step.want) || strings.Count(got, "299") > 1 || step.want == "" && got != "" {
			t.Errorf("%s: %d %v, warnings %q, want %q", step.body, code, out["message"], got, step.want)
		}
	}
}

// A dry run shows what would be, with what the server would add.
func TestDryRun(t *testing.T) {
	_, s := newPlace(t)
	_, out, _ := askTo(s, "POST", configMaps+"?dryRun=All", jsonType, `{"metadata":{"name":"n"}}`)
	if meta, _ := out["metadata"].(map[string]any); meta["uid"] == nil || meta["creationTimestamp"] == nil {
		t.Errorf("something new: %v", out)
	}
	for body, want := range map[string]float64{`{"spec":{"replicas":3}}`: 2, `{}`: 1} {
		_, out, _ = askTo(s, "PATCH", deployment+"?dryRun=All", mergePatchType, body)
		if meta, _ := out["metadata"].(map[string]any); meta["generation"] != want {
			t.Errorf("%s: %v, want generation %v", body, meta, want)
		}
	}
}

func TestCreate(t *testing.T) {
	p, s := newPlace(t)
	code, out, header := askTo(s, "POST", configMaps, jsonType,
		`{"metadata":{"generateName":"n-","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"}},"data":{"a":"b"},"foo":1,"status":{}}`)
	meta, _ := out["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	if code != 201 || len(name) != 7 || !strings.HasPrefix(name, "n-") || meta["uid"] == "" {
		t.Fatalf("%d %v", code, out)
	}
	if w := header.Get("Warning"); !strings.Contains(w, `unknown field \"foo\"`) {
		t.Errorf("warned %q", w)
	}
	want := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n  namespace: default\n  generateName: n-\ndata:\n  a: b\n"
	if diff := gocmp.Diff(want, p.files["kubectl/default.ConfigMap."+name+".yaml"]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	_, out, _ = askTo(s, "GET", configMaps+"/"+name, "", "")
	if notes := stringMap(out["metadata"].(map[string]any)["annotations"]); notes[lastApplied] != "{}" {
		t.Errorf("kubectl apply finds %v", notes)
	}
	_, s = newPlace(t)
	s.HandleWrites(nil, p)
	if code, out, _ := askTo(s, "PATCH", configMaps+"/a", mergePatchType, `{"data":{"v":"2"}}`); code != 403 || !strings.Contains(fmt.Sprint(out["message"]), "a.yaml:2 is read-only") {
		t.Errorf("a source without a writer: %d %v", code, out)
	}
}

// Who makes a Pod is answered with it as soon as it is there, and with what the file says of it when that takes long.
func TestCreatePod(t *testing.T) {
	for name, tt := range map[string]struct{ there, answered time.Duration }{
		"soon": {301 * time.Millisecond, 301 * time.Millisecond},
		"late": {2 * time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, s := newPlace(t)
				time.AfterFunc(tt.there, func() {
					made := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "made"}}
					if err := p.store.Create(reconcile.Key{Kind: reconcile.KindPod, Namespace: "default", Name: "p"}, made, nil); err != nil {
						t.Error(err)
					}
				})
				start := time.Now()
				code, out, _ := askTo(s, "POST", "/api/v1/namespaces/default/pods", jsonType, `{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
				meta, _ := out["metadata"].(map[string]any)
				if took := time.Since(start); code != 201 || took != tt.answered || meta["uid"] == "made" != (name == "soon") {
					t.Errorf("%d after %s: %v", code, took, out)
				}
				time.Sleep(2 * time.Second)
			})
		})
	}
}

// Of many who change one object at a time nobody's change is lost.
func TestWritesAtOnce(t *testing.T) {
	p, s := newPlace(t)
	var group sync.WaitGroup
	var refused atomic.Int32
	for i := range 4 {
		group.Go(func() {
			for j := range 5 {
				for {
					code, _, _ := askTo(s, "PATCH", configMaps+"/a", mergePatchType, fmt.Sprintf(`{"data":{"k%d-%d":"x"}}`, i, j))
					if code == http.StatusOK {
						break
					}
					if refused.Add(1); code != http.StatusConflict {
						t.Errorf("answered %d", code)
						return
					}
				}
			}
		})
	}
	group.Wait()
	if n := strings.Count(p.files["a.yaml"], "-"); n != 20+3 { // of the separator
		t.Errorf("%d of 20 changes are there (%d were refused):\n%s", n-3, refused.Load(), p.files["a.yaml"])
	}
}

// What a workload made is changed in the workload; labels of its own it may have.
func TestWriteMade(t *testing.T) {
	p, s := newPlace(t)
	key := reconcile.Key{Kind: "ConfigMap", Namespace: "default", Name: "made"}
	o := manifests.Decode("x.yaml", []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made}\ndata: {v: \"1\"}\n")).Objects[0].Object.(store.Object)
	yes := true
	o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "d", UID: "1", Controller: &yes}})
	if err := p.store.Create(key, o, nil); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := askTo(s, "PATCH", configMaps+"/made", mergePatchType, `{"data":{"v":"2"}}`); code != 403 || !strings.Contains(fmt.Sprint(out["message"]), `Deployment "d" made it`) {
		t.Errorf("%d %v", code, out)
	}
	if code, out, _ := askTo(s, "PATCH", configMaps+"/made", mergePatchType, `{"metadata":{"labels":{"a":"b"}}}`); code != 200 {
		t.Errorf("%d %v", code, out)
	}
	if it, _ := p.store.Get(key); it.Object.GetLabels()["a"] != "b" {
		t.Errorf("%v", it.Object.GetLabels())
	}
	pod := reconcile.Key{Kind: reconcile.KindPod, Namespace: "default", Name: "made"}
	o = manifests.Decode("x.yaml", []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: made}\nspec: {containers: [{name: c, image: i}]}\n")).Objects[0].Object.(store.Object)
	if err := p.store.Create(pod, o, nil); err != nil {
		t.Fatal(err)
	}
	code, out, _ := askTo(s, "PATCH", "/api/v1/namespaces/default/pods/made", mergePatchType, `{"metadata":{"labels":{"a":"b"}}}`)
	if code != 200 || len(p.asked) != 1 || p.asked[0] != "carry "+pod.String() {
		t.Errorf("%d %v, asked %q", code, out, p.asked)
	}
}
