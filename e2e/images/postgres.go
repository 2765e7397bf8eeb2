package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// postgresBin is where Debian has the newest major version that is installed; empty when there is none.
func postgresBin() string {
	newest := ""
	found, _ := filepath.Glob("/usr/lib/postgresql/[0-9]*/bin/postgres")
	for _, f := range found {
		if len(f) > len(newest) || len(f) == len(newest) && f > newest {
			newest = f
		}
	}
	if newest == "" {
		return ""
	}
	return filepath.Dir(newest)
}

// postgresEntrypoint does what the official image's does with the same variables, in few lines. The new cluster gets its name when it is complete: an
// initialisation that is cut off begins anew.
const postgresEntrypoint = `#!/bin/sh
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	: "${POSTGRES_PASSWORD:?is not set}"
	user="${POSTGRES_USER:-postgres}" db="${POSTGRES_DB:-${POSTGRES_USER:-postgres}}"
	rm -rf "$PGDATA.new" && mkdir -p "$PGDATA.new"
	printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
	initdb -D "$PGDATA.new" -U "$user" --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 --no-locale -E UTF8
	rm /tmp/password
	echo 'host all all all scram-sha-256' >>"$PGDATA.new/pg_hba.conf"
	postgres -D "$PGDATA.new" -c listen_addresses= &
	until pg_isready -q; do sleep 0.1; done
	[ "$db" = postgres ] || psql -q -U "$user" -d postgres -c "CREATE DATABASE \"$db\""
	for f in /docker-entrypoint-initdb.d/*.sql; do
		[ ! -e "$f" ] || psql -q -v ON_ERROR_STOP=1 -U "$user" -d "$db" -f "$f"
	done
	kill -INT $! && wait $!
	mv "$PGDATA.new" "$PGDATA"
fi
# A volume's group may have been given the right to write, which postgres does not accept.
chmod 700 "$PGDATA"
exec postgres "$@"
`

// postgres is Debian's server without its just-in-time compiler, and the variables and places of the official image.
func postgres() (v1.Image, error) {
	bin := postgresBin()
	if bin == "" {
		return nil, errors.New("there is no /usr/lib/postgresql: install postgresql")
	}
	t, err := base()
	if err != nil {
		return nil, err
	}
	for _, p := range []string{"postgres", "initdb", "psql", "pg_isready"} {
		if err := t.program(filepath.Join(bin, p)); err != nil {
			return nil, fmt.Errorf("%w: install postgresql", err)
		}
	}
	for _, lib := range []string{"plpgsql.so", "dict_snowball.so"} {
		if err := t.program(filepath.Join(filepath.Dir(bin), "lib", lib)); err != nil {
			return nil, err
		}
	}
	share := filepath.Join("/usr/share/postgresql", filepath.Base(filepath.Dir(bin)))
	if err := t.copyAll(share, func(name string) bool {
		dir, file := filepath.Split(name)
		return dir != "extension/" || strings.HasPrefix(file, "plpgsql")
	}); err != nil {
		return nil, err
	}
	for _, zone := range []string{"/usr/share/zoneinfo/UTC", "/usr/share/zoneinfo/Etc/UTC"} {
		if err := t.copy(zone, zone); err != nil {
			return nil, err
		}
	}
	if err := t.nss(); err != nil {
		return nil, err
	}
	t.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n")
	t.file("etc/group", "root:x:0:\npostgres:x:999:\n")
	t.script("usr/local/bin/docker-entrypoint.sh", postgresEntrypoint)
	t.dir("run/postgresql", 0o1777, 999)
	t.link("var/run", "/run")
	t.dir("var/lib/postgresql/data", 0o1777, 999)
	return fromTree(t, v1.Config{
		Env:        []string{defaultPath + ":" + bin, "PGDATA=/var/lib/postgresql/data"},
		Entrypoint: []string{"docker-entrypoint.sh"}, StopSignal: "SIGINT",
		Volumes:      map[string]struct{}{"/var/lib/postgresql/data": {}},
		ExposedPorts: map[string]struct{}{"5432/tcp": {}},
	})
}

// copyAll copies the files below a directory of this machine, but manual pages and those that want refuses. It is asked with names relative to dir.
func (t *tree) copyAll(dir string, want func(name string) bool) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("cannot copy a directory of this machine: %w", err)
		}
		if d.IsDir() {
			if d.Name() == "man" {
				return fs.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || !want(name) {
			return err
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil // a link into a package that is not installed
		}
		return t.copy(path, path)
	})
}
