package certificate

import (
	"slices"
	"time"

	"berth/reconcile"
	"berth/runtime"
)

// Pace. Let's Encrypt lets an account fail five times for a host within an hour, and most authorities count in the same way.
const (
	// window is how long a try counts, and most how many of one host may be in it: one less than the fifth, which clocks may differ about.
	window = time.Hour
	most   = 4
	// firstPause follows a first order that the authority has looked at hosts for, and doubles with each one up to longestPause.
	firstPause   = 5 * time.Minute
	longestPause = 12 * time.Hour
	// firstShortPause follows an order that has not come that far: the authority was not reached, or did not take it.
	firstShortPause   = time.Minute
	longestShortPause = time.Hour
)

// due is when the authority is to be asked next.
func (in *Input) due() time.Time {
	var at time.Time
	if in.fresh() {
		at = renewAt(&in.Kept.Issued)
	}
	if f := in.failing(); f != nil && f.Next.After(at) {
		at = f.Next
	}
	for _, h := range in.Wish.Hosts {
		if next := free(in.Tries, in.Authority, h, in.Now); next.After(at) {
			at = next
		}
	}
	return at
}

// fresh tells that the certificate is what is wanted, whatever its age. One that counts for more hosts is: who takes out a host need not ask.
func (in *Input) fresh() bool {
	return in.has() && in.Kept.Authority == in.Authority &&
		!slices.ContainsFunc(in.Wish.Hosts, func(h string) bool { return !slices.Contains(in.Kept.Issued.Hosts, h) })
}

// renewAt is after two thirds of its life: 30 days before the end of one of 90.
func renewAt(c *runtime.Issued) time.Time { return c.From.Add(c.Until.Sub(c.From) / 3 * 2) }

// failing is what went wrong last with this very order; nil for nothing.
func (in *Input) failing() *runtime.CertificateFailure {
	if in.Kept == nil {
		return nil
	}
	f := in.Kept.Failing
	if f == nil || f.Authority != in.Authority || !slices.Equal(f.Hosts, in.Wish.Hosts) {
		return nil
	}
	return f
}

// free is when a host may be looked at again.
func free(tries []runtime.CertificateTry, authority, host string, now time.Time) time.Time {
	var at []time.Time
	for i := range tries {
		if t := &tries[i]; t.Authority == authority && slices.Contains(t.Hosts, host) && counts(t, now) {
			at = append(at, t.At)
		}
	}
	if len(at) < most {
		return time.Time{}
	}
	slices.SortFunc(at, time.Time.Compare)
	return at[len(at)-most].Add(window)
}

// counts tells of a try within the last hour; one of the future was made before the clock was set back.
func counts(t *runtime.CertificateTry, now time.Time) bool {
	return t.At.Add(window).After(now) && !t.At.After(now)
}

// Begun is what is kept of an order before anybody is asked, so that it counts also when berth dies over it.
func Begun(k *runtime.KeptCertificate, a reconcile.ObtainCertificate, authority string, now time.Time) runtime.KeptCertificate {
	out := runtime.KeptCertificate{}
	if k != nil {
		out = *k
	}
	out.Namespace, out.Name = a.Secret.Namespace, a.Secret.Name
	out.Tries = slices.DeleteFunc(slices.Clone(out.Tries), func(t runtime.CertificateTry) bool { return !counts(&t, now) })
	out.Tries = append(out.Tries, runtime.CertificateTry{At: now, Authority: authority, Hosts: a.Hosts})
	return out
}

// Done is what is kept of a certificate that was issued.
func Done(k runtime.KeptCertificate, issued runtime.Issued, authority string) runtime.KeptCertificate {
	k.Issued, k.Authority, k.Failing = issued, authority, nil
	return k
}

// Cut is what is kept of an order that nobody waited for. looked is false when the authority has not looked at the hosts.
func Cut(k runtime.KeptCertificate, looked bool) runtime.KeptCertificate {
	if !looked {
		k.Tries = slices.Clone(k.Tries[:len(k.Tries)-1])
	}
	return k
}

// Failed is what is kept of an order that came to nothing. nonce spreads the next one.
func Failed(k runtime.KeptCertificate, why *runtime.IssueError, a reconcile.ObtainCertificate, authority string, now time.Time, nonce uint64) runtime.KeptCertificate {
	before := (&Input{Wish: &Wish{Hosts: a.Hosts}, Kept: &k, Authority: authority}).failing()
	f := &runtime.CertificateFailure{Authority: authority, Hosts: a.Hosts, Times: 1, Message: why.Message}
	if before != nil {
		f.Times += before.Times
	}
	pause := double(firstShortPause, longestShortPause, f.Times)
	if why.Looked {
		pause = double(firstPause, longestPause, f.Times)
	}
	pause += time.Duration(nonce % uint64(pause/4))
	f.Next = now.Add(max(pause, why.Wait))
	out := Cut(k, why.Looked)
	out.Failing = f
	return out
}

func double(first, longest time.Duration, times int) time.Duration {
	return min(longest, first<<min(times-1, 20))
}
