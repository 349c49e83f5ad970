#!/usr/bin/env bash
# The emulated board as a board at a serial port: emulated-port.sh FIRMWARE FOLDER switches it off, if it is on, and on again. FOLDER keeps
# its flash (flash.img) and the port (port); "emulated-port.sh --off FOLDER" only switches it off.
set -euo pipefail
firmware="$1"
folder="$2"
if [ -e "$folder/pids" ]; then
  # QEMU's flash finishes the write it is in: a bare SIGKILL would lose acknowledged ones.
  printf '{"execute":"qmp_capabilities"}\n{"execute":"stop"}\n' | socat -t 1 - "UNIX-CONNECT:$folder/control.sock" > /dev/null || true
  read -r qemu bridge < "$folder/pids"
  kill -9 "$qemu" "$bridge" 2> /dev/null || true
  rm -f "$folder/pids" "$folder"/*.sock "$folder/port"
fi
[ "$firmware" != --off ] || exit 0
qemu-system-arm -M ast1030-evb -kernel "$firmware" -display none -monitor none -nodefaults \
  -serial "unix:$folder/serial.sock,server=on,wait=on" -qmp "unix:$folder/control.sock,server=on,wait=off" \
  -drive "if=mtd,format=raw,file=$folder/flash.img" > /dev/null 2>&1 < /dev/null &
qemu=$!
while [ ! -S "$folder/serial.sock" ]; do sleep 0.05; done
socat "PTY,link=$folder/port,rawer" "UNIX-CONNECT:$folder/serial.sock" > /dev/null 2>&1 < /dev/null &
echo "$qemu $!" > "$folder/pids"
while [ ! -e "$folder/port" ]; do sleep 0.05; done
