#!/bin/sh
# A real sampler to test against: llama.cpp's server, built once (5 to 15 minutes on two cores) into .run/peers, which git
# ignores, and a tiny model for it. The source travels in the sdist of llama-cpp-python. Run again it does nothing.
set -eu

version=0.3.36
gguf=0.19.0
python=${PYTHON:-.venv/bin/python}
folder=.run/peers
server=$folder/llama-server.$version
model=$folder/tiny.gguf
here=$(dirname "$0")

build_server() {
  for tool in cmake gcc g++; do
    command -v "$tool" >/dev/null || { echo "make test-peers compiles llama.cpp: install cmake, gcc and g++."; exit 1; }
  done
  echo "Building llama.cpp's server in $folder: 5 to 15 minutes, once. Its log is $folder/build.log."
  rm -rf "$folder/source"
  mkdir -p "$folder/source"
  "$python" -m pip download -q --no-deps --no-binary :all: -d "$folder/source" "llama-cpp-python==$version"
  tar -xzf "$folder/source/llama_cpp_python-$version.tar.gz" -C "$folder/source"
  code=$folder/source/llama_cpp_python-$version/vendor/llama.cpp
  # As portable as can be, and nothing that downloads: no page for browsers, no curl, no TLS.
  { cmake -S "$code" -B "$code/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DBUILD_SHARED_LIBS=OFF \
      -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF &&
    cmake --build "$code/build" --target llama-server -j2; } >"$folder/build.log" 2>&1 ||
    { tail -n 20 "$folder/build.log"; exit 1; }
  cp "$code/build/bin/llama-server" "$server.part"
  mv "$server.part" "$server"
  rm -rf "$folder/source"
}

write_model() {
  rm -rf "$folder/python"
  "$python" -m pip install -q --no-deps --target "$folder/python" "gguf==$gguf"
  PYTHONPATH="$folder/python" "$python" "$here/tiny_model.py" "$model.part"
  mv "$model.part" "$model"
}

mkdir -p "$folder"
test -x "$server" || build_server
# Newer than what wrote it, or it is another model.
test "$model" -nt "$here/tiny_model.py" || write_model
