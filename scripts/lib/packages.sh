# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The packages that the project needs, in one place, and how they get installed. For bash; sourced
# by scripts/test and scripts/demo.
#
#   pgpu_ensure_packages "what for" PACKAGE...

# To build and to run (also the demo).
pgpu_packages_build() {
    echo gcc libc6-dev cmake ninja-build pkgconf \
        libgrpc-dev libprotobuf-c-dev protobuf-c-compiler libpci-dev libjson-c-dev libudev-dev \
        libsystemd-dev libyaml-dev libssl-dev zlib1g-dev libmicrohttpd-dev libfuse3-dev fuse3 pci.ids
}

# For the tests of every newcomer: the tiers unit and sim.
pgpu_packages_test() {
    echo libcmocka-dev python3 ccache
}

# For the other tiers: clang, its sanitizers and fuzzer, format and tidy, valgrind. clang-format is
# pinned to 14, because each version formats differently.
pgpu_packages_all() {
    local rt=libclang-rt-14-dev format=clang-format

    if [ "$(pgpu_os)" = ubuntu ]; then
        rt=libclang-rt-18-dev
        format=clang-format-14
    fi
    echo clang "$rt" "$format" clang-tidy valgrind git
}

# For the tier ops: what Debian's own packaging tools and an operator's are.
pgpu_packages_ops() {
    echo apparmor secilc libseccomp2 dpkg-dev lintian mmdebstrap debian-archive-keyring umoci skopeo zsh fish groff-base mandoc
}

# The tier vm fetches QEMU and a kernel itself, unpacks them and installs nothing. They are Debian's, on
# Ubuntu too: hence the keys.
pgpu_packages_vm() {
    echo debian-archive-keyring python3 xz-utils
}

# To build the kernel of the tier iommufd.
pgpu_packages_kernel() {
    echo make bc bison flex libelf-dev libssl-dev xz-utils kmod
}

pgpu_os() {
    (
        # shellcheck disable=SC1091
        . /etc/os-release 2>/dev/null
        echo "${ID:-unknown}"
    )
}

# Those of the arguments that are not installed, one a line.
pgpu_missing_packages() {
    local have

    have=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
        sed -n 's/ installed$//p') || true
    printf '%s\n' "$@" | grep -vxF -e "${have:-none}" || true
}

# Installs what is missing and says so. Returns 2 where it cannot, with the list of packages.
pgpu_ensure_packages() {
    local what=$1 missing as_root=()

    shift
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "No apt here: nothing is installed. For $what we need (Debian 12 names):" >&2
        echo "    $*" >&2
        return 0 # cmake says what is really missing
    fi
    missing=$(pgpu_missing_packages "$@" | tr '\n' ' ')
    missing=${missing% }
    [ -n "$missing" ] || return 0

    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
            as_root=(sudo)
        else
            echo "For $what these packages are missing, and without root or sudo we cannot" >&2
            echo "install them. As root:" >&2
            echo "    apt-get install $missing" >&2
            return 2
        fi
    fi
    echo "Installing for $what: $missing"
    # Lists first: on a fresh machine or image there are none, or old ones.
    if ! "${as_root[@]}" apt-get update -qq ||
        ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends -o Dpkg::Use-Pty=0 $missing </dev/null >/dev/null; then
        echo "apt-get failed; these packages are needed: $missing" >&2
        return 2
    fi
}
