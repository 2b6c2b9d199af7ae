#!/bin/sh
# Runs in a guest of tools/vm: measures system calls bare, with empty programs and with ours.
#
# Arguments: names of the configurations, STRATEGY:MODE:APPS, such as trampoline:return:yes.
# Out: /out/results, lines of WHAT CONFIGURATION OPERATION INSTRUCTIONS; WHAT is bare, empty or ours.
# shellcheck disable=SC3043  # busybox's sh has `local`
set -u

die() {
	echo "bench: $*"
	exit 1
}

# Measures, as $1 of configuration $2; the rest is put before the command.
measure() {
	local what="$1" configuration="$2"
	shift 2
	"$@" /vm/calls >/tmp/calls || die "$what programs of $configuration: the measurement failed"
	sed "s/^/$what $configuration /" /tmp/calls >>/out/results
}

NETWORK_TRAMPOLINES='fexit_inet_sendmsg fexit_inet_recvmsg fentry_udp_send_skb'
NETWORK_PROBES='kprobe_udp_sendmsg kretprobe_udp_sendmsg kprobe_inet_recvmsg kprobe_udp_recvmsg kprobe_skb_consume_udp'

# Hooks of ours that the measured calls run through.
hooks_of() {
	case $1 in
	trampoline:entry:*) echo fexit_read fexit_write fentry_openat fentry_close "$NETWORK_TRAMPOLINES" ;;
	trampoline:return:*) echo fexit_read fexit_write fexit_openat fexit_close "$NETWORK_TRAMPOLINES" ;;
	tracepoint:*) echo tp_btf_sys_exit tp_btf_sock_send_length tp_btf_sock_recv_length ;;
	probe:entry:*)
		echo kprobe_read kretprobe_read kprobe_write kretprobe_write kprobe_openat kprobe_close "$NETWORK_PROBES"
		;;
	probe:return:*)
		echo kprobe_read kretprobe_read kprobe_write kretprobe_write \
			kprobe_openat kretprobe_openat kprobe_close kretprobe_close "$NETWORK_PROBES" kretprobe_udp_recvmsg
		;;
	*) die "unknown configuration $1" ;;
	esac
}

# Waits up to $1 seconds of guest time until the plugin has drawn ebpf.io $2 times.
wait_for_charts() {
	local left="$1"
	until [ "$(grep -c '^BEGIN ebpf.io ' /tmp/charts)" -ge "$2" ]; do
		[ "$left" -gt 0 ] || { cat /tmp/log && die "$configuration: no charts"; }
		left=$((left - 1))
		sleep 1
	done
}

# Ours counts while it is measured, and neither it nor its worker runs then: an epoch's end would disturb.
measure_ours() {
	local configuration="$1" strategy mode apps disabled=no plugin workers counted
	IFS=: read -r strategy mode apps <<-WORDS
		$configuration
	WORDS
	[ "$apps" = yes ] || disabled=yes
	mkdir -p /tmp/conf
	printf '[global]\nebpf co-re tracing = %s\nebpf load mode = %s\ndisable apps = %s\n%s\n%s\n%s\n' \
		"$strategy" "$mode" "$disabled" '[ebpf programs]' 'process = yes' 'network viewer = yes' >/tmp/conf/ebpf.conf
	NETDATA_USER_CONFIG_DIR=/tmp/conf NETDATA_STOCK_CONFIG_DIR=/tmp/conf /vm/supervisor 60 >/tmp/charts 2>/tmp/log &
	plugin=$!
	wait_for_charts 60 1
	workers=$(pidof ebpf-worker) || die "$configuration: no worker"
	# shellcheck disable=SC2086  # two workers
	kill -STOP $plugin $workers
	sleep 1
	measure ours "$configuration"
	# shellcheck disable=SC2086  # two workers
	kill -CONT $plugin $workers
	wait_for_charts 130 2
	# Numbers of something that did not count would look splendid.
	counted=$(awk '/^BEGIN/ { io = $2 == "ebpf.io" } io && $2 == "vfs_read" { last = $4 } END { print last }' /tmp/charts)
	[ "$counted" -ge 200000 ] || die "$configuration: only $counted reads counted"
	kill $plugin
	wait $plugin
	cat /tmp/log >>/out/log
	while pidof ebpf-worker >/dev/null; do
		echo "bench: $configuration: the worker outlives the supervisor"
		sleep 1
	done
	# The kernel takes trampolines apart after the process has ended, and guest time costs nothing.
	sleep 10
}

ip link set lo up || die 'no loopback interface'
measure bare bare
last=''
for configuration; do
	# With and without applications the hooks are the same.
	hooks=$(hooks_of "$configuration") || die "$hooks"
	if [ "$hooks" != "$last" ]; then
		# shellcheck disable=SC2086  # several names
		measure empty "${configuration%:*}" /vm/empty /vm/empty.bpf.o $hooks --
		last=$hooks
	fi
	measure_ours "$configuration"
	echo "measured $configuration"
done
measure again bare
