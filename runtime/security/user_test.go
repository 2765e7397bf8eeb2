package security

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www:/var/www:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n" +
		"wrap:x:4294967296:0::/:\nbig:x:2147483648:0::/:\nmin:x:-1:0::/:\noct:x:010:0::/:\nbadgid:x:7:x::/:\n" +
		"1e3:x:0:0::/:\n0x0:x:0:0::/:\n65536000000:x:0:0::/:\nshort:x:0\nevil:x:5:5::\nrel:x:6:6::home:\n"
	groups = "root:x:0:\nadm:x:4:app,www-data\nstaff:x:50:app\nbig:x:4294967296:app\napp:x:1001:app\nhuge:x:99999999999:\nshort:x\n"
)

func layer(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch target, isLink := strings.CutPrefix(text, "-> "); {
		case isLink:
			err = os.Symlink(target, path)
		case text == "whiteout":
			err = unix.Mknod(path, unix.S_IFCHR, 0)
		case text == "fifo":
			err = unix.Mkfifo(path, 0o644)
		case text == "dir":
			err = os.Mkdir(path, 0o755)
		case text == "opaque":
			if err = os.MkdirAll(path, 0o755); err == nil {
				err = unix.Setxattr(path, "trusted.overlay.opaque", []byte("y"), 0)
			}
		default:
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLookupUser(t *testing.T) {
	base := layer(t, map[string]string{"etc/passwd": passwd, "etc/group": groups})
	tests := map[string]struct {
		image string
		sec   runtime.Security
		want  User
		err   string
	}{
		"nothing said":              {"", runtime.Security{}, User{0, 0, []uint32{0}, "/root"}, ""},
		"name":                      {"app", runtime.Security{}, User{1000, 1001, []uint32{1001, 4, 50}, "/home/app"}, ""},
		"number in the file":        {"1000", runtime.Security{}, User{1000, 1001, []uint32{1001, 4, 50}, "/home/app"}, ""},
		"number not in the file":    {"4711", runtime.Security{}, User{4711, 0, []uint32{0}, "/"}, ""},
		"name and group":            {"app:adm", runtime.Security{}, User{1000, 4, []uint32{4, 50, 1001}, "/home/app"}, ""},
		"numbers":                   {"33:77", runtime.Security{}, User{33, 77, []uint32{77, 4}, "/var/www"}, ""},
		"greatest":                  {"2147483647", runtime.Security{}, User{2147483647, 0, []uint32{0}, "/"}, ""},
		"runAsUser":                 {"app:adm", runtime.Security{User: new(int64(33))}, User{33, 33, []uint32{33, 4}, "/var/www"}, ""},
		"runAsUser and runAsGroup":  {"app", runtime.Security{User: new(int64(33)), Group: new(int64(9))}, User{33, 9, []uint32{9, 4}, "/var/www"}, ""},
		"runAsGroup alone":          {"app:adm", runtime.Security{Group: new(int64(9))}, User{1000, 9, []uint32{9, 4, 50, 1001}, "/home/app"}, ""},
		"supplemental and fsGroup":  {"app", runtime.Security{SupplementalGroups: []int64{4, 3000, 3000, 2000}}, User{1000, 1001, []uint32{1001, 4, 50, 3000, 2000}, "/home/app"}, ""},
		"relative home":             {"rel", runtime.Security{}, User{6, 6, []uint32{6}, "/"}, ""},
		"non-root holds":            {"app", runtime.Security{RunAsNonRoot: true}, User{1000, 1001, []uint32{1001, 4, 50}, "/home/app"}, ""},
		"non-root, image is root":   {"root", runtime.Security{RunAsNonRoot: true}, User{}, "container has runAsNonRoot and image will run as root"},
		"non-root, nothing said":    {"", runtime.Security{RunAsNonRoot: true}, User{}, "container has runAsNonRoot and image will run as root"},
		"non-root, runAsUser 0":     {"app", runtime.Security{RunAsNonRoot: true, User: new(int64(0))}, User{}, "container's runAsUser breaks non-root policy"},
		"unknown name":              {"nobody", runtime.Security{}, User{}, "unable to find user nobody"},
		"unknown group":             {"app:nogroup", runtime.Security{}, User{}, "unable to find group nogroup"},
		"uid too great in the file": {"big", runtime.Security{}, User{}, "2147483648"},
		"uid wraps in the file":     {"wrap", runtime.Security{}, User{}, "4294967296"},
		"uid negative in the file":  {"min", runtime.Security{}, User{}, `"-1"`},
		"uid octal in the file":     {"oct", runtime.Security{}, User{}, `"010"`},
		"gid is no number":          {"badgid", runtime.Security{}, User{}, `"x"`},
		"group wraps in the file":   {"app:huge", runtime.Security{}, User{}, "99999999999"},
		"line too short":            {"evil", runtime.Security{}, User{}, "unable to find"},
		"runAsUser negative":        {"", runtime.Security{User: new(int64(-1))}, User{}, "runAsUser"},
		"runAsUser too great":       {"", runtime.Security{User: new(int64(1 << 31))}, User{}, "runAsUser"},
		"runAsGroup wraps":          {"", runtime.Security{Group: new(int64(1 << 32))}, User{}, "runAsGroup"},
		"supplemental wraps":        {"", runtime.Security{SupplementalGroups: []int64{1 << 32}}, User{}, "supplemental"},
	}
	for _, bad := range []string{
		"0x0", "1e3", " 0", "0 ", "-1", "+1", "4294967296", "2147483648", "4294967295", "99999999999", "65536000000", "0000", "00", "65535:", ":0", ":",
		"app:adm:x", "app\n", "app\x00", "a/b", "0:00", "0:-1", "\u0660", "app:4294967296",
	} {
		tests["refused: "+bad] = struct {
			image string
			sec   runtime.Security
			want  User
			err   string
		}{bad, runtime.Security{}, User{}, "cannot use"}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := LookupUser([]string{base}, tt.image, tt.sec)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("got error %v, want %q", err, tt.err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestLayersAreReadAsOverlayfsShowsThem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("whiteouts and opaque directories need root: run it as root (make root)")
	}
	line := func(uid string) string { return "app:x:" + uid + ":1::/:\n" }
	type files = map[string]string
	tests := map[string]struct {
		layers []files // lowest first
		want   uint32
		err    string
	}{
		"upper file hides lower":        {[]files{{"etc/passwd": line("1")}, {"etc/passwd": line("2")}}, 2, ""},
		"lower file shows through":      {[]files{{"etc/passwd": line("1")}, {"etc/other": ""}, {"usr/x": ""}}, 1, ""},
		"whiteout of the file":          {[]files{{"etc/passwd": line("1")}, {"etc/passwd": "whiteout"}}, 0, "unable to find"},
		"whiteout of the directory":     {[]files{{"etc/passwd": line("1")}, {"etc": "whiteout"}}, 0, "unable to find"},
		"made again above a whiteout":   {[]files{{"etc/passwd": line("1")}, {"etc": "whiteout"}, {"etc/passwd": line("3")}}, 3, ""},
		"opaque directory":              {[]files{{"etc/passwd": line("1")}, {"etc": "opaque"}}, 0, "unable to find"},
		"below an opaque directory":     {[]files{{"etc/passwd": line("1")}, {"etc": "opaque"}, {"etc/x": ""}}, 0, "unable to find"},
		"opaque layer":                  {[]files{{"etc/passwd": line("1")}, {".": "opaque"}}, 0, "unable to find"},
		"directory replaced by a file":  {[]files{{"etc/passwd": line("1")}, {"etc": "x"}}, 0, "not a directory"},
		"directory over a file":         {[]files{{"etc": "x"}, {"etc/passwd": line("4")}}, 4, ""},
		"relative link":                 {[]files{{"usr/etc/passwd": line("5"), "etc/passwd": "-> ../usr/etc/passwd"}}, 5, ""},
		"absolute link, across layers":  {[]files{{"usr/etc/passwd": line("6")}, {"etc": "-> /usr/etc"}}, 6, ""},
		"link target whited out":        {[]files{{"usr/etc/passwd": line("6")}, {"etc": "-> /usr/etc"}, {"usr/etc/passwd": "whiteout"}}, 0, "unable to find"},
		"upper link, lower directory":   {[]files{{"etc/passwd": line("1"), "new/passwd": line("7")}, {"etc": "-> new"}}, 7, ""},
		"dot-dot stops at the root":     {[]files{{"usr/passwd": line("8"), "etc/passwd": "-> ../../../../../../usr/passwd"}}, 8, ""},
		"link out of the image":         {[]files{{"etc/passwd": "-> /etc/passwd"}}, 0, "too many levels"},
		"link loop":                     {[]files{{"etc/passwd": "-> passwd"}}, 0, "too many levels"},
		"link to proc finds nothing":    {[]files{{"etc/passwd": "-> /proc/self/root/etc/passwd"}}, 0, "unable to find"},
		"fifo":                          {[]files{{"etc/passwd": "fifo"}}, 0, "regular"},
		"directory":                     {[]files{{"etc/passwd": "dir"}}, 0, "directory"},
		"too large":                     {[]files{{"etc/passwd": line("1") + strings.Repeat("#", 1<<20)}}, 0, "larger"},
		"no files at all":               {[]files{{}}, 0, "unable to find"},
		"carriage returns and no end":   {[]files{{"etc/passwd": "app:x:9:1::/:\r\nlast:x:1:1::/:"}}, 9, ""},
		"a NUL makes the line unusable": {[]files{{"etc/passwd": "app:x:9:1::/\x00:\n"}}, 0, "unable to find"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var dirs []string
			for _, f := range tt.layers {
				dirs = append(dirs, layer(t, f))
			}
			got, err := LookupUser(dirs, "app", runtime.Security{})
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("got %+v, error %v, want %q", got, err, tt.err)
			}
			if got.UID != tt.want {
				t.Errorf("got uid %d, want %d", got.UID, tt.want)
			}
		})
	}
}

func TestLookupLeaksNoDescriptor(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	dir := layer(t, map[string]string{"etc/passwd": passwd, "etc/group": groups})
	before := count()
	start := time.Now()
	const rounds = 200
	for range rounds {
		if _, err := LookupUser([]string{dir, dir, dir}, "app", runtime.Security{}); err != nil {
			t.Fatal(err)
		}
		_, _ = LookupUser([]string{dir, "/does/not/exist"}, "app", runtime.Security{})
	}
	t.Logf("%v for each pair of lookups in 3 layers", time.Since(start)/rounds)
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestCapabilities(t *testing.T) {
	const all = uint64(1)<<41 - 1
	tests := map[string]struct {
		in   runtime.Security
		want uint64
		err  string
	}{
		"default":                {runtime.Security{}, 1<<0 | 1<<1 | 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<18, ""},
		"added":                  {runtime.Security{AddCapabilities: []string{"net_raw", "CAP_SYS_TIME"}}, defaultCapabilities | 1<<13 | 1<<25, ""},
		"dropped":                {runtime.Security{DropCapabilities: []string{"Cap_Chown"}}, defaultCapabilities &^ 1, ""},
		"both is dropped":        {runtime.Security{AddCapabilities: []string{"CHOWN"}, DropCapabilities: []string{"chown"}}, defaultCapabilities &^ 1, ""},
		"drop all":               {runtime.Security{DropCapabilities: []string{"all"}}, 0, ""},
		"drop all but one":       {runtime.Security{AddCapabilities: []string{"NET_BIND_SERVICE"}, DropCapabilities: []string{"ALL"}}, 1 << 10, ""},
		"add all":                {runtime.Security{AddCapabilities: []string{"CAP_ALL"}}, all &^ (1 << 24), ""},
		"add all but one":        {runtime.Security{AddCapabilities: []string{"ALL"}, DropCapabilities: []string{"SYS_ADMIN"}}, all &^ (1<<24 | 1<<21), ""},
		"privileged":             {runtime.Security{Privileged: true, DropCapabilities: []string{"ALL"}}, all &^ (1 << 24), ""},
		"unknown":                {runtime.Security{AddCapabilities: []string{"SYS_ADMINN"}}, 0, `"SYS_ADMINN"`},
		"unknown dropped":        {runtime.Security{DropCapabilities: []string{"X"}}, 0, `"X"`},
		"unknown, privileged":    {runtime.Security{Privileged: true, DropCapabilities: []string{"X"}}, 0, `"X"`},
		"empty":                  {runtime.Security{AddCapabilities: []string{""}}, 0, `""`},
		"berth has it not":       {runtime.Security{AddCapabilities: []string{"SYS_RESOURCE"}}, 0, "CAP_SYS_RESOURCE"},
		"dropped, berth has not": {runtime.Security{DropCapabilities: []string{"SYS_RESOURCE"}}, defaultCapabilities, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := capabilities(tt.in, all&^(1<<24))
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("got error %v, want %q", err, tt.err)
			}
			if got != tt.want {
				t.Errorf("got %x, want %x", got, tt.want)
			}
		})
	}
	if got := len(capabilityNames(defaultCapabilities)); got != 10 {
		t.Errorf("the default set has %d capabilities, want 10", got)
	}
	if _, err := Capabilities(runtime.Security{}); err != nil {
		t.Error(err)
	}
}
