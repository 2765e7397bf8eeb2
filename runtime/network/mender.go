package network

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// mendSettled is how long a mender waits for the rest of a change: who restarts a machine's network does it in many steps.
	mendSettled = 100 * time.Millisecond
	// mendEvery bounds how often a mender looks, mendSeldom how seldom it puts back what somebody changes again and again.
	mendEvery, mendSeldom = time.Second, 5 * time.Minute
	// quarrel is how many times in a row something is put back before it is said to be one: the fifth time is 15 s after the first.
	quarrel = 5
)

// mender puts back what others change. Each time in a row it waits twice as long as before: where two programs are of different opinion neither
// should cost the machine its processor, and a person should hear of it. It starts anew when nobody has changed anything for twice the last wait.
type mender struct {
	// every bounds how often is looked; mendEvery but in tests.
	every time.Duration
	// mend puts everything back, and says what of it somebody had changed.
	mend func() (changed []string, err error)
	// tell is told what was changed, and errors; quarrelling what to say of a quarrel until it is said to be over, with "".
	tell        func(error)
	quarrelling func(string)
}

func (m mender) run(ctx context.Context, damage <-chan struct{}) {
	wait, calm := stopped(), stopped()
	defer wait.Stop()
	defer calm.Stop()
	waiting, damaged := false, false
	pause, row := time.Duration(0), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-damage:
			if damaged = true; !waiting {
				waiting = true
				wait.Reset(mendSettled)
			}
		case <-calm.C:
			pause, row = 0, 0
			m.quarrelling("")
		case <-wait.C:
			waiting = false
			if !damaged {
				continue
			}
			changed, err := m.mend()
			damaged, waiting = err != nil, true
			if len(changed) > 0 || err != nil {
				row++
				pause = min(max(2*pause, m.every), mendSeldom)
				calm.Reset(2 * pause)
				m.say(changed, err, row, pause)
			}
			wait.Reset(max(pause, m.every))
		}
	}
}

func (m mender) say(changed []string, err error, row int, pause time.Duration) {
	what := strings.Join(changed, ", ")
	if err != nil {
		m.tell(err)
	} else {
		m.tell(errors.New("somebody has changed the network of the pods, and it is put back: " + what))
	}
	if row >= quarrel && what != "" {
		m.quarrelling(fmt.Sprintf("somebody changes the network of the pods again and again, and for now it is put back only every %v: %s", pause, what))
	}
}

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
