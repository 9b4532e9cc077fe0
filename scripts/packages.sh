# Sourced by the scripts beside it: Debian packages that a step needs.

# need WHAT PACKAGE...: as root on a machine with apt-get, installs the packages and says so;
# elsewhere prints the one command that does, with $hint below it, and ends the script with 1.
need() {
    local what=$1
    shift
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "No $what was found. On Debian or Ubuntu this command installs one:" >&2
        echo "    sudo apt-get install -y --no-install-recommends $*" >&2
        [ -z "${hint:-}" ] || echo "$hint" >&2
        exit 1
    fi
    echo "No $what was found: installing $* with apt-get."
    local log
    log=$(mktemp)
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "apt-get could not install $*; what it said is above and in $log." >&2
        exit 1
    fi
    rm -f "$log"
    echo "Installed $*."
}
