package keeper

import "time"

// Dying is a proxy whose deaths are told by Died, for tests. This file imports nothing that the keeper does not: its hook is to stay early.
type Dying struct{ p proxies }

// Died is how long the keeper waits before it starts another one when this one has lived so long.
func (d *Dying) Died(lived time.Duration) time.Duration { return d.p.died(lived) }

// NewState is an empty state of an upgrade.
func NewState() any { return &state{} }
