#!/bin/sh
# Builds the file system of a small machine and executes its systemd. Runs as the first process of new namespaces.
#
#   image.sh enter CGROUP FOLDER PROGRAM
#
# CGROUP is an empty cgroup, which becomes the machine's root cgroup. FOLDER holds `root`, where the machine is assembled,
# and `host`, which the machine sees as /run/host. PROGRAM and the files of deploy/systemd lie in /srv/release there.
#
# Programs and libraries are the host's, read-only; everything else is created here, in memory. The machine sees none of the
# host's units.
set -eu
if [ "$1" = enter ]; then
    echo 0 >"$2/cgroup.procs"
    shift
    exec unshare --cgroup sh "$0" boot "$@"
fi
folder=$3 program=$4
units=$(realpath "$(dirname "$0")/../../deploy/systemd")

mount -t tmpfs -o mode=0755 machine "$folder/root"
cd "$folder/root"
mkdir -p dev etc/pam.d home proc root run srv/release sys tmp usr/bin usr/host var/lib var/log var/tmp
chmod 1777 tmp var/tmp
for part in bin lib lib32 lib64 libexec sbin share; do
    [ -d "/usr/$part" ] || continue
    to=usr/$part
    [ "$part" = bin ] && to=usr/host/bin
    mkdir -p "$to"
    mount --bind "/usr/$part" "$to"
    mount -o remount,bind,ro "$to"
    [ "$part" = bin ] || [ "$part" = share ] || [ "$part" = libexec ] || ln -s "usr/$part" "$part"
done
# A writable directory, so that files can be installed there.
ln -s usr/bin bin
ln -s ../run var/run
(cd usr/bin && ln -s ../host/bin/* .)
rm -f usr/bin/claviger
for part in system system-generators; do
    mount -t tmpfs -o mode=0755 units "usr/lib/systemd/$part"
done
mount -t tmpfs -o mode=0755 users usr/lib/sysusers.d

cp "$units"/claviger* srv/release/
touch srv/release/claviger
mount --bind "$program" srv/release/claviger

mount -t proc -o nosuid,nodev,noexec proc proc
# Settings there would apply to the host.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o nosuid,nodev,noexec,ro sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755,nosuid devices dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777,nosuid,nodev memory dev/shm
mount -t tmpfs -o mode=0755,nosuid,nodev run run
mkdir run/host
mount --bind "$folder/host" run/host
# systemd logs there; a failed test prints it.
touch dev/kmsg
mount --bind "$folder/host/kmsg" dev/kmsg

cat >etc/passwd <<'END'
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/usr/sbin/nologin
END
cat >etc/group <<'END'
root:x:0:
nogroup:x:65534:
END
printf 'passwd: files\ngroup: files\nhosts: files\n' >etc/nsswitch.conf
printf '127.0.0.1 localhost issuer.test\n' >etc/hosts
printf 'auth sufficient pam_rootok.so\nsession required pam_permit.so\n' >etc/pam.d/runuser
echo 0123456789abcdef0123456789abcdef >etc/machine-id
[ ! -e /etc/ld.so.cache ] || cp /etc/ld.so.cache etc/

cd usr/lib/systemd/system
for target in basic sysinit sockets multi-user network shutdown; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" >"$target.target"
done
printf 'Requires=sysinit.target\nAfter=sysinit.target\nWants=sockets.target\n' >>basic.target
printf 'Requires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' >>multi-user.target

cd "$folder/root"
mkdir host
pivot_root . host
umount -l /host
rmdir /host
# As container managers do: mounts of service credentials must propagate.
mount --make-rshared /
exec env -i container=claviger-test NOTIFY_SOCKET=/run/host/notify PATH=/usr/bin:/usr/sbin \
    /usr/lib/systemd/systemd --system --unit=multi-user.target --log-target=kmsg --show-status=no </dev/null
