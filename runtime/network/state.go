package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// stateFile keeps the ranges of an instance in its state directory.
const stateFile = "network.json"

// state is what must be the same after a restart.
type state struct {
	// PodCIDR is the range of the pods, ServiceCIDR that of the Services.
	PodCIDR     netip.Prefix `json:"podCIDR"`
	ServiceCIDR netip.Prefix `json:"serviceCIDR,omitzero"`
	// IPv6 says that pods have it. PodCIDR6 and ServiceCIDR6 are its ranges, also while they do not.
	IPv6         bool         `json:"ipv6,omitempty"`
	PodCIDR6     netip.Prefix `json:"podCIDR6,omitzero"`
	ServiceCIDR6 netip.Prefix `json:"serviceCIDR6,omitzero"`
	settings
}

// readState returns what was kept; nothing, when there is no file or it is damaged: then the kernel's own state decides, or a new choice.
func readState(dir string) (state, error) {
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return state{}, fmt.Errorf("cannot read the kept ranges: %w", err)
	}
	var s state
	if err != nil || json.Unmarshal(text, &s) != nil || !s.PodCIDR.IsValid() {
		return state{}, nil //nolint:nilerr // see above
	}
	return s, nil
}

func writeState(dir string, s state) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("cannot keep the ranges: %w", err)
	}
	path := filepath.Join(dir, stateFile)
	err = os.WriteFile(path+".new", append(text, '\n'), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("cannot keep the ranges: %w", err)
	}
	return nil
}
