package image

import (
	"fmt"
	goruntime "runtime"
	"strings"
)

const hostArch = goruntime.GOARCH

// platform is what an image is made for.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// score tells how well an image fits this machine; 0 is not at all.
func (p *platform) score(arch string) int {
	if p.OS != "linux" || p.Architecture != arch {
		return 0
	}
	base := map[string]string{"arm64": "v8", "amd64": "v1"}[arch]
	switch p.Variant {
	case "", base:
		return 2
	}
	// A variant beyond the base may need instructions that this machine lacks.
	return 1
}

// choose returns the part of an index that fits this machine best: the first of the best. A part without a platform may be anything
// and is taken when nothing else fits.
func choose(parts []descriptor) (descriptor, error) {
	best, bestScore := -1, 0
	for i, d := range parts {
		score := 0
		switch {
		case isAttestation(d):
		case d.Platform == nil && bestScore == 0 && best < 0:
			best = i
		case d.Platform != nil:
			score = d.Platform.score(hostArch)
		}
		if score > bestScore {
			best, bestScore = i, score
		}
	}
	if best < 0 {
		return descriptor{}, fmt.Errorf("%w image: nothing in it is for linux/%s, only for %s", ErrInvalid, hostArch, offers(parts))
	}
	return parts[best], nil
}

func isAttestation(d descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] != "" || d.Platform != nil && d.Platform.OS == "unknown"
}

// maxOffers bounds how many platforms a message lists.
const maxOffers = 12

func offers(parts []descriptor) string {
	var names []string
	for _, d := range parts {
		if d.Platform == nil || isAttestation(d) || len(names) == maxOffers {
			continue
		}
		name := d.Platform.OS + "/" + d.Platform.Architecture
		if d.Platform.Variant != "" {
			name += "/" + d.Platform.Variant
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
