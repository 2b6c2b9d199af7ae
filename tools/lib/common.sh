# What tools/run and tools/test share: finding cargo, installing Debian packages, building the plugin.
# Sourced; the caller sets $REPO, the repository's directory.
# shellcheck shell=bash

# The name that messages begin with.
NAME=${0##*/}

# Where cargo puts what it builds, for both commands and for the tests that start the programs.
TARGET=${CARGO_TARGET_DIR:-$REPO/target}
export EBPF_BIN_DIR=$TARGET/release

die() {
	echo "$NAME: $*" >&2
	exit 1
}

note() {
	echo "$NAME: $*" >&2
}

is_root() {
	[ "$(id -u)" = 0 ]
}

# Packages that `want` found missing, for `install_missing`.
MISSING=()

# Notes that Debian package $2 is needed unless program or file $1 exists.
# Programs of /usr/sbin are given as files: that directory is not in every user's PATH.
want() {
	if [[ $1 == /* ]]; then [ -e "$1" ] && return; else command -v "$1" >/dev/null && return; fi
	MISSING+=("$2")
}

# Installs what `want` noted, all at once and nothing else; starts none of it.
install_missing() {
	[ ${#MISSING[@]} -gt 0 ] || return 0
	if ! is_root || ! command -v apt-get >/dev/null; then
		die "missing; as root: apt-get install --no-install-recommends ${MISSING[*]}"
	fi
	note "installing ${MISSING[*]}"
	forbid_starts
	local log ok=''
	log=$(mktemp)
	# The lists of a fresh system are empty or old: a second try comes after an update.
	{ apt_install || { apt-get -qq update && apt_install; }; } >"$log" 2>&1 </dev/null && ok=1
	allow_starts
	[ -n "$ok" ] || { cat "$log" >&2 && rm "$log" && die "apt-get could not install ${MISSING[*]}"; }
	rm "$log"
	if [[ " ${MISSING[*]} " == *" netdata-core "* && -d /run/systemd/system ]]; then
		note "netdata.service is not started, but will be at the next boot; to prevent it: systemctl disable netdata"
	fi
	MISSING=()
}

apt_install() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${MISSING[@]}"
}

# A package must not start a service of its own: Debian's maintainer scripts ask this file, 101 is "no".
POLICY=/usr/sbin/policy-rc.d

forbid_starts() {
	# An interrupted run must not leave it behind: it would silence every later installation.
	trap 'allow_starts; exit 130' INT TERM HUP
	[ ! -e $POLICY ] || mv $POLICY $POLICY.before
	printf '#!/bin/sh\nexit 101\n' >$POLICY
	chmod 755 $POLICY
}

allow_starts() {
	rm -f $POLICY
	[ ! -e $POLICY.before ] || mv $POLICY.before $POLICY
	trap - INT TERM HUP
}

# Puts cargo into PATH and checks that it is new enough. Rust is what a user brings along: Debian 12's is too old.
find_rust() {
	local needed found home
	needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$REPO/Cargo.toml")
	if ! command -v cargo >/dev/null; then
		# sudo resets PATH and HOME; the toolchain is where the person has it.
		home=$(getent passwd "${SUDO_USER:-$(id -un)}" | cut -d: -f6)
		[ -x "$home/.cargo/bin/cargo" ] || die "no cargo; install Rust $needed or newer with rustup"
		export PATH=$home/.cargo/bin:$PATH
		export CARGO_HOME=${CARGO_HOME:-$home/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$home/.rustup}
	fi
	found=$(cd "$REPO" && rustc --version | awk '{ print $2 }') || die "rustc does not run; see above"
	# sort -V: the smaller of the two must be the one that is needed.
	[ "$(printf '%s\n' "$needed" "$found" | sort -V | head -n 1)" = "$needed" ] ||
		die "rustc is $found; install Rust $needed or newer with rustup"
}

# What `cargo build` needs beside Rust.
want_build_tools() {
	want cc gcc
	want /usr/include/stdio.h libc6-dev # with it come the start files that a linker needs
	want clang clang                    # compiles the eBPF objects
	want llvm-strip llvm                # drops their DWARF
	want /etc/ssl/certs ca-certificates # cargo downloads over TLS
}

# Builds the supervisor and its workers; all that cargo says goes to stderr, because stdout is the plugin's.
build_plugin() {
	(cd "$REPO" && cargo build --release --locked -p supervisor -p workers) >&2
}

# Makes a stock configuration directory out of this repository's ebpf.conf and the agent's apps_groups.conf,
# and prints its path. Links, so that an edit is seen at once.
stock_directory() {
	local stock=$TARGET/stock groups=/usr/lib/netdata/conf.d/apps_groups.conf
	mkdir -p "$stock"
	ln -sfn "$REPO/conf/ebpf.conf" "$stock/ebpf.conf"
	rm -f "$stock/apps_groups.conf"
	[ ! -e $groups ] || ln -s $groups "$stock/apps_groups.conf"
	echo "$stock"
}
