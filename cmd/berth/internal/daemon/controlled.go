package daemon

import (
	"encoding/json"
	"errors"

	"berth/controller"
)

// controlled is what the control socket may do with a controller.
type controlled struct {
	c *controller.Controller
	// warnings are about the machine.
	warnings func() []string
}

func (c controlled) StatusJSON() ([]byte, error) {
	s := c.c.Status()
	s.Warnings = append(s.Warnings, c.warnings()...)
	return json.Marshal(s)
}

func (c controlled) Why(r WhyRequest) (controller.Account, error) {
	return c.c.Why(r.Target, r.Namespace)
}

func (c controlled) RemoveVolumes(names []string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, c.c.RemoveVolume(name))
	}
	return errors.Join(errs...)
}

func (c controlled) Allow(targets []string) ([]string, error) {
	gone := c.c.Allow(targets...)
	if len(gone) == 0 && len(targets) > 0 {
		return nil, errors.New("cannot allow: nothing waits by that name; `berth status` lists what does")
	}
	return gone, nil
}
