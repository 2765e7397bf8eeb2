package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"berth/runtime"
	"berth/runtime/keeper/client"
)

// Visit opens what runs beside the controller that looks after it, for looking and for Exec. Nothing is adopted, repaired or removed, and
// nothing else may be called but Close.
func Visit(ctx context.Context, opts Options) (*Runtime, error) {
	if opts.Now == nil {
		opts.Now = time.Now //nolint:forbidigo // the default of an injected clock
	}
	r := &Runtime{
		opts: opts, dirs: layout{state: opts.StateDir, run: opts.RunDir}, cgroups: opts.Cgroups,
		pods: map[string]*pod{}, events: newHub(), ends: newEndQueue(), stop: func() {},
	}
	pods, err := r.dirs.read()
	if err != nil {
		return nil, err
	}
	for _, p := range pods {
		r.pods[p.uid] = p
	}
	if r.keeper, err = client.Dial(ctx, opts.RunDir); err != nil {
		return nil, fmt.Errorf("cannot reach the keeper: %w", err)
	}
	return r, nil
}

// Read returns the pods of a run directory as their records tell, without a controller or a keeper: a container that is said to run may
// have ended since. No run directory means no pods.
func Read(runDir string) ([]runtime.PodStatus, error) {
	pods, err := layout{run: runDir}.read()
	if err != nil {
		return nil, err
	}
	list := make([]runtime.PodStatus, 0, len(pods))
	for _, p := range pods {
		list = append(list, p.status())
	}
	slices.SortFunc(list, func(a, b runtime.PodStatus) int { return strings.Compare(a.UID, b.UID) })
	return list, nil
}

// ImagesInUse are the ids of the images that recorded containers run from, and that recorded pods have as volumes.
func ImagesInUse(runDir string) map[string]bool {
	used := map[string]bool{}
	pods, err := layout{run: runDir}.read()
	if err != nil {
		return used
	}
	for _, p := range pods {
		for _, c := range p.containers {
			used[c.ImageID] = true
		}
		for _, v := range p.Config.Volumes {
			used[v.Image] = true
		}
	}
	return used
}

func (l layout) read() ([]*pod, error) {
	uids, err := recordedPods(l.runPods())
	if err != nil {
		return nil, fmt.Errorf("cannot read the pods: %w", err)
	}
	var pods []*pod
	for _, uid := range uids {
		p, _, err := readPod(l, uid)
		if errors.Is(err, fs.ErrNotExist) {
			continue // on its way in or out
		}
		if err != nil {
			return nil, err
		}
		p.alive = p.Ready
		pods = append(pods, p)
	}
	return pods, nil
}
