#!/bin/sh
# The first process of the guest: builds the network, plays /cases and switches the machine off.
#
#   host ── b4 ══ softwire, IPv6 of 1500 bytes ══ aftr ── internet
#   192.168.1.10      2001:db8:b4:1::2   2001:db8:aaaa::1, 198.51.100.1      203.0.113.1
#
# Each line of /cases is a B4's name and a case's name: functions here, softwire_NAME and case_NAME. For each,
# one line goes to the console: "CASE B4/CASE ok FIGURE" or "CASE B4/CASE FAILED REASON".

export PATH=/tools:/bin
INTERNET=203.0.113.1
AFTR=2001:db8:aaaa::1
B4=2001:db8:b4:1::2
CONTENT=/run/content
GOT=/run/got

main() {
    # The firmware leaves half a line on the console.
    echo
    machine
    network && start_aftr || fail_everything "$?"
    while read -r b4 case; do
        play "$b4" "$case"
    done </cases
    [ -z "$failed" ] || show_state
    stop_aftr
    echo END
    poweroff -f
}

play() {
    if [ "$1" != "$current" ]; then
        current=$1
        broken=
        "softwire_$1" >/run/why 2>&1 || broken="no softwire: $(cat /run/why)"
    fi
    rm -f $GOT
    if [ -n "$broken" ]; then
        echo "CASE $1/$2 FAILED $broken"
    elif said=$("case_$2" 2>&1); then
        echo "CASE $1/$2 ok $said"
    else
        echo "CASE $1/$2 FAILED $(echo "$said" | tr '\n' ' ')"
        failed=yes
        # Without it every other case would fail as well, each after its own time.
        [ "$2" != ping ] || broken="not tried: no ping goes through"
    fi
}

# ---- The B4: Linux's own ip6tnl, as an administrator makes it.

# The kernel's defaults: a Tunnel Encapsulation Limit (RFC 2473 section 4.1.1) in every packet.
softwire_limit() {
    option=8
    softwire 1452 'encaplimit 4'
}

# No destination options.
softwire_plain() {
    option=0
    softwire 1460 'encaplimit none' encaplimit none
}

# MTU and TEXT are what the kernel is to make of the arguments behind them.
softwire() {
    mtu=$1 text=$2
    shift 2
    ip -n b4 link del dslite 2>/dev/null
    ip -n b4 -6 tunnel add dslite mode ipip6 remote $AFTR local $B4 "$@" &&
        ip -n b4 addr add 192.0.0.2/29 dev dslite &&
        ip -n b4 link set dslite up &&
        ip -n b4 route add default dev dslite || return 1
    ip -n b4 -6 tunnel show dslite | grep -q "$text" || { ip -n b4 -6 tunnel show dslite; return 1; }
    ip -n b4 link show dslite | grep -q "mtu $mtu " || { ip -n b4 link show dslite; return 1; }
    # The host forgets the path MTU that the B4 before told it.
    ip -n host route flush cache
}

# ---- The cases: what they print is the figure or the reason.

case_ping() {
    echo_requests host 56
}

# What leaves the B4: frames of 14 + 40 + 28 + 1000 bytes, and 8 more with a Tunnel Encapsulation Limit.
# Neighbour and router discovery send less than 8 bytes for each of 50 requests.
case_bytes_of_the_softwire() {
    counter=/sys/class/net/wan/statistics/tx_bytes
    before=$(inside b4 cat $counter)
    inside host ping -q -n -c 50 -i 0.01 -s 1000 $INTERNET >/dev/null || { echo "no answers"; return 1; }
    after=$(inside b4 cat $counter)
    each=$(((after - before) / 50))
    [ $each -ge $((1082 + option)) ] && [ $each -lt $((1082 + option + 8)) ]
    result=$?
    echo "$each bytes each"
    return $result
}

# The B4 itself, from its well-known address (RFC 6333 section 5.7).
case_ping_by_the_b4() {
    echo_requests b4 56 -I 192.0.0.2
}

case_ping_of_the_aftr() {
    TARGET=192.0.0.1
    echo_requests b4 56
    result=$?
    TARGET=
    return $result
}

# As large as the softwire takes whole, and not to be cut.
case_ping_of_the_tunnel_mtu() {
    mtu=$(inside b4 cat /sys/class/net/dslite/mtu)
    echo_requests host $((mtu - 28)) -M do
}

# Large packets go up in fragments of the inner packet: ip6tnl does not cut the outer one, as RFC 6333
# section 5.3 has it, but refuses what the softwire does not take (Linux 6.1).
case_ping_in_fragments() {
    echo_requests host 4000
}

case_tcp_up() {
    ip netns exec internet socat -u TCP4-LISTEN:8080,reuseaddr CREATE:$GOT &
    server=$!
    listening tcp 1F90 && start=$(centiseconds) || return 1
    inside host timeout 20 socat -u FILE:$CONTENT TCP4:$INTERNET:8080 || { no_connection; return 1; }
    ended $server || return 1
    same $CONTENT && speed "$start"
}

case_tcp_down() {
    ip netns exec internet socat -U TCP4-LISTEN:8081,reuseaddr FILE:$CONTENT &
    server=$!
    listening tcp 1F91 && start=$(centiseconds) || return 1
    inside host timeout 20 socat -u TCP4:$INTERNET:8081 CREATE:$GOT || { no_connection; return 1; }
    ended $server || return 1
    same $CONTENT && speed "$start"
}

case_udp_1400_up() {
    udp_up 1400
}

# A full Ethernet frame from the Internet, which no softwire over 1500 bytes takes whole.
case_udp_1472_down() {
    before=$(reassembled)
    udp_down 1472 || return 1
    pieced=$(($(reassembled) - before))
    [ $pieced -eq 8 ] && return
    echo "the B4 put $pieced packets together"
    return 1
}

case_udp_8000_up() {
    udp_up 8000
}

case_udp_8000_down() {
    udp_down 8000
}

# ---- What the cases are made of.

# SOURCE SIZE OPTION…
echo_requests() {
    source=$1 size=$2
    shift 2
    said=$(inside "$source" ping -n -c 3 -i 0.2 -W 2 -s "$size" "$@" "${TARGET:-$INTERNET}" 2>&1)
    case $said in
    *' 0% packet loss'*) echo "$said" | tail -n 1 ;;
    *) echo "$said" | tail -n +2; return 1 ;;
    esac
}

# Datagrams of SIZE bytes: 8 of them, each with other bytes.
udp_up() {
    ip netns exec internet timeout 20 socat -u -b 65536 UDP4-RECV:7000 CREATE:$GOT &
    server=$!
    listening udp 1B58 || return 1
    datagrams "$1" | inside host socat -u -b "$1" - UDP4-SENDTO:$INTERNET:7000
    complete "$1"
    result=$?
    kill $server
    return $result
}

# The host opens the way with one byte; the Internet answers with the datagrams.
udp_down() {
    datagrams "$1" | inside internet timeout 20 socat -U -b "$1" UDP4-RECVFROM:7001 - &
    listening udp 1B59 || return 1
    echo | ip netns exec host timeout 20 socat -b 65536 -t 10 - UDP4:$INTERNET:7001 >$GOT &
    client=$!
    complete "$1"
    result=$?
    kill $client
    return $result
}

datagrams() {
    for number in 0 1 2 3 4 5 6 7; do
        dd if=$CONTENT bs="$1" skip=$number count=1 2>/dev/null
        sleep 0.05
    done
}

# All datagrams of SIZE bytes have come, in whatever order (two processors carry them), and nothing else.
complete() {
    head -c $((8 * $1)) $CONTENT >/run/expected
    for try in $(seq 50); do
        [ "$(stat -c %s $GOT 2>/dev/null || echo 0)" -ge $((8 * $1)) ] && break
        sleep 0.1
    done
    if [ "$(pieces /run/expected "$1")" = "$(pieces $GOT "$1")" ]; then
        echo "8 datagrams of $1 bytes"
    else
        same /run/expected
    fi
}

# FILE SIZE: what a file has of each SIZE bytes, in an order that does not depend on theirs.
pieces() {
    for number in 0 1 2 3 4 5 6 7 8; do
        dd if="$1" bs="$2" skip=$number count=1 2>/dev/null | cksum
    done | sort
}

same() {
    cmp "$1" $GOT && return
    echo "$(stat -c %s $GOT) of $(stat -c %s "$1") bytes came"
    return 1
}

# IPv6 packets that the B4's kernel has put together from fragments.
reassembled() {
    inside b4 sed -n 's/^Ip6ReasmOKs *\t*//p' /proc/net/snmp6
}

# PROTOCOL PORT (hexadecimal): waits until a socket of the Internet host has it.
listening() {
    for try in $(seq 50); do
        # 0A is TCP's LISTEN; what is left of the connection of another case does not count.
        case $1 in
        tcp) inside internet grep -q ":$2 00000000:0000 0A" /proc/net/tcp && return ;;
        udp) inside internet grep -q ":$2 " /proc/net/udp && return ;;
        esac
        sleep 0.1
    done
    echo "nobody listens on $1 port $2"
    return 1
}

no_connection() {
    kill $server
    echo "the host's end failed, or took 20 s"
}

# Waits for a process to end.
ended() {
    for try in $(seq 100); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.05
    done
    kill "$1"
    echo "the connection does not end"
    return 1
}

# START, in centiseconds: the speed of what the content's transfer took since then.
speed() {
    time=$(($(centiseconds) - $1))
    bytes=$(stat -c %s $CONTENT)
    echo "$((bytes * 8 / 10000 / time)) Mbit/s"
}

centiseconds() {
    read -r uptime idle </proc/uptime
    echo "${uptime%.*}${uptime#*.}"
}

# A program in a namespace. In the background it is `ip netns exec` itself, so that `kill` reaches the program.
inside() {
    namespace=$1
    shift
    ip netns exec "$namespace" "$@"
}

# ---- The machine and its network.

machine() {
    /bin/busybox --install -s /bin 2>/dev/null
    mkdir -p /proc /sys /dev /run /tmp /sbin
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    mount -t tmpfs tmpfs /run
    echo 1 >/proc/sys/kernel/printk
    for module in /modules/*; do
        insmod "$module" || echo "insmod $module failed"
    done
    mkdir -p /dev/net
    [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
    head -c 4194304 /dev/urandom >$CONTENT
}

network() {
    for namespace in host b4 aftr internet; do
        ip netns add $namespace && ip -n $namespace link set lo up || return 1
    done
    link host eth0 b4 lan && link b4 wan aftr access && link aftr outside internet eth0 || return 1

    ip -n host addr add 192.168.1.10/24 dev eth0 &&
        ip -n host route add default via 192.168.1.1 || return 1
    ip -n b4 addr add 192.168.1.1/24 dev lan &&
        ip -n b4 addr add $B4/64 dev wan nodad &&
        ip -n b4 route add default via 2001:db8:b4:1::1 || return 1
    inside b4 sysctl -q -w net.ipv4.ip_forward=1
    ip -n aftr addr add 2001:db8:b4:1::1/64 dev access nodad &&
        ip -n aftr addr add 203.0.113.254/24 dev outside || return 1
    ip -n internet addr add $INTERNET/24 dev eth0 &&
        ip -n internet route add 198.51.100.0/24 via 203.0.113.254
}

link() {
    ip -n "$1" link add "$2" type veth peer name "$4" netns "$3" &&
        ip -n "$1" link set "$2" up &&
        ip -n "$3" link set "$4" up
}

start_aftr() {
    ip netns exec aftr aftr run --config /aftr.toml >/run/aftr.log 2>&1 &
    daemon=$!
    for try in $(seq 100); do
        ip -n aftr route | grep -q '^198.51.100.1 ' && return
        kill -0 $daemon || break
        sleep 0.1
    done
    cat /run/aftr.log
    return 1
}

# Its last lines are its counters: what a failure needs.
stop_aftr() {
    kill $daemon
    wait $daemon
    echo "the AFTR ended with $?"
    tail -n 20 /run/aftr.log
}

show_state() {
    ip -n b4 -s link show dslite
    inside aftr ip -s link show aftr0
}

fail_everything() {
    while read -r b4 case; do
        echo "CASE $b4/$case FAILED the network or the AFTR did not come up"
    done </cases
    echo END
    poweroff -f
}

main
