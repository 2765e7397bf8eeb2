package security

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

const (
	// maxAccounts is the greatest size of an image's user or group file in bytes; Debian's have 1 to 2 KiB.
	maxAccounts = 1 << 20
	// maxMemberships is the greatest number of groups a user gets from an image: the kernel's NGROUPS_MAX.
	maxMemberships = 65536
)

// accounts are the lines of an image's user and group files, cut at colons. Lines with too few fields are left out.
type accounts struct {
	passwd, groups [][]string
}

// readAccounts reads both files; one that the image does not have is empty.
func readAccounts(layers []string) (accounts, error) {
	l, err := openLayers(layers)
	if err != nil {
		return accounts{}, fmt.Errorf("cannot open the image's layers: %w", err)
	}
	defer l.close()
	var a accounts
	if a.passwd, err = readColons(l, "etc/passwd", 7); err != nil {
		return accounts{}, err
	}
	a.groups, err = readColons(l, "etc/group", 4)
	return a, err
}

func readColons(l *layerSet, path string, fields int) ([][]string, error) {
	text, err := readRegular(func() (*os.File, error) { return l.open(path) }, maxAccounts)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the image's /%s: %w", path, err)
	}
	var entries [][]string
	for line := range strings.Lines(string(text)) {
		entry := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(entry) >= fields && !strings.Contains(line, "\x00") {
			entries = append(entries, entry)
		}
	}
	return entries, nil
}

// user finds a user by name or number. A number that is not in the file is a user without a name, of group 0.
func (a accounts) user(wanted string) (u User, name string, err error) {
	id, numErr := parseID(wanted)
	field := 0
	if numErr == nil {
		field = 2
	}
	i := slices.IndexFunc(a.passwd, func(e []string) bool { return e[field] == wanted })
	if i < 0 && numErr != nil {
		return User{}, "", fmt.Errorf("unable to find user %s: no matching entries in the image's /etc/passwd", wanted)
	}
	if i < 0 {
		return User{UID: id, Home: "/"}, "", nil
	}
	entry := a.passwd[i]
	uid, uidErr := parseID(entry[2])
	gid, gidErr := parseID(entry[3])
	if err := errors.Join(uidErr, gidErr); err != nil {
		return User{}, "", fmt.Errorf("cannot use user %s of the image's /etc/passwd: %w", wanted, err)
	}
	home := entry[5]
	if !strings.HasPrefix(home, "/") {
		home = "/"
	}
	return User{UID: uid, GID: gid, Home: home}, entry[0], nil
}

// group finds a group by name or number. A number need not be in the file.
func (a accounts) group(wanted string) (uint32, error) {
	if id, err := parseID(wanted); err == nil {
		return id, nil
	}
	i := slices.IndexFunc(a.groups, func(e []string) bool { return e[0] == wanted })
	if i < 0 {
		return 0, fmt.Errorf("unable to find group %s: no matching entries in the image's /etc/group", wanted)
	}
	id, err := parseID(a.groups[i][2])
	if err != nil {
		return 0, fmt.Errorf("cannot use group %s of the image's /etc/group: %w", wanted, err)
	}
	return id, nil
}

// memberships are the groups that list a user. Groups with an impossible number are left out.
func (a accounts) memberships(name string) []uint32 {
	var ids []uint32
	if name == "" {
		return nil
	}
	for _, entry := range a.groups {
		if len(ids) == maxMemberships || !slices.Contains(strings.Split(entry[3], ","), name) {
			continue
		}
		if id, err := parseID(entry[2]); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}
