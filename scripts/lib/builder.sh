# shellcheck shell=bash
# The image in whose pods the tests build images: the distribution's buildah, what it is linked with, and a shell. Needs common.sh
# and packages.sh.

# What the tests, and whoever tries pipelines on one machine, name it by.
BUILDER_IMAGE=localhost/longshore-builder:1

need_builder() {
  need_command buildah buildah "builds images in pods"
  need_command newuidmap uidmap "builds images in pods as an ordinary user"
  need_command setcap libcap2-bin "builds images in pods as an ordinary user"
  [ -x /bin/busybox ] || install_packages "a shell in the pods that build images" busybox-static
  local file
  file=$(builder_file)
  [ -s "$file" ] && return 0
  mkdir -p "${file%/*}"
  or_die "the image that builds images could not be made" builder_make "$file"
}

# The image as `docker save` writes it, kept under a hash of what it is made of.
builder_file() {
  local key
  key=$(sha256sum "$(command -v buildah)" "$(command -v newuidmap)" /bin/busybox "${BASH_SOURCE[0]}" | sha256sum | cut -c 1-16)
  printf '%s/builder/%s.tar\n' "$LONGSHORE_CACHE" "$key"
}

builder_make() (
  local file=$1 folder root layer program library applet
  folder=$(mktemp -d)
  trap 'as_root rm -rf "$folder"' EXIT
  root=$folder/root
  mkdir -p "$root"/{bin,dev,proc,run,sys,tmp,usr/bin,var/tmp,home/build,etc/containers,etc/ssl/certs}
  cp /bin/busybox "$root/bin/"
  for applet in cat chmod df du grep head id ls mkdir mktemp mv rm sh sleep tar touch; do ln -s busybox "$root/bin/$applet"; done
  for program in buildah newuidmap newgidmap; do
    cp "$(command -v "$program")" "$root/usr/bin/$program"
    ldd "$root/usr/bin/$program" | grep -o '/[^ ]*' | while read -r library; do
      mkdir -p "$root${library%/*}"
      cp -L "$library" "$root$library"
    done
  done
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  printf 'root:x:0:0::/root:/bin/sh\nbuild:x:1000:1000::/home/build:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\nbuild:x:1000:\n' >"$root/etc/group"
  printf 'build:1001:64535\n' | tee "$root/etc/subuid" >"$root/etc/subgid"
  printf '{"default": [{"type": "insecureAcceptAnything"}]}\n' >"$root/etc/containers/policy.json"
  as_root chown -R 0:0 "$root"
  as_root chown 1000:1000 "$root/home/build"
  as_root chmod 1777 "$root/tmp" "$root/var/tmp"
  # With these alone, and not as root, they write the map of a user namespace.
  as_root chmod 755 "$root/usr/bin/newuidmap" "$root/usr/bin/newgidmap"
  as_root setcap cap_setuid+ep "$root/usr/bin/newuidmap"
  as_root setcap cap_setgid+ep "$root/usr/bin/newgidmap"
  as_root tar --xattrs --xattrs-include=security.capability -C "$root" -cf "$folder/layer.tar" .
  layer=$(sha256sum "$folder/layer.tar" | cut -d ' ' -f 1)
  printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/usr/bin:/bin"],"User":"1000"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(dpkg --print-architecture)" "$layer" >"$folder/config.json"
  printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$BUILDER_IMAGE" >"$folder/manifest.json"
  tar -C "$folder" -cf "$file.new" manifest.json config.json layer.tar
  mv "$file.new" "$file"
)

# builder_import SOCKET: gives the image to a node's runtime.
builder_import() { as_root ctr -a "$1" -n k8s.io images import "$(builder_file)" >/dev/null; }
