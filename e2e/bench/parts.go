package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// benchSave: a file is saved, and a container of the new Pod has begun to work.
func benchSave(r *harness.Runner, o options) {
	section(r, "(b) a file is saved -> its container is past execve", func() {
		b, _ := start(r) // first: what the limit needs is not there yet when the machine is counted, and gone when it is counted again
		f := newField(r)
		defer removeGroups()
		base, _ := f.limit(r, "limit: start until executed", o.n, append(groups(false), f.veth()...)...)
		seen := filepath.Join(filepath.Dir(b.Manifests), "seen")
		if err := os.Mkdir(seen, 0o777); err != nil {
			r.Fatalf("%v", err)
		}
		w := newWatch(r, seen)
		rename, inPlace := sample{name: "berth: renamed into place"}, sample{name: "berth: written in place"}
		for i := range o.n {
			name := fmt.Sprintf("p%d", i)
			text := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n  restartPolicy: Never\n  volumes: [{name: s, hostPath: {path: %q}}]\n"+
				"  containers: [{name: main, image: %q, command: [/bin/touch, /s/%s], volumeMounts: [{name: s, mountPath: /s}]}]\n", name, seen, images.Ref(images.Busybox), name)
			file := filepath.Join(b.Manifests, name+".yaml")
			var t time.Time
			if i%2 == 0 {
				tmp := filepath.Join(filepath.Dir(b.Manifests), "tmp")
				_ = os.WriteFile(tmp, []byte(text), 0o644)
				t = time.Now()
				_ = os.Rename(tmp, file)
				rename.us = append(rename.us, us(w.next(r).Sub(t)))
			} else {
				t = time.Now()
				_ = os.WriteFile(file, []byte(text), 0o644)
				inPlace.us = append(inPlace.us, us(w.next(r).Sub(t)))
			}
			_ = os.Remove(file)
			// The next one starts on a quiet machine.
			b.Until("the pod to be gone", func() error {
				s, err := b.Look()
				if err == nil && len(s.Pods) > 0 {
					err = fmt.Errorf("%d pods", len(s.Pods))
				}
				if err != nil {
					return err
				}
				return nil
			})
			time.Sleep(300 * time.Millisecond) // a removal settles in the directory; what comes while it does is another measurement
		}
		table(base, rename, inPlace)
		fmt.Println("the container runs touch in a shared directory, which is watched: its own work, about half a millisecond, is in the figure")
	})
}

// benchScale: replicas from nothing to many, and to nothing.
func benchScale(r *harness.Runner, o options) {
	for _, n := range []int{o.pods / 3, o.pods} {
		section(r, fmt.Sprintf("(c) 0 -> %d -> 0 replicas, network included", n), func() {
			b, _ := start(r)
			f := newField(r)
			defer removeGroups()
			var up, down, limitUp, limitDown sample
			up.name, down.name = "berth: edit until all run", "berth: edit until none runs"
			limitUp.name, limitDown.name = "limit: all started, one after the other", "limit: all killed, reaped, removed"
			for range 3 {
				_, totals := f.limit(r, "", n, append(append(groups(false), f.veth()...), "-k")...)
				limitUp.us, limitDown.us = append(limitUp.us, totals["total"]), append(limitDown.us, totals["removed"])
				up.us = append(up.us, us(scale(r, b, n)))
				settled(b, n)
				down.us = append(down.us, us(scale(r, b, 0)))
				settled(b, 0)
			}
			table(limitUp, up)
			table(limitDown, down)
			fmt.Printf("per container: limit %.2f ms, berth %.2f ms\n", limitUp.at(0.5)/1e3/float64(n), up.at(0.5)/1e3/float64(n))
		})
	}
}

// settled waits until nothing is left to do.
func settled(b *harness.Berth, n int) {
	b.UntilWithin(5*time.Minute, "quiet", func() error {
		s, err := b.Look()
		if err == nil && (len(s.Pods) != n || !s.Converged) {
			err = fmt.Errorf("%d pods, converged %v", len(s.Pods), s.Converged)
		}
		return err
	})
}

// startIsOver is how long after a start what only the start has needed is given back, garbage included: that takes some wake-ups, and is not what a quiet machine has.
const startIsOver = 30 * time.Second

// benchQuiet: a minute in which nothing happens.
func benchQuiet(r *harness.Runner, o options) {
	for _, n := range []int{1, o.pods} {
		section(r, fmt.Sprintf("(e) %v with %d pods and nothing to do", o.minute, n), func() {
			b, up := start(r)
			scale(r, b, n)
			settled(b, n)
			before := efforts(b, up)
			time.Sleep(startIsOver)
			began := efforts(b, up)
			fmt.Printf("%v before:\t%s\n", startIsOver, since(before, began))
			time.Sleep(o.minute)
			fmt.Printf("then %v:\t%s\n", o.minute, since(began, efforts(b, up)))
		})
	}
}

// benchAdopt: the controller is killed and started again.
func benchAdopt(r *harness.Runner, o options) {
	section(r, fmt.Sprintf("(f) restart of the controller until %d pods are adopted", o.pods), func() {
		b, up := start(r)
		scale(r, b, o.pods)
		settled(b, o.pods)
		took := sample{name: "berth up until all are adopted"}
		for range 5 {
			up.Kill()
			t := time.Now()
			up = b.StartUp("--prune-delay", "1ms", "--allow-prune")
			settled(b, o.pods)
			took.us = append(took.us, us(time.Since(t)))
			if n := count(); n != o.pods {
				r.Errorf("%d containers, %d before", n, o.pods)
			}
		}
		table(took)
	})
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
