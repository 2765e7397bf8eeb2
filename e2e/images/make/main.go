// Command make makes all test images into the cache directory that BERTH_E2E_CACHE names, for a machine that cannot make them itself.
package main

import (
	"fmt"
	"os"

	"berth/e2e/images"
)

func main() {
	set, err := images.Open()
	for _, image := range images.All() {
		if err == nil {
			_, err = set.Archive(image)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "make:", err)
		os.Exit(1)
	}
}
