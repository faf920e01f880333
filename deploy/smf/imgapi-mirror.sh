#!/bin/sh
#
# Method of svc:/site/imgapi-mirror: "start". SMF does the rest by signals (see the manifest). What it prints, and what the
# mirror prints from then on, is in the service's log: svcs -L imgapi-mirror.
#
# Exit codes are those of smf_method(5): 96 leaves the service in maintenance, since trying again would end the same.

SMF_EXIT_OK=0
SMF_EXIT_ERR_FATAL=95
SMF_EXIT_ERR_CONFIG=96

fail() {
    echo "imgapi-mirror: $2"
    exit "$1"
}

[ "$1" = start ] || fail "$SMF_EXIT_ERR_FATAL" "this method knows start, not \"$1\""
[ -n "$SMF_FMRI" ] || fail "$SMF_EXIT_ERR_FATAL" "SMF_FMRI is not set: svcadm enable imgapi-mirror runs this"

root=$(cd "$(dirname "$0")/../.." && pwd) || exit "$SMF_EXIT_ERR_FATAL"
config=$(svcprop -p application/config "$SMF_FMRI") || exit "$SMF_EXIT_ERR_CONFIG"
node=$(svcprop -p application/node "$SMF_FMRI") || exit "$SMF_EXIT_ERR_CONFIG"

[ -x "$node" ] || fail "$SMF_EXIT_ERR_CONFIG" "$node is no program: pkgin install nodejs, or set application/node"
[ -r "$config" ] || fail "$SMF_EXIT_ERR_CONFIG" "$config cannot be read by $(id -un): write it, or set application/config"

# Says all that is wrong with it, line by line.
"$node" "$root/dist/main.js" config check --config "$config" || exit "$SMF_EXIT_ERR_CONFIG"

# A refresh may come before it knows what SIGHUP means, and must not end it. What is ignored here, Node ignores only until it has begun;
# so the first thing that it loads takes the signal, and nobody is told that it has started before it has.
trap '' HUP
"$node" --import 'data:text/javascript,process.on("SIGHUP",()=>{})' "$root/dist/main.js" serve --config "$config" &
sleep 1
exit "$SMF_EXIT_OK"
