// Package leak counts what a machine holds, and tells what one moment has that another had not: processes, cgroups of every
// hierarchy, mounts of every live mount namespace, namespaces of every kind, links, addresses, routes, nftables objects, listening
// sockets, and the FIFOs and files below given directories.
//
// A test takes a snapshot, lets the product run and leave, and waits for the same picture again.
package leak

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Kind is a kind of thing that can be left behind.
type Kind string

// The kinds that are counted.
const (
	Process   Kind = "process"
	Cgroup    Kind = "cgroup"
	Mount     Kind = "mount"
	Namespace Kind = "namespace"
	Link      Kind = "link"
	Address   Kind = "address"
	Route     Kind = "route"
	NFT       Kind = "nft"
	Socket    Kind = "socket"
	FIFO      Kind = "fifo"
	File      Kind = "file"
)

// Kinds are all of them.
var Kinds = []Kind{Process, Cgroup, Mount, Namespace, Link, Address, Route, NFT, Socket, FIFO, File}

// Options say where to look.
type Options struct {
	// Dirs are counted file by file. One that does not exist is empty.
	Dirs []string
	// OwnSockets counts the sockets of the calling process too: else what a test serves is its own affair.
	OwnSockets bool
}

// Snapshot is what there is: kind, identity, description.
type Snapshot map[Kind]map[string]string

// Item is one difference between two snapshots.
type Item struct {
	Kind Kind
	// Key identifies the thing, Text describes it to people.
	Key, Text string
	// Gone is true for what was there before and is no more: something foreign that was touched.
	Gone bool
}

// String is "left process 123:456 (berth keeper)".
func (i Item) String() string {
	verb := "left"
	if i.Gone {
		verb = "gone"
	}
	if i.Text == "" || i.Text == i.Key {
		return fmt.Sprintf("%s %s %s", verb, i.Kind, i.Key)
	}
	return fmt.Sprintf("%s %s %s (%s)", verb, i.Kind, i.Key, i.Text)
}

// Take looks at the machine once. It changes nothing.
func Take(opts Options) (Snapshot, error) {
	s := Snapshot{}
	for _, k := range Kinds {
		s[k] = map[string]string{}
	}
	procs, err := processes()
	if err != nil {
		return nil, err
	}
	for _, p := range procs {
		if p.pid != os.Getpid() {
			s[Process][p.key()] = p.describe()
		}
	}
	takeNamespaces(procs, s)
	for _, step := range []func(Snapshot) error{takeCgroups, takeNet, takeNFT} {
		if err := step(s); err != nil {
			return nil, err
		}
	}
	if err := takeSockets(s, opts.OwnSockets); err != nil {
		return nil, err
	}
	for _, dir := range opts.Dirs {
		if err := takeFiles(dir, s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Diff lists what after has and before had not, and the reverse, sorted.
func Diff(before, after Snapshot) []Item {
	var out []Item
	for _, kind := range Kinds {
		for key, text := range after[kind] {
			if _, ok := before[kind][key]; !ok {
				out = append(out, Item{Kind: kind, Key: key, Text: text})
			}
		}
		for key, text := range before[kind] {
			if _, ok := after[kind][key]; !ok {
				out = append(out, Item{Kind: kind, Key: key, Text: text, Gone: true})
			}
		}
	}
	slices.SortFunc(out, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
	})
	return out
}

// Wait looks until the machine is as it was before, or ctx ends, and returns what differs then. Namespaces and what is in them die
// asynchronously: one look is not enough.
func Wait(ctx context.Context, before Snapshot, opts Options) ([]Item, error) {
	pause := 5 * time.Millisecond
	for {
		after, err := Take(opts)
		if err != nil {
			return nil, err
		}
		diff := Diff(before, after)
		if len(diff) == 0 {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return diff, nil
		case <-time.After(pause):
			pause = min(2*pause, 200*time.Millisecond)
		}
	}
}

// Text is one line per item.
func Text(items []Item) string {
	var b strings.Builder
	for _, i := range items {
		b.WriteString(i.String())
		b.WriteByte('\n')
	}
	return b.String()
}
