#!/bin/bash
# Removes the kprobe events that an eBPF plugin, killed on a kernel older than 4.17, has left behind: those
# of Netdata's own plugin (..._netdata_...) and ours (netdata_ebpf/[pr]_PID_START_..., of a process that has ended).
# What a process still uses stays: the kernel refuses to remove it.
set -u

die() {
	echo "$0: $*" >&2
	exit 1
}

# Prints GROUP/EVENT of each probe whose event is a leftover by its name.
leftovers() {
	local definition name owner
	while read -r definition _; do
		name=${definition#*:}
		owner=${name#*/?_}
		case $name in
		netdata_ebpf/[pr]_[0-9]*_*) [ -e "/proc/${owner%%_*}" ] || echo "$name" ;;
		*/*_netdata_*) echo "$name" ;;
		esac
	done <"$EVENTS"
}

for EVENTS in /sys/kernel/tracing/kprobe_events /sys/kernel/debug/tracing/kprobe_events; do
	[ ! -e "$EVENTS" ] || break
done
[ -e "$EVENTS" ] || die "no tracefs; mount it: mount -t tracefs tracefs /sys/kernel/tracing"
[ -w "$EVENTS" ] || die "cannot write $EVENTS; run this as root"

removed=0 kept=0
for name in $(leftovers); do
	# Appended: a write that truncates would remove every probe of the system.
	if { echo "-:$name" >>"$EVENTS"; } 2>/dev/null; then
		removed=$((removed + 1))
	else
		kept=$((kept + 1))
		echo "$name stays: in use"
	fi
done
echo "$removed removed, $kept in use"
