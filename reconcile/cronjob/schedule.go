package cronjob

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// manyMissed is the number of missed times from which Kubernetes warns.
const manyMissed = 100

// schedule is a schedule in a time zone.
type schedule struct {
	cron cron.Schedule
	in   *time.Location
}

// parse reads a schedule as Kubernetes does. A zone within the schedule is not supported there, and refused here: it is not read from the
// machine by a planner.
func parse(text string, in *time.Location) (s schedule, err error) {
	if strings.Contains(text, "TZ=") {
		return s, errors.New("the time zone belongs into timeZone")
	}
	defer func() {
		if r := recover(); r != nil { // the parser has done so
			err = fmt.Errorf("%v", r)
		}
	}()
	c, err := cron.ParseStandard(text)
	if err != nil {
		return s, err
	}
	return schedule{c, in}, nil
}

// after is the first time of the schedule after t, or the zero time if it never comes.
func (s schedule) after(t time.Time) time.Time { return s.cron.Next(t.In(s.in)) }

// latest is the last time of the schedule after since and not after now, or the zero time. The times in between are not gone through: there may
// be years of them.
func (s schedule) latest(since, now time.Time) time.Time {
	first := s.after(since)
	if first.IsZero() || first.After(now) {
		return time.Time{}
	}
	if every, ok := s.cron.(cron.ConstantDelaySchedule); ok { // its times hang on where it began
		return first.Add(now.Sub(first).Truncate(every.Delay))
	}
	// The next time after t comes at or before now for every t before the wanted time, and for none from it on.
	lo, hi := since.Unix(), now.Unix() // the wanted time is in (lo, hi]
	for hi-lo > 1 {
		middle := lo + (hi-lo)/2
		if next := s.after(time.Unix(middle, 0)); next.IsZero() || next.After(now) {
			hi = middle
		} else {
			lo = middle
		}
	}
	return time.Unix(hi, 0)
}

// many tells whether more times than Kubernetes tolerates without a word were missed.
func (s schedule) many(since, now time.Time) bool {
	t := since
	for range manyMissed + 1 {
		if t = s.after(t); t.IsZero() || t.After(now) {
			return false
		}
	}
	return true
}
