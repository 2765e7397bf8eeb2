package pod

import "time"

// The back-off of restarts and pulls is that of Kubernetes: the first restart at once, then 10 s doubling to 5 minutes, forgotten after a
// run of 10 minutes.
const (
	firstBackoff  = 10 * time.Second
	mostBackoff   = 300 * time.Second
	forgivenAfter = 10 * time.Minute
)

// A sandbox that cannot be made is mostly the machine's fault and mended soon (a keeper that starts anew), or not at all: so the first
// tries follow quickly.
const (
	firstSandboxBackoff = 200 * time.Millisecond
	mostSandboxBackoff  = time.Minute
	reasonCrashLoop     = "CrashLoopBackOff"
	// reasonSandbox is what the kubelet calls the event of it.
	reasonSandbox = "FailedCreatePodSandBox"
)

func sandboxBackoff(failures int) time.Duration {
	wait := firstSandboxBackoff
	for range failures - 1 {
		wait = min(mostSandboxBackoff, 2*wait)
	}
	return wait
}

// backoff returns how long a container has to wait before its next start.
func (p *pass) backoff(c *container) time.Duration {
	ended, wait := time.Time{}, time.Duration(0)
	switch {
	case c.refused != nil:
		if hashOf(c.refused.SpecHash) == p.hash(c) {
			ended, wait = c.refused.At, max(firstBackoff, c.refused.Backoff)
		}
	case c.exited() && hashOf(c.last.SpecHash) == p.hash(c) && !forgiven(c):
		ended, wait = c.last.FinishedAt, c.last.Backoff
	}
	return remaining(ended, wait, p.in.Now)
}

// nextBackoff is carried by the next start: what is to be waited when it ends.
func (p *pass) nextBackoff(c *container) time.Duration {
	switch {
	case c.refused != nil && hashOf(c.refused.SpecHash) == p.hash(c):
		return doubled(c.refused.Backoff)
	case c.last == nil:
		return 0
	case c.refused != nil || forgiven(c) || hashOf(c.last.SpecHash) != p.hash(c):
		return firstBackoff
	}
	return doubled(c.last.Backoff)
}

func doubled(d time.Duration) time.Duration { return min(mostBackoff, max(firstBackoff, 2*d)) }

func forgiven(c *container) bool { return c.last.FinishedAt.Sub(c.last.StartedAt) > forgivenAfter }

// remaining is what is left of a wait that began at a moment. A moment that is still to come means that the clock was set back; nobody
// knows how long it has been, and waiting for the clock to catch up could take hours.
func remaining(from time.Time, wait time.Duration, now time.Time) time.Duration {
	if from.IsZero() || from.After(now) {
		return 0
	}
	return max(0, from.Add(wait).Sub(now))
}
