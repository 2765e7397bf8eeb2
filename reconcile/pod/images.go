package pod

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/runtime"
)

// Waiting reasons of images, in Kubernetes' words.
const (
	reasonErrImagePull = "ErrImagePull"
	reasonImageBackOff = "ImagePullBackOff"
	reasonNeverPull    = "ErrImageNeverPull"
	reasonCreating     = "ContainerCreating"
	reasonInitializing = "PodInitializing"
	showPullError      = 3 * time.Second // how long the error itself is shown before the waiting for the next try is
	lookForImage       = time.Minute     // an image that must not be pulled may still be loaded by hand
	alwaysPull         = corev1.PullAlways
	neverPull          = corev1.PullNever
)

// haveImage tells whether the image of a container can be run now; if not, it asks for it and says what the container waits for.
func (p *pass) haveImage(c *container) bool {
	ref := c.spec.Image
	state := p.in.Images[ref]
	if state.Image != nil && !p.wantsFresh(c, state) {
		return true
	}
	switch {
	case state.Invalid != "":
		p.wait(c, "InvalidImageName", fmt.Sprintf("Failed to apply default image tag %q: %s", ref, state.Invalid))
		return false
	case c.spec.ImagePullPolicy == neverPull:
		p.again(lookForImage)
		p.wait(c, reasonNeverPull, fmt.Sprintf("Container image %q is not present with pull policy of Never", ref))
		return false
	case state.Pulling || p.pulls[ref]:
		p.wait(c, reasonCreating, "")
		return false
	case state.Failures > 0:
		if wait := remaining(state.LastFailure, pullBackoff(state.Failures), p.in.Now); wait > 0 {
			p.waitForPull(c, state, wait)
			return false
		}
	}
	p.wait(c, reasonCreating, "")
	if p.pulls == nil {
		p.pulls = map[string]bool{}
	}
	p.pulls[ref] = true
	p.do(reconcile.PullImage{Pod: p.key, Ref: ref, Always: c.spec.ImagePullPolicy == alwaysPull, Secrets: p.pullSecrets()})
	return false
}

// wantsFresh tells that the registry must be asked although an image is there: policy Always, once in the life of a Pod. A restart of a
// container, or of berth, does not ask again. A Pod of a time to come was made before the clock was set back: any pull will do for it.
func (p *pass) wantsFresh(c *container, state reconcile.ImageState) bool {
	if c.spec.ImagePullPolicy != alwaysPull || c.last != nil || p.formerID(c) != "" {
		return false
	}
	made := p.pod.CreationTimestamp.Time
	return state.PulledAt.IsZero() || state.PulledAt.Before(made) && !made.After(p.in.Now)
}

// waitForPull shows the error first, then that and for what is waited.
func (p *pass) waitForPull(c *container, state reconcile.ImageState, wait time.Duration) {
	if fresh := remaining(state.LastFailure, showPullError, p.in.Now); fresh > 0 {
		p.again(fresh)
		p.wait(c, reasonErrImagePull, state.LastError)
		return
	}
	p.again(wait)
	p.wait(c, reasonImageBackOff, fmt.Sprintf("Back-off pulling image %q: %s", c.spec.Image, state.LastError))
}

func pullBackoff(failures int) time.Duration {
	wait := firstBackoff
	for range failures - 1 {
		if wait = doubled(wait); wait == mostBackoff {
			break
		}
	}
	return wait
}

func (p *pass) pullSecrets() []string {
	var names []string
	for _, s := range p.pod.Spec.ImagePullSecrets {
		names = append(names, s.Name)
	}
	return names
}

// imageVolume is a volume of an image's files. Before the image is there no sandbox is made.
func (p *pass) imageVolume(v *corev1.Volume) runtime.Volume {
	out := runtime.Volume{Name: v.Name}
	if image := p.in.Images[v.Image.Reference].Image; image != nil {
		out.Image = image.ID
	}
	return out
}

// haveVolumeImages tells whether the images that are volumes are there. The containers wait for what the first of the others waits for.
func (p *pass) haveVolumeImages() bool {
	have := true
	for i := range p.pod.Spec.Volumes {
		v := p.pod.Spec.Volumes[i].Image
		if v == nil {
			continue
		}
		// A volume's image is fetched by the same rules as a container's.
		asked := &container{spec: &corev1.Container{Image: v.Reference, ImagePullPolicy: v.PullPolicy}}
		if p.haveImage(asked) || !have {
			continue
		}
		have = false
		for _, c := range p.all() {
			p.wait(c, asked.waiting.Reason, asked.waiting.Message)
		}
	}
	return have
}
