# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# apt with a state of its own, for packages of another Debian release that are unpacked and never
# installed: own lists, own cache, and an empty list of installed packages, so that every library is
# fetched too. The machine's packages and sources stay as they are. Sourced.
#
#   vm_apt_init DIR SUITE...    makes or reuses the state below DIR; returns 1 with the reason on stderr
#   vm_apt get|cache|... ARG... apt-get, apt-cache, ... with that state
#   vm_apt_again                new lists, whatever their age: a mirror drops files of yesterday's
#   vm_apt_unreachable LOG      whether apt could not fetch something
#   vm_apt_reason LOG           the line of apt's output that tells why

# The mirror is the one that the machine's own sources name for its release, or PGPU_DEBIAN_MIRROR.
vm_apt_mirror() {
    local codename

    if [ -n "${PGPU_DEBIAN_MIRROR:-}" ]; then
        printf '%s\n' "$PGPU_DEBIAN_MIRROR"
        return 0
    fi
    # shellcheck disable=SC1091
    codename=$(. /etc/os-release 2>/dev/null && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}")
    [ -n "$codename" ] || return 1
    # The sources may say "stable" instead of the name; what the mirror calls it is known when its
    # lists are there.
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)
$(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        sed -n "s/^$codename //p" | head -n 1 | grep .
}

vm_apt() {
    local tool=apt-$1

    shift
    "$tool" -o Dir::Etc="$VM_APT_DIR/etc" -o Dir::Etc::sourcelist="$VM_APT_DIR/sources.list" \
        -o Dir::Etc::sourceparts=/dev/null -o Dir::State::Lists="$VM_APT_DIR/lists" \
        -o Dir::State::status="$VM_APT_DIR/status" -o Dir::Cache="$VM_APT_DIR/cache" \
        -o Debug::NoLocking=true -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o Dpkg::Use-Pty=0 "$@"
}

vm_apt_init() {
    local dir=$1 mirror suite keyring=/usr/share/keyrings/debian-archive-keyring.gpg wanted

    shift
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        echo "no apt and dpkg here" >&2
        return 1
    fi
    if [ ! -r "$keyring" ]; then
        echo "Debian's archive keys are missing: apt-get install debian-archive-keyring" >&2
        return 1
    fi
    if ! mirror=$(vm_apt_mirror); then
        echo "this machine's apt sources name no Debian mirror (PGPU_DEBIAN_MIRROR can)" >&2
        return 1
    fi
    VM_APT_DIR=$dir VM_APT_SUITES=$*
    mkdir -p "$dir"/{etc/apt.conf.d,etc/preferences.d,lists/partial,cache/archives/partial}
    : >"$dir/status"
    wanted=$(for suite; do echo "deb [signed-by=$keyring] $mirror $suite main"; done)
    # Lists are good for a day.
    if [ "$wanted" = "$(cat "$dir/sources.list" 2>/dev/null)" ] &&
        [ -n "$(find "$dir/updated" -mmin -1440 2>/dev/null)" ]; then
        return 0
    fi
    rm -f "$dir/updated"
    printf '%s\n' "$wanted" >"$dir/sources.list"
    if ! vm_apt get update -qq --error-on=any >"$dir/update.log" 2>&1; then
        echo "apt-get update of $*: $(vm_apt_reason "$dir/update.log")" >&2
        return 1
    fi
    touch "$dir/updated"
}

vm_apt_again() {
    rm -f "$VM_APT_DIR/updated"
    # shellcheck disable=SC2086
    vm_apt_init "$VM_APT_DIR" $VM_APT_SUITES
}

vm_apt_unreachable() {
    grep -qE 'Failed to fetch|Could not (resolve|connect)|Temporary failure' "$1"
}

vm_apt_reason() {
    grep -m 1 'Failed to fetch' "$1" || grep -m 1 '^E:' "$1" || tail -n 1 "$1"
}
