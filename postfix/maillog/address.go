package maillog

import "strings"

// originalSender decodes an SRS address, whoever made it: all but the hash is readable. Other addresses
// are returned unchanged.
func originalSender(address string) string {
	local, _, found := cutLast(address, '@')
	local = strings.Trim(local, `"`)
	const tag = len("SRS0=")
	if !found || len(local) < tag || !strings.EqualFold(local[:3], "SRS") ||
		strings.Trim(local[4:tag], "=+-") != "" {
		return address
	}
	switch rest := local[tag:]; local[3] {
	case '0': // HASH=DAY=host=user
		return srs0Sender(rest, address)
	case '1': // HASH=forwarder=, and then what followed SRS0, including its separator
		fields := strings.SplitN(rest, "=", 3)
		if len(fields) == 3 && len(fields[2]) > 1 {
			return srs0Sender(fields[2][1:], address)
		}
	}
	return address
}

func srs0Sender(rest, otherwise string) string {
	fields := strings.SplitN(rest, "=", 4)
	if len(fields) < 4 || fields[2] == "" || fields[3] == "" {
		return otherwise
	}
	return fields[3] + "@" + fields[2]
}

// isSRS tells whether an address has the form of an SRS address.
func isSRS(address string) bool { return originalSender(address) != address }

func cutLast(s string, separator byte) (before, after string, found bool) {
	at := strings.LastIndexByte(s, separator)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+1:], true
}

// Domain is the domain of an address in lower case; "" if there is none.
func Domain(address string) string {
	_, domain, _ := cutLast(address, '@')
	return strings.ToLower(strings.TrimSuffix(domain, "."))
}
