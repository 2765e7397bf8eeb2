package controller

import (
	"os"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"berth/runtime"
	"berth/runtime/runtimetest"
)

type (
	deploymentType  = appsv1.Deployment
	containerConfig = runtime.ContainerConfig
	sandboxConfig   = runtime.SandboxConfig
	startError      = runtime.StartError
	pullFault       = runtimetest.PullFault
)

func dirSize(t *testing.T, dir string) int64 {
	t.Helper()
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
