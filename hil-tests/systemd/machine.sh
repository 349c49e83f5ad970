#!/usr/bin/env bash
# A machine whose process 1 is systemd: the files of a root folder, read-only, below a layer of its own in memory; processes, mounts,
# control groups, host name and System V IPC of its own. The network is this machine's, for what it is to install. It ends, and leaves
# nothing, when this script gets SIGTERM, when its standard input ends, or after 15 minutes.
#
#   machine.sh FOLDER [ROOT]      FOLDER is empty; ROOT is a folder with a Debian, default /
#
# Says "booting" and the process id that systemd has out here; what systemd logs follows.
set -euo pipefail

# Whose default hierarchy this machine uses: one with all controllers, or the older ones, of which those that the unit's limits want.
unified=$([ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] && echo yes || echo no)
CONTROLLERS=(memory pids devices)

inside() {
  local work=$1 lower=$2 root=$1/root
  mount --make-rprivate /
  # A layer cannot lie on what is below it.
  mount -t tmpfs -o size=2g tmpfs "$work"
  mkdir "$work/upper" "$work/layer" "$root"
  mount -t overlay -o "lowerdir=$lower,upperdir=$work/upper,workdir=$work/layer" overlay "$root"
  mount -t proc proc "$root/proc"
  # What is set there holds for the whole kernel.
  mount --bind -o ro "$root/proc/sys" "$root/proc/sys"
  mount -t sysfs -o ro sysfs "$root/sys"
  if [ "$unified" = yes ] || ! knows_old_groups "$root"; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  else
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/unified" "$root/sys/fs/cgroup/systemd"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
    mount -t cgroup -o none,name=systemd,xattr cgroup "$root/sys/fs/cgroup/systemd"
    for name in "${CONTROLLERS[@]}"; do
      mkdir "$root/sys/fs/cgroup/$name"
      mount -t cgroup -o "$name" cgroup "$root/sys/fs/cgroup/$name"
    done
  fi
  for name in tmp run; do mount -t tmpfs tmpfs "$root/$name"; done
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
  done
  mkdir "$root/dev/shm" "$root/dev/pts"
  mount -t tmpfs tmpfs "$root/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
  ln -s pts/ptmx "$root/dev/ptmx"
  cd "$root"
  pivot_root . mnt
  umount -l /mnt
  # The kernel is not this system's, and what it does by the clock would only come between.
  local unit
  for unit in systemd-{sysctl,modules-load,remount-fs,udevd}.service modprobe@.service timers.target; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
  done
  local path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  exec env -i container=mallorn-test "PATH=$path" /usr/lib/systemd/systemd --unit=basic.target --log-target=journal < /dev/null
}

# From 256 on systemd does not start on the hierarchies before version 2.
knows_old_groups() {
  local version
  version=$(chroot "$1" /usr/lib/systemd/systemd --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')
  [ "$version" -lt 256 ]
}

if [ "${1:-}" = --inside ]; then inside "$2" "$3"; fi

group=mallorn-systemd-$$
groups=()
leave() {
  [ -z "${child:-}" ] || kill -KILL "$child" 2> /dev/null || true
  wait 2> /dev/null || true
  local each
  for each in "${groups[@]}"; do
    # The last of its processes may be on their way out.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
      find "$each" -depth -type d -exec rmdir {} + 2> /dev/null && break
      sleep 0.1
    done
  done
}
trap leave EXIT
trap 'exit 0' TERM INT

if [ "$unified" = yes ]; then hierarchies=(/sys/fs/cgroup); else
  hierarchies=(/sys/fs/cgroup/unified /sys/fs/cgroup/systemd "${CONTROLLERS[@]/#//sys/fs/cgroup/}")
fi
for each in "${hierarchies[@]}"; do
  mkdir "$each/$group"
  groups+=("$each/$group")
done
# Enters its groups first, so that they are the roots of what it sees. With --kill-child the machine ends with this process.
(
  for each in "${groups[@]}"; do echo "$BASHPID" > "$each/cgroup.procs"; done
  exec unshare --mount --pid --fork --kill-child --uts --ipc --cgroup "$0" --inside "$1" "${2:-/}"
) &
child=$!
for _ in {1..100}; do
  booted=$(pgrep -P "$child" || true)
  [ -z "$booted" ] || break
  sleep 0.05
done
echo "booting $booted"
# Until nobody holds the other end any more.
read -r -t 900 || true
