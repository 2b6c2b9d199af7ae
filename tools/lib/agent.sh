# A private Netdata agent for tools/run --netdata: own directories, loopback only, no collector but ours.
# Sourced after common.sh.
# shellcheck shell=bash

want_agent() {
	want /usr/sbin/netdata netdata-core
	want /usr/share/netdata/web/index.html netdata-web # the dashboard
	want curl curl
}

# Prints netdata.conf for an agent in directory $1 on port $2. Collectors of its own are off: the dashboard
# shows this plugin and nothing else.
agent_configuration() {
	local dir=$1 port=$2
	cat <<-END
		[global]
		    run as user = root
		[directories]
		    config = $dir/etc
		    stock config = $NETDATA_STOCK_CONFIG_DIR
		    cache = $dir/cache
		    lib = $dir/lib
		    log = $dir/log
		    plugins = $dir/plugins
		    web = /usr/share/netdata/web
		[db]
		    mode = ram
		    retention = 3600
		    update every = 1
		[web]
		    bind to = 127.0.0.1:$port
		    web files owner = root
		    web files group = root
		[registry]
		    enabled = no
		[health]
		    enabled = no
		[ml]
		    enabled = no
		[plugins]
		    timex = no
		    tc = no
		    idlejitter = no
		    checks = no
		    diskspace = no
		    proc = no
		    cgroups = no
		    statsd = no
		    netdata monitoring = no
		    netdata monitoring extended = no
		    slabinfo = no
		    enable running new plugins = no
		    ebpf = yes
	END
}

# Fills directory $1: what the agent needs, our plugin, and links to the user's own configuration of it.
fill_agent_directory() {
	local dir=$1 port=$2 user=${NETDATA_USER_CONFIG_DIR:-/etc/netdata} name
	mkdir "$dir"/{etc,cache,lib,log,run,plugins}
	: >"$dir/etc/.opt-out-from-anonymous-statistics"
	agent_configuration "$dir" "$port" >"$dir/etc/netdata.conf"
	for name in ebpf.conf ebpf.d.conf ebpf.d apps_groups.conf; do
		[ ! -e "$user/$name" ] || ln -s "$user/$name" "$dir/etc/$name"
	done
	# The supervisor looks for its workers beside the file that this link leads to.
	ln -s "$TARGET/release/supervisor" "$dir/plugins/ebpf.plugin"
}

# Whether something answers on port $1 of the loopback device.
port_is_taken() {
	(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Waits until command $2... succeeds, at most $1 seconds and while the agent lives.
agent_reaches() {
	local seconds=$1
	shift
	for ((i = 0; i < seconds * 4; i++)); do
		"$@" && return
		kill -0 "$AGENT" 2>/dev/null || return 1
		sleep 0.25
	done
	return 1
}

agent_has_charts() {
	# Captured, not piped: grep -q would end early and curl's complaint would count as a failure.
	local charts
	charts=$(curl -fsS --noproxy '*' "$ADDRESS/api/v1/charts" 2>/dev/null) && [[ $charts == *'"ebpf.'* ]]
}

# Whether one of the processes $* runs. A zombie does not: it has no program any more.
any_runs() {
	local pid
	for pid; do
		readlink "/proc/$pid/exe" >/dev/null && return
	done
	return 1
}

# Ends the agent and, with it, its plugin; nothing of them stays behind.
# shellcheck disable=SC2317  # called by the trap
stop_agent() {
	trap '' INT TERM HUP # a second Ctrl-C must not stop the cleaning
	local children=()
	if [ -n "$AGENT" ]; then
		# No line end in these files: read takes that for a failure.
		read -ra children < <(cat "/proc/$AGENT/task/"*/children 2>/dev/null) || true
		kill -TERM "$AGENT" 2>/dev/null || true
		wait "$AGENT" || true
		# The agent does not wait for its plugin; we do, before its directory goes.
		for ((i = 0; i < 30; i++)); do
			any_runs "${children[@]}" || break
			sleep 0.1
		done
	fi
	rm -rf "$DIR"
}

# Says what is wrong before anything is built for it.
check_agent_port() {
	local port=$1
	[[ $port =~ ^[1-9][0-9]{0,4}$ ]] || die "'$port' is not a port; usage: tools/run --netdata [PORT]"
	is_root || die "the agent starts the plugin with its own rights: run this as root"
	! port_is_taken "$port" || die "port $port is taken, perhaps by another agent; name a free one: tools/run --netdata PORT"
}

# Runs the agent on port $1 until Ctrl-C.
run_agent() {
	local port=$1
	export NETDATA_STOCK_CONFIG_DIR=${NETDATA_STOCK_CONFIG_DIR:-$(stock_directory)}
	AGENT='' ADDRESS=http://127.0.0.1:$port
	DIR=$(mktemp -d "${TMPDIR:-/tmp}/netdata.XXXXXX")
	trap stop_agent EXIT
	trap 'exit 0' INT TERM HUP # Ctrl-C is how this ends
	fill_agent_directory "$DIR" "$port"
	# A session of its own: Ctrl-C reaches us alone, and the agent is stopped in order.
	setsid /usr/sbin/netdata -D -c "$DIR/etc/netdata.conf" -P "$DIR/run/netdata.pid" \
		</dev/null >"$DIR/log/out" 2>&1 &
	AGENT=$!
	agent_reaches 30 agent_has_charts || {
		tail -n 30 "$DIR/log/error.log" "$DIR/log/out" >&2
		die "the agent shows no chart of the plugin; its log stands above"
	}
	echo "Netdata's dashboard: $ADDRESS/"
	note "log: $DIR/log/error.log; Ctrl-C ends"
	# In a loop, because a signal that is not for us ends a wait too.
	while kill -0 "$AGENT" 2>/dev/null; do wait "$AGENT" || true; done
	die "the agent ended by itself; the end of its log: $(tail -n 5 "$DIR/log/error.log")"
}
