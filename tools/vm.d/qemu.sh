# Runs QEMU and reads its result. Sourced by tools/vm, which sets the options' variables, $VMLINUZ and $TMP.
# shellcheck shell=bash

GUEST_PID='' CONSOLE_PID=''

# Sets MACHINE, the options that depend on the number of CPUs and on --icount.
# microvm boots fastest, but without ACPI it shows a single CPU.
set_machine() {
	MACHINE=(-M pc -accel "tcg,thread=multi")
	[ "${POSSIBLE_CPUS:-$CPUS}" -gt 1 ] ||
		MACHINE=(-M "microvm,acpi=off,pit=on,pic=on,rtc=on,isa-serial=off" -accel "tcg,thread=single")
	[ -z "$ICOUNT" ] || MACHINE+=(-icount "shift=0,sleep=off" -seed 1 -rtc "base=2026-01-01,clock=vm")
}

# Prints the kernel's arguments. The TSC's frequency is told, because a guest that measures it on a busy host
# gets it wrong and then falls back to 4 ms timers.
kernel_arguments() {
	local tsc_khz
	tsc_khz=$(awk -F': *' '/^cpu MHz/ { printf "%d", $2 * 1000; exit }' /proc/cpuinfo)
	[ -z "$ICOUNT" ] || tsc_khz=1000000
	# reboot=t with -no-reboot: a triple fault ends QEMU on both machine types, after a panic too.
	echo "console=ttyS0 8250.nr_uarts=4 panic=-1 reboot=t mitigations=off" \
		"tsc=reliable clocksource=tsc tsc_early_khz=$tsc_khz ${ICOUNT:+nokaslr lpj=1000000}$APPEND"
}

# Boots the guest, passes its console on, and waits for its end. Sets GUEST_STATUS (124 after --timeout).
run_guest() {
	set_machine
	mkfifo "$TMP/console"
	# Through cat, not QEMU's stdio: that one would switch our caller's stdout to non-blocking.
	cat "$TMP/console" &
	CONSOLE_PID=$!
	# The death signal covers our own SIGKILL, which no trap sees; timeout passes it on.
	setpriv --pdeathsig TERM timeout -k 3 "$TIMEOUT" setpriv --pdeathsig KILL \
		qemu-system-x86_64 "${MACHINE[@]}" -cpu max -smp "$CPUS,maxcpus=${POSSIBLE_CPUS:-$CPUS}" -m "$MEMORY" \
		-nodefaults -no-user-config -display none -no-reboot \
		-kernel "$VMLINUZ" -initrd "$TMP/initrd" -append "$(kernel_arguments)" \
		-chardev "file,id=log,path=$TMP/kernel.log" -device isa-serial,chardev=log,index=0 \
		-chardev "file,id=console,path=$TMP/console" -device isa-serial,chardev=console,index=1 \
		-chardev "file,id=result,path=$TMP/result.tar" -device isa-serial,chardev=result,index=2 \
		</dev/null >"$TMP/qemu.log" 2>&1 &
	GUEST_PID=$!
	wait "$GUEST_PID"
	GUEST_STATUS=$?
	GUEST_PID=''
	# QEMU may have ended before it opened the console; opening it ourselves lets cat see the end.
	: <>"$TMP/console"
	wait "$CONSOLE_PID"
	CONSOLE_PID=''
}

# Ends the guest if it runs: our own exit may come at any time.
stop_guest() {
	[ -z "$GUEST_PID" ] || { kill "$GUEST_PID" && wait "$GUEST_PID"; }
	[ -z "$CONSOLE_PID" ] || kill "$CONSOLE_PID"
} 2>/dev/null

# Unpacks the result into --out and exits with the command's code, or explains why there is none.
report_result() {
	mkdir "$TMP/result"
	[ -z "$OUT" ] || cp "$TMP/kernel.log" "$OUT/kernel.log" 2>/dev/null
	if ! tar -x -C "$TMP/result" -f "$TMP/result.tar" 2>/dev/null || [ ! -s "$TMP/result/.exit-code" ]; then
		explain_loss
		exit 125
	fi
	[ -z "$OUT" ] || cp -r "$TMP/result/out/." "$OUT/" ||
		die "cannot write the command's files to --out '$OUT'"
	exit "$(cat "$TMP/result/.exit-code")"
}

# Says on stderr why the guest left no exit code.
explain_loss() {
	local why="the guest ended without an exit code (QEMU's status $GUEST_STATUS)"
	if grep -aq 'Kernel panic' "$TMP/kernel.log" 2>/dev/null; then
		why="the guest's kernel panicked"
	elif [ "$GUEST_STATUS" = 124 ] || [ "$GUEST_STATUS" = 137 ]; then
		why="the guest did not finish within $TIMEOUT s; raise --timeout if it was only slow"
	fi
	{
		tail -n 25 "$TMP/kernel.log" | tr -d '\r'
		cat "$TMP/qemu.log"
		echo "vm: $why; the end of the kernel's log is above"
	} >&2 2>/dev/null
}
