# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Shared by the scripts: colours, building a preset. For bash; expects to be sourced with the
# project's folder as the working directory.

# Colours on a terminal only, and not where NO_COLOR asks for none (no-color.org).
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    C_RED=$'\e[31m' C_GREEN=$'\e[32m' C_YELLOW=$'\e[33m' C_BOLD=$'\e[1m' C_OFF=$'\e[0m'
else
    C_RED='' C_GREEN='' C_YELLOW='' C_BOLD='' C_OFF=''
fi

say() {
    printf '%s%s%s\n' "$C_BOLD" "$*" "$C_OFF"
}

# Configures and builds a preset; quiet unless it fails. Uses ccache where there is one.
pgpu_build() {
    local preset=$1 log
    shift

    local launcher=()
    command -v ccache >/dev/null && launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
    mkdir -p build
    log=build/$preset.log
    if cmake --preset "$preset" "${launcher[@]}" >"$log" 2>&1 &&
        cmake --build --preset "$preset" "$@" >>"$log" 2>&1; then
        return 0
    fi
    # The compiler's own words, not the 200 lines of progress before them.
    grep -nE 'error|Error|FAILED|warning:' "$log" | head -40
    echo "The build of preset $preset failed; the whole log is in $log."
    return 1
}
