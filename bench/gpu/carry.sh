#!/bin/bash
# Packs into .gpu-carry/ what bench/gpu.sh needs on a CUDA machine that has neither Node nor oneDNN nor a network: run it
# where both are, after `npm ci` and `npm run build`. The folder travels with the working tree (a lent machine takes
# 64 MiB in all) and is not in git.
#
#   bench/gpu/carry.sh           everything
#   bench/gpu/carry.sh nonode    without the Node binary and what only it needs
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
out=$root/.gpu-carry
for need in node git xz strip; do
  command -v "$need" >/dev/null || { echo "carry.sh needs $need" >&2; exit 1; }
done
[ -f dist/index.js ] || { echo "carry.sh: there is no dist/: npm run build:ts" >&2; exit 1; }
mkdir -p "$out"

echo "carry: photographs, frame, regions, model"
rm -rf "$out/photographs"
node bench/gpu/regions.mjs "$out"
git rev-parse HEAD > "$out/commit.txt"
if [ -n "$(git status --porcelain --untracked-files=no)" ]; then echo "with changes" >> "$out/commit.txt"; fi

# oneDNN for the CPU reference, with what it loads; libgomp apart, used only where there is none.
echo "carry: oneDNN"
rm -rf "$out/lib" "$out/lib-gomp" "$out/include"
mkdir -p "$out/lib" "$out/lib-gomp" "$out/include"
library() { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; }
place() { library | awk -v name="$1" '$1 == name && /x86-64/ { print $NF; exit }'; }
for name in libdnnl.so.2 libOpenCL.so.1; do
  from=$(place "$name")
  [ -n "$from" ] || { echo "carry.sh: there is no $name" >&2; exit 1; }
  cp -L "$from" "$out/lib/$name"
  strip --strip-unneeded "$out/lib/$name"
done
cp -L "$(place libgomp.so.1)" "$out/lib-gomp/libgomp.so.1"
cp -L /usr/include/dnnl*.h /usr/include/dnnl*.hpp "$out/include/"
if [ -d /usr/include/oneapi ]; then cp -rL /usr/include/oneapi "$out/include/"; fi

rm -rf "$out/dist" "$out/node_modules"
if [ "${1:-}" = nonode ]; then
  rm -f "$out/node.xz" "$out/node.version"
else
  echo "carry: Node, dist and the packages that lib needs at run time"
  cp -r dist "$out/dist"
  mkdir -p "$out/node_modules/@img"
  for name in sharp node-gyp-build detect-libc semver @img/colour @img/sharp-linux-x64 @img/sharp-libvips-linux-x64 node-addon-api node-api-headers; do
    if [ -d "node_modules/$name" ]; then cp -rL "node_modules/$name" "$out/node_modules/$name"; fi
  done
  find "$out/node_modules" "$out/dist" \( -name '*.md' -o -name '*.map' -o -name '*.d.ts' \) -delete
  # Two minutes of xz: only when Node changed.
  if [ ! -f "$out/node.xz" ] || [ "$(cat "$out/node.version" 2>/dev/null)" != "$(node --version)" ]; then
    echo "carry: compressing the Node binary"
    cp -L "$(node -p process.execPath)" "$out/node.tmp"
    strip "$out/node.tmp"
    xz -9 -c "$out/node.tmp" > "$out/node.xz"
    rm -f "$out/node.tmp"
    node --version > "$out/node.version"
  fi
fi

# Executables for an H200, so that the machine's minutes do not go into compiling; it compiles where they do not fit.
rm -f "$out"/binaries-*.tar.xz
if command -v nvcc >/dev/null && command -v python3 >/dev/null; then
  echo "carry: executables for sm_90"
  results=$(mktemp -d) binaries=$(mktemp -d)
  if OUT=$results WBSR_NO_TORCH=1 WBSR_GPU_BUILD=$root/build-gpu bench/gpu.sh --seconds 3600 build; then
    sources=sources-$(cd bench/gpu && python3 -B -c 'import machine; print(machine.sources())')
    for name in Release bench-gpu checks-gpu; do cp -rL "build-gpu/$name" "$binaries/$name"; done
    touch "$binaries/$sources"
    find "$binaries" -type f ! -name 'sources-*' -exec strip --strip-unneeded {} +
    # The kernels are in every check: a window of 64 MiB finds them again.
    tar -C "$binaries" --sort=name -cf - Release bench-gpu checks-gpu "$sources" |
      xz --lzma2=preset=6,dict=64MiB > "$out/binaries.tmp"
    mv "$out/binaries.tmp" "$out/binaries-90.tar.xz"
  else
    echo "carry: they do not build here; the machine has to compile" >&2
  fi
  rm -rf "$results" "$binaries"
fi

# What is large and compresses well travels packed; gpu.sh unpacks it.
echo "carry: packing"
rm -f "$out/packed.tar.xz"
packed=(lib include frame.rgb photographs regions.txt model.safetensors)
for name in dist node_modules; do if [ -d "$out/$name" ]; then packed+=("$name"); fi; done
tar -C "$out" -cf - "${packed[@]}" | xz -6 -T2 > "$out/packed.tmp"
mv "$out/packed.tmp" "$out/packed.tar.xz"
for name in "${packed[@]}"; do rm -rf "${out:?}/$name"; done

size=$(du -sb "$out" | cut -f1)
tracked=$(git ls-files -z | du -cb --files0-from=- | tail -n 1 | cut -f1)
echo "carry: $((size >> 20)) MiB in .gpu-carry, $((tracked >> 20)) MiB tracked"
if [ $((size + tracked)) -gt $((64 << 20)) ]; then
  echo "carry.sh: more than 64 MiB together; bench/gpu/carry.sh nonode leaves Node out" >&2
  exit 1
fi
