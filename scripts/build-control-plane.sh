#!/usr/bin/env bash
# Builds etcd, the Kubernetes control plane, kube-proxy, kubectl and CoreDNS from Go modules, once.
set -euo pipefail
cd "$(dirname "$0")/.."
version=1.36.3
coredns=v1.13.1
out="${FERRISWHEEL_CACHE:-$HOME/.cache/ferriswheel}/bin/$version"
names=(etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubectl coredns)

complete() { for name in "${names[@]}"; do [ -x "$out/$name" ] || return 1; done; }
if complete; then exit 0; fi

mkdir -p "$out"
# Two runs side by side: one builds, the other waits.
exec 9>"$out/.lock"
flock 9
if complete; then exit 0; fi

printf 'build-control-plane: building Kubernetes %s and CoreDNS %s into %s (about 8 minutes, once)\n' \
  "$version" "$coredns" "$out" >&2
work=$(mktemp -d "$out/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags+=" -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=36"
  flags+=" -X $package.gitTreeState=clean"
done
export CGO_ENABLED=0
(
  cd crates/sandbox/control-plane
  go build -mod=mod -trimpath -ldflags "$flags" -o "$work/" \
    k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager \
    k8s.io/kubernetes/cmd/kube-scheduler k8s.io/kubernetes/cmd/kube-proxy \
    k8s.io/kubernetes/cmd/kubectl go.etcd.io/etcd/server/v3
)
mv "$work/server" "$work/etcd"
(cd "$work" && GOBIN="$work" go install -trimpath -ldflags "-s -w" "github.com/coredns/coredns@$coredns")
mv "$work"/* "$out/"
