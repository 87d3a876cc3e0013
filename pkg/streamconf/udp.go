package streamconf

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxSources is what Linux takes for a group, unless it is told otherwise (sysctl net.ipv4.igmp_max_msf).
	maxSources = 10
	// maxPIDs is how many elementary streams of a program are taken at most.
	maxPIDs = 32
	maxPID  = 0x1FFE
)

// UDP is where a udp input listens.
type UDP struct {
	Addr    netip.Addr // multicast group, or the local address to bind; 0.0.0.0 or :: is every address
	Port    uint16
	IfIP    netip.Addr // multicast: join on the interface with this address; invalid: not given
	Iface   string     // multicast: join on the interface of this name; empty: not given
	Sources Addrs      // multicast: from these senders alone; empty: from all
	RTP     bool       // RTP and nothing else; false: what comes tells
}

// Multicast says whether a group is to be joined.
func (u UDP) Multicast() bool { return u.Addr.IsMulticast() }

// AddrPort is the address to bind or the group to join.
func (u UDP) AddrPort() netip.AddrPort { return netip.AddrPortFrom(u.Addr, u.Port) }

// String is the canonical URL.
func (u UDP) String() string {
	s := "udp://"
	if u.RTP {
		s = "rtp://"
	}
	if u.Iface != "" {
		s += u.Iface + "@"
	}
	s += u.AddrPort().String()
	if u.IfIP.IsValid() {
		s += "/" + u.IfIP.String()
	}
	if u.Sources != "" {
		s += "?sources=" + string(u.Sources)
	}
	return s
}

// Addrs is a set of addresses in its canonical form: in order, with a comma between them. So it can be compared.
type Addrs string

// All are the addresses.
func (a Addrs) All() []netip.Addr {
	if a == "" {
		return nil
	}
	var all []netip.Addr
	for s := range strings.SplitSeq(string(a), ",") {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return nil // nothing that Parse made
		}
		all = append(all, addr)
	}
	return all
}

// AddrsOf is the set of these addresses.
func AddrsOf(all []netip.Addr) Addrs {
	all = slices.Clone(all)
	slices.SortFunc(all, netip.Addr.Compare)
	var words []string
	for _, a := range slices.Compact(all) {
		words = append(words, a.String())
	}
	return Addrs(strings.Join(words, ","))
}

// Selection is what is taken of a multiplex. The zero value is the program of the lowest number, all of it.
type Selection struct {
	Program uint16 // program_number; 0: the lowest
	PIDs    PIDs   // elementary streams of the program; empty: all
}

// PIDs is a set of packet identifiers in its canonical form: in order, with a comma between them.
type PIDs string

// All are the identifiers.
func (p PIDs) All() []uint16 {
	if p == "" {
		return nil
	}
	var all []uint16
	for s := range strings.SplitSeq(string(p), ",") {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return nil // nothing that Parse made
		}
		all = append(all, uint16(n))
	}
	return all
}

// PIDsOf is the set of these identifiers.
func PIDsOf(all []uint16) PIDs {
	all = slices.Clone(all)
	slices.SortFunc(all, cmp.Compare)
	var words []string
	for _, p := range slices.Compact(all) {
		words = append(words, strconv.Itoa(int(p)))
	}
	return PIDs(strings.Join(words, ","))
}

// query is the selection as parameters of a URL.
func (s Selection) query() []string {
	var q []string
	if s.Program != 0 {
		q = append(q, "program="+strconv.Itoa(int(s.Program)))
	}
	if s.PIDs != "" {
		q = append(q, "pids="+string(s.PIDs))
	}
	return q
}

// Legs are the sockets of a udp input: one, or two that carry the same RTP packets (SMPTE ST 2022-7).
func (in Input) Legs() []UDP {
	if in.Second == (UDP{}) {
		return []UDP{in.UDP}
	}
	return []UDP{in.UDP, in.Second}
}

// udpURL is the canonical URL of a udp input. A "+" with a scheme behind it parts two legs: neither an address nor the
// name of an interface has a slash, so it means nothing else. What is taken of the multiplex stands in the last leg.
func (in Input) udpURL() string {
	s := in.UDP.String()
	last := in.UDP
	if in.Second != (UDP{}) {
		last = in.Second
		s += "+" + last.String()
	}
	mark := "?"
	if last.Sources != "" {
		mark = "&"
	}
	for _, q := range in.Take.query() {
		s += mark + q
		mark = "&"
	}
	return s
}

const udpForms = "write udp://GROUP:PORT, udp://GROUP:PORT/INTERFACE-IP or udp://INTERFACE@GROUP:PORT, " +
	"with ?sources=A,B&program=N&pids=N,N where wanted"

// parseUDP reads what stands behind the scheme: one leg, or two with "+SCHEME://" between them.
func parseUDP(in *Input, scheme, rest string) (what, do string) {
	legs, twice := splitLegs(rest)
	if twice {
		return "an input has two legs at most", "write rtp://GROUP:PORT+rtp://GROUP:PORT"
	}
	for i, text := range legs {
		u, take, what := parseLeg(text)
		if what == "" && take.Program != 0 {
			if in.Take.Program != 0 && in.Take.Program != take.Program {
				what = "the legs name two programs"
			}
			in.Take.Program = take.Program
		}
		if what == "" && take.PIDs != "" {
			if in.Take.PIDs != "" && in.Take.PIDs != take.PIDs {
				what = "the legs name different pids"
			}
			in.Take.PIDs = take.PIDs
		}
		if what != "" {
			return what, udpForms
		}
		u.RTP = scheme == "rtp" || len(legs) == 2 // legs are joined by the sequence of RTP
		if i == 0 {
			in.UDP = u
		} else {
			in.Second = u
		}
	}
	if in.UDP == in.Second {
		return "both legs are the same", "give the second one, or remove it"
	}
	return "", ""
}

// splitLegs parts legs; tooMany says that there are more than two.
func splitLegs(rest string) (legs []string, tooMany bool) {
	for {
		at := -1
		for _, mark := range []string{"+udp://", "+rtp://"} {
			if i := strings.Index(rest, mark); i >= 0 && (at < 0 || i < at) {
				at = i
			}
		}
		if at < 0 {
			return append(legs, rest), len(legs) > 1
		}
		legs = append(legs, rest[:at])
		rest = rest[at+len("+udp://"):]
	}
}

func parseLeg(rest string) (u UDP, take Selection, what string) {
	refuse := func(format string, args ...any) (UDP, Selection, string) {
		return UDP{}, Selection{}, fmt.Sprintf(format, args...)
	}
	if strings.Contains(rest, "#") {
		return refuse("a fragment in a udp URL means nothing")
	}
	rest, query, hasQuery := strings.Cut(rest, "?")
	iface, addr, hasIface := strings.Cut(rest, "@")
	if !hasIface {
		iface, addr = "", rest
	}
	addr, ifIP, hasIfIP := strings.Cut(addr, "/")
	hasIfIP = hasIfIP && ifIP != "" // a lone "/" at the end is a habit of many
	host, port, what := splitHost(addr)
	if what != "" {
		return refuse("%s", what)
	}
	var ok bool
	if u.Port, ok = parsePort(port); !ok {
		return refuse("port %q is not a number from 1 to 65535", clip(port))
	}
	if u.Addr, what = parseUDPAddr(host); what != "" {
		return refuse("%s", what)
	}
	switch {
	case hasIface && hasIfIP:
		return refuse("the interface is given twice, before @ and after /")
	case (hasIface || hasIfIP) && !u.Multicast():
		return refuse("an interface for the unicast address %s is not supported yet", u.Addr)
	case hasIfIP:
		if u.IfIP, what = parseIfIP(u.Addr, ifIP); what != "" {
			return refuse("%s", what)
		}
	case hasIface:
		if _, err := netip.ParseAddr(iface); err == nil {
			return refuse("before @ stands an interface, not a sender: for the sender write ?sources=%s", iface)
		}
		if !isIface(iface) {
			return refuse("%q is not the name of an interface", clip(iface))
		}
		u.Iface = iface
	}
	if hasQuery {
		if what = parseUDPQuery(&u, &take, query); what != "" {
			return refuse("%s", what)
		}
	}
	return u, take, ""
}

// splitHost parts HOST:PORT. An IPv6 address stands in brackets.
func splitHost(addr string) (host, port, what string) {
	if inside, isV6 := strings.CutPrefix(addr, "["); isV6 {
		host, rest, ok := strings.Cut(inside, "]")
		if !ok {
			return "", "", `the "[" of the IPv6 address is not closed`
		}
		port, ok := strings.CutPrefix(rest, ":")
		if !ok {
			return "", "", "the udp URL has no port"
		}
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() {
			return "", "", fmt.Sprintf("%q is not an IPv6 address", clip(host))
		}
		return host, port, ""
	}
	host, port, ok := strings.Cut(addr, ":")
	switch {
	case !ok:
		return "", "", "the udp URL has no port"
	case strings.Contains(port, ":"):
		if a, err := netip.ParseAddr(addr); err == nil && a.Is6() {
			return "", "", "an IPv6 address stands in brackets"
		}
	}
	if host == "" {
		host = "0.0.0.0" // every address of this machine
	}
	return host, port, ""
}

func parseUDPAddr(host string) (a netip.Addr, what string) {
	a, err := netip.ParseAddr(host)
	a = a.Unmap()
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Sprintf("%q is not an IP address", clip(host))
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.Addr{}, "broadcast is not supported yet"
	case a.Zone() != "" && a.IsMulticast():
		return netip.Addr{}, "the interface of a group stands before @, not behind %"
	case a.Zone() != "" && (!a.IsLinkLocalUnicast() || !isIface(a.Zone())):
		return netip.Addr{}, fmt.Sprintf("%q: an interface behind %% is for a link-local address", clip(host))
	case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "":
		return netip.Addr{}, fmt.Sprintf("%s is link-local: its interface stands behind %%, as %s%%eth0", a, a)
	}
	return a, ""
}

func parseIfIP(group netip.Addr, text string) (a netip.Addr, what string) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Is4() != group.Is4() || a.IsMulticast() || a.IsUnspecified() || a.Zone() != "" || a.Is4In6() {
		family := "IPv4"
		if group.Is6() {
			family = "IPv6"
		}
		return netip.Addr{}, fmt.Sprintf("%q is not the %s address of an interface", clip(text), family)
	}
	return a, ""
}

// parseUDPQuery reads sources=, program= and pids=.
func parseUDPQuery(u *UDP, take *Selection, query string) (what string) {
	given := map[string]bool{}
	for q := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(q, "=")
		if given[key] {
			return fmt.Sprintf("parameter %q is given twice", clip(key))
		}
		given[key] = true
		switch key {
		case "sources":
			if u.Sources, what = parseSources(u.Addr, value); what != "" {
				return what
			}
		case "program":
			if take.Program, what = parseProgram(value); what != "" {
				return what
			}
		case "pids":
			if take.PIDs, what = parsePIDs(value); what != "" {
				return what
			}
		default:
			return fmt.Sprintf("unknown parameter %q", clip(key))
		}
	}
	return ""
}

func parseSources(group netip.Addr, value string) (Addrs, string) {
	if !group.IsMulticast() {
		return "", "sources are chosen for a multicast group alone"
	}
	var all []netip.Addr
	for s := range strings.SplitSeq(value, ",") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Is4() != group.Is4() || a.Is4In6() || a.Zone() != "" || a.IsMulticast() || a.IsUnspecified() {
			return "", fmt.Sprintf("%q is not the address of a sender to %s", clip(s), group)
		}
		all = append(all, a)
	}
	if len(all) > maxSources {
		return "", fmt.Sprintf("a group has at most %d sources", maxSources)
	}
	return AddrsOf(all), ""
}

func parseProgram(value string) (uint16, string) {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Sprintf("program %q is not a number from 1 to 65535", clip(value))
	}
	return uint16(n), ""
}

func parsePIDs(value string) (PIDs, string) {
	var all []uint16
	for s := range strings.SplitSeq(value, ",") {
		n, err := strconv.ParseUint(s, 10, 16)
		if hex, ok := strings.CutPrefix(s, "0x"); ok {
			n, err = strconv.ParseUint(hex, 16, 16)
		}
		if err != nil || n == 0 || n > maxPID {
			return "", fmt.Sprintf("PID %q is not a number from 1 to %d", clip(s), maxPID)
		}
		all = append(all, uint16(n))
	}
	if len(all) > maxPIDs {
		return "", fmt.Sprintf("at most %d PIDs can be chosen", maxPIDs)
	}
	return PIDsOf(all), ""
}

// isIface takes what Linux allows: 1 to 15 bytes without space, slash or colon. Here ASCII only.
func isIface(s string) bool {
	if s == "" || len(s) > 15 || s == "." || s == ".." {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '/' || c == ':' {
			return false
		}
	}
	return true
}
