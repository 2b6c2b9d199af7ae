# The guest's file system: a cached base archive (busybox, init, a few /etc files) and one archive per run.
# The kernel unpacks concatenated cpio archives one after the other, so the base is never copied file by file.
# Sourced by tools/vm, which sets $HERE, $CACHE, $TMP and defines `die` and `need`.
# shellcheck shell=bash

# Packs directory $1 into cpio file $2. With --dereference as $3 links become the files they point to:
# the staging directory holds links to the caller's files instead of copies.
pack() {
	(cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
		cpio --quiet --null --create --format=newc --owner=0:0 ${3:+"$3"}) >"$2" ||
		die "cannot pack the guest's files with cpio"
}

# Builds $CACHE/base.cpio unless it is newer than all that it is made of.
build_base() {
	local busybox base=$CACHE/base.cpio root=$TMP/base applet
	busybox=$(command -v busybox)
	[ "$base" -nt "$HERE/vm.d/init" ] && [ "$base" -nt "$HERE/vm.d/initramfs.sh" ] &&
		[ "$base" -nt "$busybox" ] && return
	mkdir -p "$root"/{bin,sbin,etc,proc,sys,dev,tmp,out,vm,root,run,usr/bin,usr/sbin,var/tmp}
	cp "$busybox" "$root/bin/busybox"
	for applet in $(busybox --list); do
		[ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
	done
	install -m 755 "$HERE/vm.d/init" "$root/init"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
	chmod 1777 "$root/tmp" "$root/var/tmp"
	mknod -m 600 "$root/dev/console" c 5 1 2>/dev/null || true # lets early failures of init be seen
	pack "$root" "$TMP/base.cpio"
	mv "$TMP/base.cpio" "$base.$$" && mv "$base.$$" "$base" # by rename: other runs may be reading the old one
}

# Prints the libraries and the loader of dynamic executable $1, by absolute path; nothing for static ones.
libraries() {
	ldd "$1" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $2 ~ /^\(/ { print $1 }'
}

# Adds host path $1 as guest path $2 to the staging directory.
stage() {
	local target=$TMP/stage$2
	mkdir -p "$(dirname "$target")"
	rm -f "$target"
	ln -s "$(realpath "$1")" "$target"
}

# Adds the file or directory of one --file argument, with what its executables need to run.
stage_file() {
	local host=${1%%:*} guest file library
	case $1 in *:*) guest=${1#*:} ;; *) guest=/vm/ ;; esac
	[ -e "$host" ] || die "--file $host: no such file"
	[[ $guest == /* ]] || die "--file $1: the guest path must be absolute"
	host=${host%/}
	[[ $guest == */ ]] && guest+=$(basename "$host")
	while IFS= read -r -d '' file; do
		stage "$file" "$guest${file#"$host"}"
		[ -x "$file" ] || [[ $file == *.so* ]] || continue
		for library in $(libraries "$file"); do
			stage "$library" "$library"
		done
	done < <(find -L "$host" -type f -print0) # -L: links are followed, dangling ones left out
}

# Quotes the arguments for the guest's shell, which does not know all of bash's quoting.
quote() {
	local word
	for word; do
		printf "'%s' " "${word//\'/\'\\\'\'}"
	done
	echo
}

# Builds $TMP/initrd: base, the caller's files, and under /vm/.run what init is to do.
# Arguments: the command. Reads FILES, MOUNTS and SETTLE.
build_initrd() {
	local file
	build_base
	mkdir -p "$TMP/stage/vm/.run"
	for file in "${FILES[@]}"; do
		stage_file "$file"
	done
	echo "exec $(quote "$@")" >"$TMP/stage/vm/.run/command"
	tr , '\n' <<<"$MOUNTS" >"$TMP/stage/vm/.run/mounts"
	echo "$SETTLE" >"$TMP/stage/vm/.run/settle"
	pack "$TMP/stage" "$TMP/run.cpio" --dereference
	cat "$CACHE/base.cpio" "$TMP/run.cpio" >"$TMP/initrd"
}
