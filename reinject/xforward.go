package reinject

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Limits of Postfix's XFORWARD_README, in octets; the line with its line end, the value encoded.
const (
	maxXforwardLine  = 512
	maxXforwardValue = 255
	unavailable      = "[UNAVAILABLE]"
)

// xforward tells Postfix which client brought the message: the attributes that the server announced, in two
// lines as Postfix's own client sends them, or more if they are long. Without them, its log would name us
// as the client, and it would complete headers as for local submissions.
func (c Client) xforward(offered map[string]string) []command {
	source := "REMOTE"
	if c.Local {
		source = "LOCAL"
	}
	lines := [][][2]string{
		{{"NAME", known(c.Name)}, {"ADDR", xforwardAddress(c.Address)}, {"PORT", xforwardPort(c.Port)}},
		{{"PROTO", known(c.Protocol)}, {"HELO", known(c.HELO)}, {"IDENT", known(c.Ident)},
			{"SOURCE", source}},
	}
	announced := strings.Fields(offered["XFORWARD"])
	var commands []command
	for _, attributes := range lines {
		const verb = "XFORWARD"
		line := verb
		send := func() {
			if line != verb {
				commands = append(commands, command{stage: stageXFORWARD, line: line, optional: true})
			}
			line = verb
		}
		for _, a := range attributes {
			if !slices.Contains(announced, a[0]) {
				continue
			}
			word := " " + a[0] + "=" + a[1]
			if len(line)+len(word)+len("\r\n") > maxXforwardLine {
				send()
			}
			line += word
		}
		send()
	}
	return commands
}

// known encodes a value. One that is not known or too long is "unavailable", because a part of a name would
// be another name.
func known(value string) string {
	encoded := xtext(value)
	if value == "" || value == "unknown" || len(encoded) > maxXforwardValue {
		return unavailable
	}
	return encoded
}

func xforwardAddress(s string) string {
	if len(s) > len("IPv6:") && strings.EqualFold(s[:len("IPv6:")], "IPv6:") {
		s = s[len("IPv6:"):]
	}
	address, err := netip.ParseAddr(s)
	switch address = address.Unmap().WithZone(""); {
	case err != nil:
		return unavailable
	case address.Is6():
		return "IPV6:" + address.String()
	}
	return address.String()
}

func xforwardPort(s string) string {
	if port, err := strconv.ParseUint(s, 10, 16); err != nil || port == 0 {
		return unavailable
	}
	return s
}
