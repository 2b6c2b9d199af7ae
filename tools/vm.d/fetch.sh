# Kernel packages: from the machine's own Debian mirrors into $CACHE/kernels/NAME/{vmlinuz,config,release}.
# Sourced by tools/vm, which sets $HERE, $CACHE and defines `die` and `need`.
# Leaves the system's apt state alone.
# shellcheck shell=bash

WORK_DIRS=() # unfinished downloads, for the exit trap

# Prints every name of kernels.txt, one a line.
kernel_names() {
	awk '!/^#/ && NF { print $1 }' "$HERE/kernels.txt"
}

# Prints "SUITE WHERE PATTERN..." of kernel $1, nothing if the name is unknown.
kernel_line() {
	awk -v name="$1" '!/^#/ && $1 == name { $1 = $2 = ""; sub(/^ +/, ""); print }' "$HERE/kernels.txt"
}

# Prints the system's apt sources as "URI|SUITES|COMPONENTS", from both formats that apt knows.
apt_sources() {
	local files=()
	shopt -s nullglob
	files=(/etc/apt/sources.list.d/*.sources)
	[ ${#files[@]} -eq 0 ] || awk '
		function flush() {
			if (types ~ /(^| )deb( |$)/ && tolower(enabled) != "no")
				print uris "|" suites "|" components
			types = uris = suites = components = enabled = ""
		}
		FNR == 1 || /^[ \t]*$/ { flush() }
		/^#/ { next }
		{ key = tolower($1); $1 = ""; sub(/^ /, "") }
		key == "types:" { types = $0 }
		key == "uris:" { uris = $1 }
		key == "suites:" { suites = $0 }
		key == "components:" { components = $0 }
		key == "enabled:" { enabled = $0 }
		END { flush() }' "${files[@]}"
	files=(/etc/apt/sources.list /etc/apt/sources.list.d/*.list)
	sed -n 's/^[[:space:]]*deb[[:space:]]\+\(\[[^]]*\][[:space:]]*\)\?//p' "${files[@]}" 2>/dev/null |
		awk '{ line = $1 "|" $2 "|"; for (i = 3; i <= NF; i++) line = line " " $i; print line }'
	shopt -u nullglob
}

# Prints the URI of the machine's Debian archive of kind $1 (main or security).
# A third-party archive is told apart by its suite: only Debian's own are named after this system's release.
mirror() {
	local kind=$1 codename uri
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
	uri=$(apt_sources | awk -F'|' -v kind="$kind" -v codename="$codename" '
		$3 !~ /(^| )main( |$)/ { next }
		{
			count = split($2, suites, " ")
			for (i = 1; i <= count; i++) {
				security = suites[i] ~ /(-security|\/updates)$/
				ours = suites[i] ~ ("^(" codename "|stable|testing|unstable|sid)([-/]|$)")
				if (ours && security == (kind == "security")) { print $1; exit }
			}
		}')
	[ -n "$uri" ] ||
		die "no Debian $kind archive among this machine's apt sources; give a kernel as --kernel PATH"
	echo "$uri"
}

# Prints the path of an apt configuration for suite $1 of archive kind $2: one directory per suite, so that a
# package name means one thing in it. Acquire settings (proxies) are the system's; its hooks are left out.
apt_config() {
	local suite=$1 uri dir=$CACHE/apt/$1
	uri=$(mirror "$2") || exit
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/empty"
	echo "deb [arch=amd64 signed-by=$(keyring)] $uri $suite main" >"$dir/sources.list"
	apt-config dump Acquire | grep -v '^Acquire::IndexTargets' >"$dir/apt.conf"
	cat >>"$dir/apt.conf" <<-END
		Dir::Etc::main "/dev/null";
		Dir::Etc::parts "$dir/empty";
		Dir::Etc::sourcelist "$dir/sources.list";
		Dir::Etc::sourceparts "$dir/empty";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "$dir/empty";
		Dir::State "$dir";
		Dir::State::status "/dev/null";
		Dir::Cache "$dir/cache";
		APT::Architecture "amd64";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
	END
	echo "$dir/apt.conf"
}

# Prints the keyring that holds the keys of all suites, the expired releases' included.
keyring() {
	local file=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -e "$file" ] || need "$file" debian-archive-keyring
	echo "$file"
}

# Prints the newest package that matches glob $1, with the apt of $APT_CONFIG.
# The regular expression drops -unsigned and -dbg twins: the glob's end is the name's end.
newest_package() {
	apt-cache pkgnames "${1%%\**}" | while read -r package; do
		# shellcheck disable=SC2053  # the right side is a glob on purpose
		[[ $package == $1 && $package != *unsigned* ]] && echo "$package"
	done | sort -V | tail -n 1
}

# Downloads kernel $1 unless it is there. A finished directory appears by rename, so it is whole or absent.
fetch_kernel() {
	local name=$1 suite where patterns pattern package work dir=$CACHE/kernels/$1
	[ -e "$dir/vmlinuz" ] && return
	read -r suite where patterns < <(kernel_line "$name") ||
		die "unknown kernel '$name'; known: $(kernel_names | xargs)"
	need apt-get apt
	need dpkg-deb dpkg
	mkdir -p "$CACHE/kernels"
	exec 9>"$CACHE/lock"
	flock 9 # two runs at once: the second finds the first one's result
	[ -e "$dir/vmlinuz" ] && { exec 9>&-; return; }
	echo "vm: fetching kernel $name ($suite)" >&2
	APT_CONFIG=$(apt_config "$suite" "$where") || exit
	export APT_CONFIG
	apt-get -qq update >&2 ||
		die "apt-get update for $suite failed; is the mirror reachable and does it carry this suite?"
	work=$(mktemp -d "$CACHE/kernels/.$name.XXXXXX")
	WORK_DIRS+=("$work")
	read -ra patterns <<<"$patterns"
	for pattern in "${patterns[@]}"; do
		package=$(newest_package "$pattern")
		[ -n "$package" ] || die "no package matches '$pattern' in $suite; correct tools/kernels.txt"
		unpack_package "$package" "$work"
	done
	finish_kernel "$work" "$dir"
	unset APT_CONFIG
	exec 9>&-
}

# Downloads package $1 with the apt of $APT_CONFIG and leaves its kernel and configuration in directory $2.
unpack_package() {
	local package=$1 work=$2
	(cd "$work" && apt-get -qq download "$package" >&2) || die "cannot download $package"
	# tar complains about the patterns that this package has nothing for; finish_kernel checks what is needed.
	dpkg-deb --fsys-tarfile "$work/$package"_*.deb | tar -x -C "$work" --wildcards \
		'./boot/vmlinuz-*' './boot/config-*' './usr/lib/modules/*/vmlinuz' \
		'./usr/lib/modules/*/config' 2>/dev/null
	rm -f "$work"/*.deb
}

# Gives what was unpacked below directory $1 its fixed names and makes it directory $2.
finish_kernel() {
	local work=$1 dir=$2 vmlinuz release
	vmlinuz=$(find "$work" -name 'vmlinuz*' -type f)
	[ -e "$vmlinuz" ] ||
		die "the packages of ${dir##*/} hold no vmlinuz, or several; correct tools/kernels.txt"
	case $vmlinuz in
	*/boot/vmlinuz-*) release=${vmlinuz##*/vmlinuz-} ;;
	*) release=$(basename "$(dirname "$vmlinuz")") ;; # newer packages: usr/lib/modules/RELEASE/vmlinuz
	esac
	echo "$release" >"$work/release"
	find "$work" \( -name 'config-*' -o -name config \) -type f -exec mv {} "$work/config" \;
	mv "$vmlinuz" "$work/vmlinuz"
	rm -rf "${work:?}/boot" "${work:?}/usr"
	chmod 755 "$work"
	rm -rf "$dir"
	mv "$work" "$dir"
}

# Prints each kernel's name and exact release, "-" where it has not been fetched.
list_kernels() {
	local name
	for name in $(kernel_names); do
		printf '%-7s %s\n' "$name" "$(cat "$CACHE/kernels/$name/release" 2>/dev/null || echo -)"
	done
}
