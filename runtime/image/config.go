package image

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"berth/runtime"
)

// What an image's configuration may be at most. The kernel takes 128 KiB per argument; the rest is far above any real image.
const (
	maxConfigBytes = 4 << 20
	maxConfigItems = 4096
	maxItemBytes   = 128<<10 - 1
	maxVolumeBytes = 16 << 10 // of all paths together: each part of each becomes some steps of a start
	maxLayers      = 500      // overlayfs stacks no more
)

// configFile is the part of an OCI or Docker image configuration that matters here.
type configFile struct {
	Created      *time.Time `json:"created"`
	OS           string     `json:"os"`
	Architecture string     `json:"architecture"`
	Config       struct {
		User         string              `json:"User"`
		Env          []string            `json:"Env"`
		Entrypoint   []string            `json:"Entrypoint"`
		Cmd          []string            `json:"Cmd"`
		WorkingDir   string              `json:"WorkingDir"`
		StopSignal   string              `json:"StopSignal"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts"`
		Volumes      map[string]struct{} `json:"Volumes"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// parseConfig reads an image configuration. It is the image's word: data, bounded here and checked again where it is used.
func parseConfig(raw []byte) (*configFile, error) {
	if len(raw) > maxConfigBytes {
		return nil, fmt.Errorf("%w image configuration: %d bytes, at most %d are read", ErrInvalid, len(raw), maxConfigBytes)
	}
	var c configFile
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("%w image configuration: %w", ErrInvalid, err)
	}
	if c.OS != "" && c.OS != "linux" {
		return nil, fmt.Errorf("%w image: it is made for %q, not for linux", ErrInvalid, c.OS)
	}
	if n := len(c.RootFS.DiffIDs); n > maxLayers {
		return nil, fmt.Errorf("%w image: %d layers, overlayfs stacks at most %d", ErrInvalid, n, maxLayers)
	}
	for _, id := range c.RootFS.DiffIDs {
		if !digestForm.MatchString(id) {
			return nil, fmt.Errorf("%w image configuration: %q is not a layer's digest", ErrInvalid, id)
		}
	}
	return &c, c.check()
}

func (c *configFile) check() error {
	cfg := &c.Config
	items := slices.Concat(cfg.Env, cfg.Entrypoint, cfg.Cmd, []string{cfg.User, cfg.WorkingDir, cfg.StopSignal})
	items = slices.AppendSeq(items, maps.Keys(cfg.ExposedPorts))
	items = slices.AppendSeq(items, maps.Keys(cfg.Volumes))
	if len(items) > maxConfigItems {
		return fmt.Errorf("%w image configuration: %d values, at most %d are taken", ErrInvalid, len(items), maxConfigItems)
	}
	for _, item := range items {
		if len(item) > maxItemBytes {
			return fmt.Errorf("%w image configuration: a value of %d bytes, at most %d are taken", ErrInvalid, len(item), maxItemBytes)
		}
		if strings.IndexByte(item, 0) >= 0 {
			return fmt.Errorf("%w image configuration: a value with a zero byte", ErrInvalid)
		}
	}
	total := 0
	for volume := range cfg.Volumes {
		total += len(volume)
	}
	if total > maxVolumeBytes {
		return fmt.Errorf("%w image configuration: %d bytes of volume paths, at most %d are taken", ErrInvalid, total, maxVolumeBytes)
	}
	return nil
}

// contract returns what a container inherits.
func (c *configFile) contract() runtime.ImageConfig {
	out := runtime.ImageConfig{
		User:         c.Config.User,
		Entrypoint:   c.Config.Entrypoint,
		Cmd:          c.Config.Cmd,
		StopSignal:   c.Config.StopSignal,
		ExposedPorts: slices.Sorted(maps.Keys(c.Config.ExposedPorts)),
	}
	for _, env := range c.Config.Env {
		if strings.IndexByte(env, '=') > 0 {
			out.Env = append(out.Env, env)
		}
	}
	if c.Config.WorkingDir != "" {
		out.WorkingDir = path.Clean("/" + c.Config.WorkingDir)
	}
	for _, volume := range slices.Sorted(maps.Keys(c.Config.Volumes)) {
		if clean := path.Clean("/" + volume); clean != "/" {
			out.Volumes = append(out.Volumes, clean)
		}
	}
	return out
}
