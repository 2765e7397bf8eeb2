// Command make makes into the cache directory that BERTH_E2E_CACHE names what a machine without Go cannot make itself: all test images, a kubectl, and an
// authority for certificates.
package main

import (
	"fmt"
	"os"

	"berth/e2e/harness"
	"berth/e2e/images"
)

func main() {
	set, err := images.Open()
	for _, image := range images.All() {
		if err == nil {
			_, err = set.Archive(image)
		}
	}
	if err == nil {
		err = harness.CopyKubectl(set.Dir())
	}
	if err == nil {
		_, err = harness.BuildPebble(set.Dir())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "make:", err)
		os.Exit(1)
	}
}
