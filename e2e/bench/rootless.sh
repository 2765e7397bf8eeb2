# Runs PROGRAM with podman as a user without rights, on a port of the machine: rootless.sh PODMAN DIR PROGRAM PORT. In mount and process namespaces of its own, with
# which all of it ends. The user exists there only, and has one id: so nothing of the machine has to be set up.
set -eu
podman=$1 dir=$2 program=$3 port=$4 id=4242
mount --make-rshared /
mkdir -p "$dir/home" "$dir/run"
for f in passwd group; do
	cp "/etc/$f" "$dir/$f"
done
echo "bench:x:$id:$id::$dir/home:/bin/sh" >> "$dir/passwd"
echo "bench:x:$id:" >> "$dir/group"
mknod -m 666 "$dir/tun" c 10 200 # root's alone on some machines
chmod 666 "$dir/tun"
for f in passwd group; do
	mount --bind "$dir/$f" "/etc/$f"
done
mount --bind "$dir/tun" /dev/net/tun
umount -l /sys/fs/cgroup/unified 2>/dev/null || true # crun takes no hybrid
mkdir "$dir/root"
cp "$program" "$dir/root/program"
tar --owner=0 --group=0 -C "$dir/root" -cf "$dir/image.tar" program
chmod 755 "$dir"
chmod 644 "$dir/image.tar"
chown "$id:$id" "$dir/home" "$dir/run"
chmod 700 "$dir/run"
export HOME="$dir/home" XDG_RUNTIME_DIR="$dir/run" TMPDIR="$dir/home"
cd "$dir/home"
as() { setpriv --reuid "$id" --regid "$id" --init-groups "$podman" --cgroup-manager=cgroupfs --events-backend=file "$@"; }
as import "$dir/image.tar" localhost/program
as run --rm --cgroups=disabled --net=slirp4netns --ulimit=nofile=1024:1024 --ulimit=nproc=1000:1000 --publish "$port:8080" localhost/program /program sink 8080
