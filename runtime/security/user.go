package security

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"berth/runtime"
)

// User is who a container's process is.
type User struct {
	UID, GID uint32
	// Groups are the supplementary groups, without duplicates, the first one GID.
	Groups []uint32
	// Home is the value for HOME.
	Home string
}

// maxID is the greatest user or group number: what Kubernetes allows, and far from where kernels and programs wrap to a negative one or 0.
const maxID = 1<<31 - 1

// LookupUser decides who a container runs as. layers are the image's, lowest first (runtime.Image.Layers); imageUser is the image's USER.
// A pod's fsGroup is one of sec.SupplementalGroups here: the caller adds it.
//
// sec.User beats the image's user and then also its group; sec.Group beats every group. Names are looked up in the image's own files, numbers
// need not be there. RunAsNonRoot is judged by the number that comes out.
func LookupUser(layers []string, imageUser string, sec runtime.Security) (User, error) {
	want, err := wantedUser(imageUser, sec)
	if err != nil {
		return User{}, err
	}
	db, err := readAccounts(layers)
	if err != nil {
		return User{}, err
	}
	u, name, err := db.user(want.user)
	if err != nil {
		return User{}, err
	}
	if want.group != "" {
		if u.GID, err = db.group(want.group); err != nil {
			return User{}, err
		}
	}
	if sec.RunAsNonRoot && u.UID == 0 {
		if sec.User != nil {
			return User{}, errors.New("container's runAsUser breaks non-root policy")
		}
		return User{}, errors.New("container has runAsNonRoot and image will run as root")
	}
	u.Groups = append([]uint32{u.GID}, db.memberships(name)...)
	for _, g := range sec.SupplementalGroups {
		id, err := checkID(g)
		if err != nil {
			return User{}, fmt.Errorf("cannot use supplemental group: %w", err)
		}
		u.Groups = append(u.Groups, id)
	}
	u.Groups = unique(u.Groups)
	return u, nil
}

// userString is a user and a group as an image writes them: each a name or a number; group may be empty.
type userString struct{ user, group string }

func wantedUser(imageUser string, sec runtime.Security) (userString, error) {
	want := userString{user: "0"}
	switch {
	case sec.User != nil:
		id, err := checkID(*sec.User)
		if err != nil {
			return want, fmt.Errorf("cannot use runAsUser: %w", err)
		}
		want.user = strconv.FormatUint(uint64(id), 10)
	case imageUser != "":
		user, group, both := strings.Cut(imageUser, ":")
		if !validUserPart(user) || both && !validUserPart(group) {
			return want, fmt.Errorf("cannot use %q as the image's user: it is not NAME, NUMBER, NAME:GROUP or NUMBER:NUMBER with numbers up to %d", imageUser, maxID)
		}
		want = userString{user, group}
	}
	if sec.Group != nil {
		id, err := checkID(*sec.Group)
		if err != nil {
			return want, fmt.Errorf("cannot use runAsGroup: %w", err)
		}
		want.group = strconv.FormatUint(uint64(id), 10)
	}
	return want, nil
}

// accountName is what user and group files hold. A name never begins with a digit or a sign: such a text is a number or an error, so no
// entry in an image's file can give it another meaning.
var accountName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,254}\$?$`)

func validUserPart(s string) bool {
	_, err := parseID(s)
	return err == nil || accountName.MatchString(s)
}

// parseID reads a user or group number: decimal digits without a leading zero, in range.
func parseID(s string) (uint32, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil || id > maxID || strconv.FormatUint(id, 10) != s {
		return 0, fmt.Errorf("%q is not a number from 0 to %d", s, maxID)
	}
	return uint32(id), nil
}

func checkID(n int64) (uint32, error) { return parseID(strconv.FormatInt(n, 10)) }

func unique(ids []uint32) []uint32 {
	var out []uint32
	for _, id := range ids {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}
