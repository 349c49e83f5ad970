#!/usr/bin/env bash
# Builds the firmware, in two steps that scripts/build-firmware.ts calls:
#   build.sh freeze BUNDLE.js OUT                            OUT-a.elf, OUT-b.elf: what evaluates the bundle (freeze/), laid out in two ways
#   build.sh link FROZEN.S OUT.elf RAM_BYTES STACK_BYTES     the firmware over what that left behind; OUT.map is the linker's map
# BOARD names a file in boards/. RAM_BYTES is the linker's limit for everything: data, heap, stack.
set -euo pipefail
mode="$1"
input="$(realpath "$2")"
output="$(realpath -m "$3")"
board="${BOARD:-ast1030-evb}"
ram_base=0x60000
cd "$(dirname "$0")"
cache="${MALLORN_HIL_CACHE:-$(realpath ../..)/.cache/hil}"
quickjs="${QUICKJS_DIR:-$cache/quickjs}"
objects="$cache/firmware/$board"
mkdir -p "$objects/frozen" "$(dirname "$output")"

flags=(--specs=picolibc.specs -mcpu=cortex-m4 -mthumb -mfloat-abi=softfp -mfpu=fpv4-sp-d16 -Os -std=gnu2x -ffunction-sections
  -fdata-sections -fno-exceptions -I. "-I$objects" -DRAM_BASE=$ram_base)
own=(-Wall -Wextra -Wno-unused-parameter)
# The engine is written for signed overflow that wraps, and reads uint32_t through int pointers: uint32_t is a long here, so that strict
# aliasing drops such writes (String iterators never end). It takes its version and the C library's names for time zones from outside.
engine=(-fwrapv -fno-strict-aliasing -w -D_GNU_SOURCE -DNDEBUG '-DCONFIG_VERSION="2025-04-26"' -D__TM_GMTOFF=tm_gmtoff -D__TM_ZONE=tm_zone)

# Compiles when the object is older than its source or any header.
compile() {
  local source="$1" object="$2"
  shift 2
  if [ ! -e "$object" ] || [ -n "$(find "$source" ./*.h freeze "${BASH_SOURCE[0]##*/}" -newer "$object" -print -quit)" ]; then
    arm-none-eabi-gcc "${flags[@]}" "$@" -c "$source" -o "$object"
  fi
}

# link OUT.elf RAM_AT RAM_BYTES STACK_BYTES OBJECT...
link() {
  local elf="$1" at="$2" ram="$3" stack="$4"
  shift 4
  arm-none-eabi-gcc "${flags[@]}" -DPICOLIBC_INTEGER_PRINTF_SCANF "$@" -o "$elf" -T picolibc.ld -Wl,--gc-sections \
    "-Wl,-Map,${elf%.elf}.map" -Wl,--defsym=__flash=0 -Wl,--defsym=__flash_size=$ram_base "-Wl,--defsym=__ram=$at" \
    "-Wl,--defsym=__ram_size=$ram" "-Wl,--defsym=__stack_size=$stack" -lm
}

for part in quickjs.c quickjs.h; do
  if [ ! -e "$objects/$part" ] || [ "$quickjs/$part" -nt "$objects/$part" ] || [ engine.sed -nt "$objects/$part" ]; then
    sed -E -f engine.sed "$quickjs/$part" > "$objects/$part"
    rm -f "$objects/engine.o"
  fi
done
compile engine.c "$objects/engine.o" "${engine[@]}" "-I$quickjs"
for part in cutils dtoa libregexp libunicode; do compile "$quickjs/$part.c" "$objects/$part.o" "${engine[@]}" "-I$quickjs"; done
compile "boards/$board.c" "$objects/board.o" "${own[@]}"
for part in bindings flash freeze/main heap main serial sha256 stack; do
  compile "$part.c" "$objects/${part/\//-}.o" "${own[@]}" "-isystem$objects" "-isystem$quickjs"
done
common=("$objects"/{engine,cutils,dtoa,libregexp,libunicode,board,bindings,flash,heap,serial,sha256,stack}.o)

if [ "$mode" = freeze ]; then
  # -s: no names of variables, no line numbers, no source.
  "$cache/host/qjsc" -s -c -N bundle -o "$objects/bundle.c" "$input"
  arm-none-eabi-gcc "${flags[@]}" -c "$objects/bundle.c" -o "$objects/bundle.o"
  echo '.section .text.padding, "ax"; .global padding; padding: .space 4096' | arm-none-eabi-gcc -mcpu=cortex-m4 -x assembler -c - -o "$objects/padding.o"
  evaluating=("$objects/freeze-main.o" "$objects/bundle.o" "${common[@]}")
  link "$output-a.elf" $ram_base 0x60000 0x4000 "${evaluating[@]}"
  # The code one page further, the heap by another distance: what differs afterwards is an address.
  link "$output-b.elf" $((ram_base + 0x1800)) 0x5e800 0x4000 "$objects/padding.o" -Wl,--undefined=padding "${evaluating[@]}"
else
  # The engine's own functions are called by name from what was frozen.
  globals="${input%.S}.globals"
  linked=()
  for object in "${common[@]}"; do
    arm-none-eabi-objcopy "--globalize-symbols=$globals" "$object" "$objects/frozen/${object##*/}"
    linked+=("$objects/frozen/${object##*/}")
  done
  arm-none-eabi-gcc "${flags[@]}" -c "$input" -o "$objects/frozen.o"
  link "$output" $ram_base "$4" "$5" "$objects/main.o" "$objects/frozen.o" "${linked[@]}"
  arm-none-eabi-size "$output" | tail -1
fi
