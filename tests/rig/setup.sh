#!/usr/bin/env bash
# Installs the servers and clients of the live tests into target/rig. Outside of it, only the caches of npm, pip and go are
# written. Each part has a stamp with the digest of its inputs; a part whose stamp matches is not installed again.
#
# A part that cannot be installed is reported, and the tests that need it are skipped. With STRICT=1 it is an error.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=tests/rig
live_go=tests/live/go
rig=target/rig
mkdir -p "$rig"
failed=()

digest() { cat "$@" | sha256sum | cut -d' ' -f1; }
fresh() { [ "$(cat "$rig/$1.stamp" 2>/dev/null)" = "$2" ]; }

oidc_provider() {
  local to="$rig/oidc-provider"
  rm -rf "$to"
  mkdir -p "$to"
  cp "$here"/oidc-provider/{as.mjs,mkcerts.sh,package.json,package-lock.json} "$to/"
  (cd "$to" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  node --check "$to/as.mjs"
}

python() {
  rm -rf "$rig/venv" "$rig/py"
  python3 -m venv "$rig/venv"
  "$rig/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$here/requirements.txt"
  mkdir -p "$rig/py"
  "$rig/venv/bin/python" -m grpc_tools.protoc -I proto --python_out="$rig/py" --grpc_python_out="$rig/py" \
    proto/claviger/v1/*.proto
  "$rig/venv/bin/python" -c 'import sys; sys.path.insert(0, sys.argv[1]); import claviger.v1.tokens_pb2_grpc' "$rig/py"
}

# Runs the go command in a copy of the module tests/live/go, whose go.mod and go.sum pin the tools and their dependencies.
in_go() {
  local root="$PWD"
  mkdir -p "$rig/go" "$rig/bin"
  cp "$live_go"/{go.mod,go.sum,main.go} "$rig/go/"
  (
    cd "$rig/go"
    export GOBIN="$root/$rig/bin" GOFLAGS="-modcacherw -buildvcs=false -mod=readonly"
    export GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0
    go "$@"
  )
}

grpcurl() {
  in_go install -ldflags="-s -w" github.com/fullstorydev/grpcurl/cmd/grpcurl
  "$rig/bin/grpcurl" -version
}

h2spec() {
  in_go install -ldflags="-s -w" github.com/summerwind/h2spec/cmd/h2spec
  "$rig/bin/h2spec" --version
}

go_client() {
  local stubs=claviger.test/live/clavigerv1 options=() file
  in_go install google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
  # The .proto files have no go_package option, so the packages are given here.
  for file in proto/claviger/v1/*.proto; do
    options+=("--go_opt=M${file#proto/}=$stubs" "--go-grpc_opt=M${file#proto/}=$stubs")
  done
  rm -rf "$rig/go/clavigerv1"
  PATH="$rig/bin:$PATH" "$rig/venv/bin/python" -m grpc_tools.protoc -I proto "${options[@]}" \
    --go_out="$rig/go" --go_opt=module="${stubs%/*}" --go-grpc_out="$rig/go" --go-grpc_opt=module="${stubs%/*}" \
    proto/claviger/v1/*.proto
  in_go build -ldflags="-s -w" -o "../bin/go-client" .
}

part() { # name, tools, function, inputs...
  local name="$1" tools="$2" install="$3" want tool
  shift 3
  want=$(digest "$@" "$here/setup.sh")
  if fresh "$name" "$want"; then
    echo "rig: $name is ready"
    return
  fi
  for tool in $tools; do
    if ! command -v "$tool" >/dev/null; then
      echo "rig: $name is missing: there is no $tool" >&2
      failed+=("$name")
      return
    fi
  done
  echo "rig: installing $name"
  rm -f "$rig/$name.stamp"
  # In a subprocess, because bash disables errexit inside a condition.
  if "$here/setup.sh" --install "$install"; then
    echo "$want" >"$rig/$name.stamp"
  else
    echo "rig: $name could not be installed" >&2
    failed+=("$name")
  fi
}

if [ "${1:-}" = --install ]; then
  "$2"
  exit
fi

part oidc-provider "node npm openssl" oidc_provider "$here"/oidc-provider/*
part python "python3" python "$here/requirements.txt" proto/claviger/v1/*.proto
part grpcurl "go" grpcurl "$live_go"/go.{mod,sum}
part h2spec "go" h2spec "$live_go"/go.{mod,sum}
# After the Python client, because it uses its protoc.
part go-client "go python3" go_client "$live_go"/* "$here/requirements.txt" proto/claviger/v1/*.proto

if [ "${#failed[@]}" -gt 0 ] && [ "${STRICT:-}" = 1 ]; then
  exit 1
fi
