#!/usr/bin/env bash
# Builds the firmware: targets/firmware/build.sh BUNDLE.js OUT.elf [RAM_BYTES [STACK_BYTES]]. BOARD names a file in boards/.
# RAM_BYTES is the linker's limit for everything: data, heap, stack. OUT.map beside OUT.elf is the linker's map.
set -euo pipefail
bundle="$(realpath "$1")"
elf="$(realpath -m "$2")"
ram="${3:-131072}"
stack="${4:-10240}"
board="${BOARD:-ast1030-evb}"
cd "$(dirname "$0")"
cache="${MALLORN_HIL_CACHE:-$(realpath ../..)/.cache/hil}"
quickjs="${QUICKJS_DIR:-$cache/quickjs}"
objects="$cache/firmware/$board"
mkdir -p "$objects" "$(dirname "$elf")"

flags=(--specs=picolibc.specs -mcpu=cortex-m4 -mthumb -mfloat-abi=softfp -mfpu=fpv4-sp-d16 -Os -std=gnu2x -ffunction-sections
  -fdata-sections -fno-exceptions -I. "-I$objects")
own=(-Wall -Wextra -Wno-unused-parameter)
# The engine is written for signed overflow that wraps, and reads uint32_t through int pointers: uint32_t is a long here, so that strict
# aliasing drops such writes (String iterators never end). It takes its version and the C library's names for time zones from outside.
engine=(-fwrapv -fno-strict-aliasing -w -D_GNU_SOURCE -DNDEBUG '-DCONFIG_VERSION="2025-04-26"' -D__TM_GMTOFF=tm_gmtoff -D__TM_ZONE=tm_zone)

# Compiles when the object is older than its source or any header.
compile() {
  local source="$1" object="$2"
  shift 2
  if [ ! -e "$object" ] || [ -n "$(find "$source" ./*.h "${BASH_SOURCE[0]##*/}" -newer "$object" -print -quit)" ]; then
    arm-none-eabi-gcc "${flags[@]}" "$@" -c "$source" -o "$object"
  fi
}

# Atomics need threads, which there are none of.
if [ ! -e "$objects/quickjs.c" ] || [ "$quickjs/quickjs.c" -nt "$objects/quickjs.c" ]; then
  sed 's/^#define CONFIG_ATOMICS$//' "$quickjs/quickjs.c" > "$objects/quickjs.c"
fi
compile engine.c "$objects/engine.o" "${engine[@]}" "-I$quickjs"
for part in cutils dtoa libregexp libunicode; do compile "$quickjs/$part.c" "$objects/$part.o" "${engine[@]}" "-I$quickjs"; done
compile "boards/$board.c" "$objects/board.o" "${own[@]}"
for part in bindings flash heap main serial sha256; do compile "$part.c" "$objects/$part.o" "${own[@]}" "-isystem$quickjs"; done

# -s: no names of variables, no line numbers, no source.
"$cache/host/qjsc" -s -c -N bundle -o "$objects/bundle.c" "$bundle"
arm-none-eabi-gcc "${flags[@]}" -c "$objects/bundle.c" -o "$objects/bundle.o"

arm-none-eabi-gcc "${flags[@]}" -DPICOLIBC_INTEGER_PRINTF_SCANF "$objects"/*.o -o "$elf" -T picolibc.ld -Wl,--gc-sections \
  "-Wl,-Map,${elf%.elf}.map" -Wl,--defsym=__flash=0 -Wl,--defsym=__flash_size=0x80000 -Wl,--defsym=__ram=0x80000 \
  "-Wl,--defsym=__ram_size=$ram" "-Wl,--defsym=__stack_size=$stack" -lm
arm-none-eabi-size "$elf" | tail -1
