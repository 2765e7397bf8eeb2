package reconciletest

import (
	"errors"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/claim"
	"berth/reconcile/pod"
	"berth/runtime"
)

// storage is what a world remembers of data.
type storage struct {
	// held is the volume of each claim, by UID; kept the made volume that a claim must find again, by name and class.
	held map[types.UID]string
	kept map[string]string
	// ended are the claims whose end was carried out, by UID: their data may be deleted.
	ended map[types.UID]bool
}

func newStorage() storage {
	return storage{held: map[types.UID]string{}, kept: map[string]string{}, ended: map[types.UID]bool{}}
}

// classScratch is the one class that is declared: it deletes.
const classScratch = "scratch"

// persistentVolumes are declared by files, or made for claims.
func persistentVolumes() *kind {
	return &kind{
		name: reconcile.KindPersistentVolume,
		plan: func(w *world, o reconcile.Object) reconcile.Plan {
			v := o.(*corev1.PersistentVolume)
			in := claim.VolumeInput{Volume: v, Stated: !claim.Made(v)}
			if ref := v.Spec.ClaimRef; ref != nil {
				in.Claim, in.Users = w.claim(ref.Name), claim.Users(w.podsWith(ref.Name))
			}
			return claim.PlanVolume(in)
		},
		idle: func(w *world, o reconcile.Object) { w.checkIdleVolume(o.(*corev1.PersistentVolume)) },
	}
}

func (w *world) planClaim(c *corev1.PersistentVolumeClaim) reconcile.Plan {
	in := claim.Input{Claim: c, Users: claim.Users(w.podsWith(c.Name)), Now: w.clock.wall}
	for _, o := range w.objects {
		if v, ok := o.(*corev1.PersistentVolume); ok {
			in.Volumes = append(in.Volumes, v)
		}
	}
	if name, _ := claim.ClassName(c); name == classScratch {
		policy := corev1.PersistentVolumeReclaimDelete
		in.Class = &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: classScratch}, ReclaimPolicy: &policy}
	}
	return claim.Plan(in)
}

func (w *world) claim(name string) *corev1.PersistentVolumeClaim {
	o, _ := w.object(key(reconcile.KindPersistentVolumeClaim, name))
	c, _ := o.(*corev1.PersistentVolumeClaim)
	return c
}

func (w *world) volume(name string) (*corev1.PersistentVolume, int) {
	o, i := w.object(reconcile.Key{Kind: reconcile.KindPersistentVolume, Name: name})
	v, _ := o.(*corev1.PersistentVolume)
	return v, i
}

func (w *world) podsWith(name string) []*corev1.Pod {
	var list []*corev1.Pod
	for _, p := range w.pods {
		if slices.Contains(claimNames(p), name) {
			list = append(list, p)
		}
	}
	return list
}

func claimNames(p *corev1.Pod) []string {
	var names []string
	for i := range p.Spec.Volumes {
		if name := claim.NameFor(p, &p.Spec.Volumes[i]); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// claimsOf are the claims that a pod mounts.
func (w *world) claimsOf(p *corev1.Pod) map[string]pod.Claim {
	var out map[string]pod.Claim
	for _, name := range claimNames(p) {
		c := w.claim(name)
		if c == nil {
			continue
		}
		state := pod.Claim{Claim: c}
		state.Volume, _ = w.volume(c.Spec.VolumeName)
		if claim.OneAtATime(c) {
			if holder := claim.Holder(w.podsWith(name)); holder != nil && holder.UID != p.UID {
				state.Holder = holder.Name
			}
		}
		if out == nil {
			out = map[string]pod.Claim{}
		}
		out[name] = state
	}
	return out
}

// storageDue makes due whoever waits for an object of storage, as the controller does.
func (w *world) storageDue(changed reconcile.Object) {
	name := changed.GetName()
	if v, ok := changed.(*corev1.PersistentVolume); ok {
		if v.Spec.ClaimRef == nil {
			for _, o := range w.objects {
				if c, ok := o.(*corev1.PersistentVolumeClaim); ok && (c.Spec.VolumeName == "" || c.Spec.VolumeName == v.Name) {
					w.enqueue(reconcile.KeyOf(c))
				}
			}
			return
		}
		name = v.Spec.ClaimRef.Name
	}
	w.claimDue(name)
}

// claimDue makes due a claim, and what has to do with it.
func (w *world) claimDue(name string) {
	for _, o := range w.objects {
		switch o := o.(type) {
		case *corev1.PersistentVolumeClaim:
			if o.Name == name {
				w.enqueue(reconcile.KeyOf(o))
			}
		case *corev1.PersistentVolume:
			if o.Spec.ClaimRef != nil && o.Spec.ClaimRef.Name == name {
				w.enqueue(reconcile.KeyOf(o))
			}
		}
	}
	for _, p := range w.podsWith(name) {
		w.enqueue(podKey(p))
	}
}

// podMattersTo makes due what waits for a pod to have, or to have no more, what it claims.
func (w *world) podMattersTo(p *corev1.Pod) {
	for _, name := range claimNames(p) {
		w.claimDue(name)
	}
}

func isStorage(o reconcile.Object) bool {
	kind := reconcile.KeyOf(o).Kind
	return kind == reconcile.KindPersistentVolumeClaim || kind == reconcile.KindPersistentVolume
}

// editStorage lets a claim or a volume come into the files or leave them.
func (w *world) editStorage() {
	n := strconv.Itoa(w.rng.IntN(2))
	if w.rng.IntN(3) == 0 {
		w.editVolume("v" + n)
		return
	}
	name := "c" + n
	if c := w.claim(name); c != nil {
		w.say("EVENT the file of claim %s is removed", name)
		w.endStorage(reconcile.KeyOf(c))
		return
	}
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{pick(w, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")}},
		},
	}
	if class := pick(w, "", "other", classScratch); class != "" {
		c.Spec.StorageClassName = &class
	}
	w.say("EVENT a file states claim %s", name)
	w.keep(c)
}

func (w *world) editVolume(name string) {
	if v, i := w.volume(name); i >= 0 {
		w.say("EVENT the file of volume %s is removed", name)
		w.endStorage(reconcile.KeyOf(v))
		return
	}
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteOncePod},
			Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(pick(w, "1Gi", "2Gi", "3Gi"))},
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/srv/" + name}},
		},
	}
	if w.rng.IntN(3) == 0 {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: namespace, Name: "c" + strconv.Itoa(w.rng.IntN(2))}
	}
	w.say("EVENT a file states volume %s", name)
	w.keep(v)
}

// withStorage gives a Pod of a file a claim, of the files or its own.
func (w *world) withStorage(p *corev1.Pod) {
	source := corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c" + strconv.Itoa(w.rng.IntN(2))}}
	switch w.rng.IntN(4) {
	case 0:
		source = corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{}}}
	case 1:
		return
	}
	p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: source}}
}

// healStorage lets every claim be there that a Pod wants, and no two Pods want one.
func (w *world) healStorage() {
	for i, p := range w.wishes {
		if len(p.Spec.Volumes) > 0 && p.Name != "p0" {
			p = p.DeepCopy()
			p.Spec.Volumes = nil
			w.wishes[i] = p
		}
	}
	for _, name := range []string{"c0", "c1"} {
		if c := w.claim(name); c != nil && c.DeletionTimestamp != nil {
			n := copyOf(c) // its file is back
			n.DeletionTimestamp = nil
			w.putStorage(n)
		} else if c == nil {
			w.keep(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
		}
	}
}

// endStorage begins the end of a claim or volume: it goes when nobody uses it any more.
func (w *world) endStorage(k reconcile.Key) {
	o, i := w.object(k)
	if i < 0 || o.GetDeletionTimestamp() != nil {
		return
	}
	o = o.DeepCopyObject().(reconcile.Object)
	at := metav1.NewTime(w.clock.wall)
	o.SetDeletionTimestamp(&at)
	w.putStorage(o)
}

func (w *world) putStorage(o reconcile.Object) {
	if _, i := w.object(reconcile.KeyOf(o)); i >= 0 {
		w.objects[i] = o
		w.enqueueAbove(o)
	}
}

// errCut is an end in the middle of an action.
var errCut = errors.New("the action was cut short")

// executeStorage does what the controller does, and may be cut short between its steps.
func (w *world) executeStorage(a reconcile.Action) error {
	switch a := a.(type) { //nolint:gochecksumtype // the rest is done by execute
	case reconcile.ProvisionVolume:
		w.must(w.fake.MakeVolume(background, runtime.StoredVolume{ID: claim.Stored(a.Volume)}))
		if _, i := w.volume(a.Volume.Name); i < 0 {
			w.keep(copyOf(a.Volume))
		}
	case reconcile.BindClaim:
		return w.bindClaim(a)
	case reconcile.UnbindVolume:
		if v, i := w.volume(a.Volume.Name); i >= 0 && v.Spec.ClaimRef != nil && v.Spec.ClaimRef.UID == a.Claim {
			n := copyOf(v)
			n.Spec.ClaimRef = nil
			w.putStorage(n)
		}
	case reconcile.RemoveClaim:
		return w.removeClaim(a)
	case reconcile.RemoveVolume:
		w.removeVolume(a)
	}
	return nil
}

func (w *world) bindClaim(a reconcile.BindClaim) error {
	c, v := w.claim(a.Claim.Name), (*corev1.PersistentVolume)(nil)
	v, _ = w.volume(a.Volume)
	if c == nil || c.UID != a.UID || c.DeletionTimestamp != nil || v == nil || !claim.Holds(v, c) && !claim.Free(v, c) {
		w.enqueue(a.Claim)
		return nil
	}
	w.checkBound(c, v)
	n := copyOf(v)
	n.Spec.ClaimRef = claim.Reference(c)
	if v.Spec.ClaimRef == nil {
		n.Annotations = map[string]string{claim.AnnotationBoundByController: "yes"}
	}
	w.putStorage(n)
	if w.rng.IntN(10) == 0 {
		return errCut
	}
	m := copyOf(c)
	m.Spec.VolumeName = v.Name
	m.Annotations = map[string]string{claim.AnnotationBindCompleted: "yes"}
	w.putStorage(m)
	return nil
}

func (w *world) removeClaim(a reconcile.RemoveClaim) error {
	c := w.claim(a.Claim.Name)
	if c == nil || c.UID != a.UID || c.DeletionTimestamp == nil {
		return nil
	}
	for _, m := range w.fake.Pods() {
		if p := w.podByUID(types.UID(m.UID)); p != nil && slices.Contains(claimNames(p), c.Name) {
			w.fail("claim %s is removed while pod %s has it", c.Name, describe(p))
		}
	}
	if class, _ := claim.ClassName(c); ownerUID(c.OwnerReferences) != "" && class != classScratch && a.Volume != "" && !a.DeleteData {
		if v, _ := w.volume(a.Volume); v != nil && claim.Made(v) {
			w.fail("claim %s goes with its owner, and its data stays", c.Name)
		}
	}
	if v, i := w.volume(a.Volume); a.DeleteData && i >= 0 && claim.Holds(v, c) {
		n, at := copyOf(v), metav1.NewTime(w.clock.wall)
		n.DeletionTimestamp = &at
		n.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
		w.putStorage(n)
		if w.rng.IntN(10) == 0 {
			return errCut
		}
		w.data.ended[c.UID] = true
		delete(w.data.kept, keptKey(c))
	}
	_, i := w.object(a.Claim)
	w.drop(i)
	return nil
}

// removeVolume deletes the data first, as the controller does: what asks for it must be right.
func (w *world) removeVolume(a reconcile.RemoveVolume) {
	v, i := w.volume(a.Volume.Name)
	if i < 0 || v.UID != a.UID {
		return
	}
	if a.ID != "" {
		if v.Spec.ClaimRef == nil || !w.data.ended[v.Spec.ClaimRef.UID] {
			w.fail("the data of volume %s is deleted, and its claim was never seen to go", v.Name)
		}
		if err := w.fake.RemoveVolume(background, a.ID); err != nil {
			w.fail("the data of volume %s is deleted too early: %v", v.Name, err)
		}
	}
	if v.DeletionTimestamp != nil {
		w.drop(i)
	}
}

func keptKey(c *corev1.PersistentVolumeClaim) string {
	class, _ := claim.ClassName(c)
	return c.Name + " " + class
}

// checkBound holds that a claim is bound once, that a volume never holds two, and that a claim which is back gets its own data.
func (w *world) checkBound(c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
	if had := w.data.held[c.UID]; had != "" && had != v.Name && c.Spec.VolumeName != "" {
		w.fail("claim %s is bound to %s and then to %s", c.Name, had, v.Name)
	}
	for _, o := range w.objects {
		other, ok := o.(*corev1.PersistentVolumeClaim)
		if ok && other.UID != c.UID && (other.Spec.VolumeName == v.Name || v.Spec.ClaimRef != nil && v.Spec.ClaimRef.UID == other.UID) {
			w.fail("volume %s is held by claim %s and given to %s", v.Name, other.Name, c.Name)
		}
	}
	w.data.held[c.UID] = v.Name
	if !claim.Made(v) {
		return
	}
	if had := w.data.kept[keptKey(c)]; had != "" && had != v.Name && ownerUID(c.OwnerReferences) == "" {
		w.fail("claim %s has data in %s and gets %s", c.Name, had, v.Name)
	}
	w.data.kept[keptKey(c)] = v.Name
}

// checkClaimed judges a sandbox that is about to be made: what it claims is there, and no other pod's alone.
func (w *world) checkClaimed(p *corev1.Pod) {
	_, begun := w.machine(p.UID)
	for name, c := range w.claimsOf(p) {
		if c.Claim.DeletionTimestamp != nil && !begun {
			w.fail("pod %s begins with claim %s, which is going", describe(p), name)
		}
		if c.Volume == nil || !claim.Holds(c.Volume, c.Claim) {
			w.fail("pod %s begins, and its claim %s is not bound", describe(p), name)
		}
		if !claim.OneAtATime(c.Claim) {
			continue
		}
		for _, m := range w.fake.Pods() {
			other := w.podByUID(types.UID(m.UID))
			if other != nil && other.UID != p.UID && slices.Contains(claimNames(other), name) && isActive(other) {
				w.fail("pods %s and %s both have claim %s, which is for one", describe(p), describe(other), name)
			}
		}
	}
}

func (w *world) checkIdleClaim(c *corev1.PersistentVolumeClaim) {
	users := claim.Users(w.podsWith(c.Name))
	switch v, _ := w.volume(c.Spec.VolumeName); {
	case c.DeletionTimestamp != nil && len(users) == 0:
		w.fail("claim %s shall go, nobody has it, and it stays", c.Name)
	case c.DeletionTimestamp == nil && c.Status.Phase == "":
		w.fail("nothing was decided about claim %s", c.Name)
	case c.Status.Phase == corev1.ClaimBound && (v == nil || !claim.Holds(v, c) || v.Status.Phase != corev1.VolumeBound):
		w.fail("claim %s reports that it is bound, and is not", c.Name)
	}
}

func (w *world) checkIdleVolume(v *corev1.PersistentVolume) {
	held := v.Spec.ClaimRef != nil && w.claim(v.Spec.ClaimRef.Name) != nil && claim.Holds(v, w.claim(v.Spec.ClaimRef.Name))
	if v.DeletionTimestamp != nil && !held && (v.Spec.ClaimRef == nil || len(claim.Users(w.podsWith(v.Spec.ClaimRef.Name))) == 0) {
		w.fail("volume %s shall go, nobody has it, and it stays", v.Name)
	}
	if bound := v.Status.Phase == corev1.VolumeBound; bound != held {
		w.fail("volume %s reports %s; that it is held: %v", v.Name, v.Status.Phase, held)
	}
}

// checkWaiting holds that no pod waits for claims that it could have.
func (w *world) checkWaiting(p *corev1.Pod) {
	if p.DeletionTimestamp != nil || len(p.Spec.Volumes) == 0 || p.Status.Phase == corev1.PodFailed {
		return
	}
	if _, begun := w.machine(p.UID); begun {
		return
	}
	for name, c := range w.claimsOf(p) {
		if c.Volume == nil || !claim.Holds(c.Volume, c.Claim) || c.Holder != "" || c.Claim.DeletionTimestamp != nil || p.Spec.Volumes[0].Ephemeral != nil {
			continue
		}
		if slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse
		}) {
			w.fail("pod %s waits for claim %s, which it can have: %v", describe(p), name, p.Status.Conditions)
		}
	}
}
