# shellcheck shell=bash
# Several things at a time. Sourced; the caller has a function run_job.

# Runs run_job NAME $@ for each NAME on stdin, VM_JOBS at a time (2). Fails if one fails.
run_jobs() {
	local name status=0
	while read -r name; do
		while [ "$(jobs -rp | wc -l)" -ge "${VM_JOBS:-2}" ]; do wait -n || status=1; done
		run_job "$name" "$@" </dev/null &
	done
	while [ -n "$(jobs -rp)" ]; do wait -n || status=1; done
	return "$status"
}
