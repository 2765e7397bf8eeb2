package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile/claim"
	"berth/runtime"
)

// findVolumes translates the Pod's volumes. What they still wait for is noted in unmounted, in the words of a kubelet.
func (p *pass) findVolumes() error {
	for i := range p.pod.Spec.Volumes {
		v := &p.pod.Spec.Volumes[i]
		found, err := p.volume(v)
		if m := (*missing)(nil); errors.As(err, &m) {
			p.unmounted = append(p.unmounted, fmt.Sprintf("MountVolume.SetUp failed for volume %q : %s", v.Name, m.text))
			continue
		}
		if err != nil {
			return err
		}
		p.volumes = append(p.volumes, found)
	}
	return nil
}

// volume translates one volume of the Pod. A kind that is not built is refused by name.
func (p *pass) volume(v *corev1.Volume) (runtime.Volume, error) {
	field := fmt.Sprintf("spec.volumes[%s]", v.Name)
	switch {
	case v.EmptyDir != nil:
		dir, err := emptyDir(v.EmptyDir, field)
		return runtime.Volume{Name: v.Name, EmptyDir: dir}, err
	case v.HostPath != nil:
		h := &runtime.HostPath{Path: v.HostPath.Path}
		if v.HostPath.Type != nil {
			h.Type = string(*v.HostPath.Type)
		}
		return runtime.Volume{Name: v.Name, HostPath: h}, nil
	case v.ConfigMap != nil, v.Secret != nil, v.DownwardAPI != nil, v.Projected != nil:
		return p.filesVolume(v, field)
	case v.Image != nil:
		return p.imageVolume(v), nil
	case claim.NameFor(p.pod, v) != "":
		return p.claimVolume(v)
	}
	if kind := sourceKind(&v.VolumeSource); kind != "" {
		return runtime.Volume{}, refusal(field+"."+kind, "volumes of this kind are not supported")
	}
	return runtime.Volume{Name: v.Name, EmptyDir: &runtime.EmptyDir{}}, nil // no source at all means an empty directory
}

func emptyDir(e *corev1.EmptyDirVolumeSource, field string) (*runtime.EmptyDir, error) {
	dir := &runtime.EmptyDir{}
	switch e.Medium {
	case corev1.StorageMediumDefault:
	case corev1.StorageMediumMemory:
		dir.Memory = true
	default:
		return nil, refusal(field+".emptyDir.medium", "medium %q is not supported", e.Medium)
	}
	if e.SizeLimit != nil {
		dir.SizeLimit = e.SizeLimit.Value()
	}
	return dir, nil
}

// sourceKind is the name of the source that is set, as it stands in a file.
func sourceKind(s *corev1.VolumeSource) string {
	data, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	var set map[string]json.RawMessage
	if err := json.Unmarshal(data, &set); err != nil || len(set) == 0 {
		return ""
	}
	return slices.Sorted(maps.Keys(set))[0]
}

// mounts translates where volumes stand in a container.
func mounts(spec *corev1.Container, field string, value func(string) (string, bool)) ([]runtime.Mount, error) {
	if len(spec.VolumeDevices) > 0 {
		return nil, refusal(field+".volumeDevices", "block devices are not supported (volume %q)", spec.VolumeDevices[0].Name)
	}
	var out []runtime.Mount
	for i := range spec.VolumeMounts {
		m := &spec.VolumeMounts[i]
		at := fmt.Sprintf("%s.volumeMounts[%d]", field, i)
		if m.MountPropagation != nil && *m.MountPropagation == corev1.MountPropagationBidirectional {
			return nil, refusal(at+".mountPropagation", "mounts that the container makes would stay on the machine after it")
		}
		mount := runtime.Mount{
			Volume: m.Name, Path: m.MountPath, SubPath: m.SubPath, ReadOnly: m.ReadOnly,
			FollowMounts: m.MountPropagation != nil && *m.MountPropagation == corev1.MountPropagationHostToContainer,
		}
		if m.SubPathExpr != "" {
			path, whole := expand(m.SubPathExpr, value)
			if !whole {
				return nil, refusal(at+".subPathExpr", "%q names a variable that is not set", m.SubPathExpr)
			}
			mount.SubPath = path
		}
		out = append(out, mount)
	}
	return out, nil
}
