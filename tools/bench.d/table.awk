# From the results of guest.sh to one Markdown table: a row for each system call, strategy and mode.
#
# In: lines of WHAT CONFIGURATION OPERATION INSTRUCTIONS. `above` is what our counting adds to the empty programs; for a
# row of two events it is that of both.

function cell(value) { return value == "" ? "-" : sprintf("%.0f", value) }

# What `all` is more than `less`; empty when one is unknown.
# A timer's tick may make it a little less than nothing; tools/bench refuses more than that.
function above(all, less) {
	if (all == "" || less == "")
		return "-"
	return sprintf("**%.0f**", all - less > -0.5 && all - less < 0 ? 0 : all - less)
}

$3 == "calibration" || $1 == "again" { next }

{ value[$1, $2, $3] = $4 }

$1 == "bare" { operations[++count] = $3 }

$1 == "ours" && !($2 in known) {
	known[$2] = 1
	hooks = $2
	sub(/:[^:]*$/, "", hooks)
	if (!(hooks in seen)) { seen[hooks] = 1; order[++hook_count] = hooks }
}

# Configurations with equal hooks share one measurement of empty programs, which bears the first one's name.
$1 == "empty" { last_empty = $2 }
$1 == "ours" { hooks = $2; sub(/:[^:]*$/, "", hooks); empty_of[hooks] = last_empty }

END {
	means["read_byte"] = "read of 1 byte"
	means["write_byte"] = "write of 1 byte"
	means["open_and_close"] = "open and close (2 events)"
	means["failing_read"] = "read that fails (EBADF)"
	means["failing_open"] = "open that fails (ENOTDIR)"
	means["send_and_receive_datagram"] = "send and receive of a datagram (2 events)"
	means["failing_receive"] = "receive that fails (EAGAIN)"
	means["not_counted"] = "getppid, which nobody counts"
	print "| system call | strategy | mode | bare | empty programs | ours, applications off | above empty | ours, applications on | above empty |"
	print "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
	for (n = 1; n <= count; n++)
		for (h = 1; h <= hook_count; h++) {
			operation = operations[n]
			split(order[h], part, ":")
			empty = value["empty", empty_of[order[h]], operation]
			off = value["ours", order[h] ":no", operation]
			on = value["ours", order[h] ":yes", operation]
			printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", means[operation], part[1], part[2],
				cell(value["bare", "bare", operation]), cell(empty), cell(off), above(off, empty), cell(on), above(on, empty)
		}
}
